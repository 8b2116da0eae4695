"""Tag schemes of labelled spans: checks, repair and conversion.

The schemes are IOB1, IOB2 and IOBES (also spelled BILOU and BMES).

Ramshaw and Marcus (1995) for IOB1 and IOB2. In IOB1 a span begins with I-X, and with B-X only where
it follows a span of the same type; in IOB2 every span begins with B-X; in IOBES it also ends with
E-X, and a span of one token is S-X.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

OUTSIDE = "O"
SCHEMES = ("iob1", "iob2", "iobes")
TAG = re.compile(r"O|[BIESLUM]-.+")
SAME_LETTER = {"L": "E", "U": "S", "M": "I"}  # of BILOU and BMES, as IOBES writes them
Mask = npt.NDArray[np.bool_]


class Span(NamedTuple):
    """A labelled span of tokens."""

    start: int
    stop: int
    type: str


class AllowedTags(NamedTuple):
    """Allowed first tags, transitions and last tags of a sentence."""

    start: Mask  # (tag,)
    transitions: Mask  # (tag, next tag)
    end: Mask  # (tag,)


def detect_scheme(sequences: Sequence[Sequence[str]]) -> str | None:
    """Return the tag scheme of the labels of sentences, or None where they are not tags of spans.

    Args:
        sequences: The labels of the tokens of each sentence.
    """
    labels = {label for sequence in sequences for label in sequence}
    if not labels - {OUTSIDE} or not all(map(TAG.fullmatch, labels)):
        return None
    if {label[0] for label in labels} - set("OBI"):
        return "iobes"
    pairs = {
        pair for sequence in sequences for pair in zip([OUTSIDE, *sequence], sequence, strict=False)
    }
    begun_inside = any(tag[0] == "I" and before[2:] != tag[2:] for before, tag in pairs)
    begun_properly = any(tag[0] == "B" and before[2:] != tag[2:] for before, tag in pairs)
    return "iob1" if begun_inside and not begun_properly else "iob2"


def spell_iobes(tag: str) -> str:
    """Return a tag of BILOU or BMES as IOBES writes it; other tags are unchanged."""
    return SAME_LETTER.get(tag[0], tag[0]) + tag[1:]


def may_follow(before: str | None, tag: str | None, scheme: str) -> bool:
    """Return whether a tag may follow another; None is the beginning or end of a sentence."""
    letter, type_ = _parts(tag)
    letter_before, type_before = _parts(before)
    is_same = type_ == type_before
    if scheme == "iobes":
        is_open = letter_before in ("B", "I")
        return letter in ("I", "E") and is_same if is_open else letter not in ("I", "E")
    if scheme == "iob2":
        return letter != "I" or (is_same and letter_before != OUTSIDE)
    return letter != "B" or (is_same and letter_before != OUTSIDE)


def find_invalid(tags: Sequence[str], scheme: str) -> int | None:
    """Return the index of the first tag that may not stand where it does, or None.

    A span that IOBES leaves open at the end of a sentence is reported at the last tag.
    """
    for index, (before, tag) in enumerate(zip([None, *tags], tags, strict=False)):
        if not may_follow(before, tag, scheme):
            return index
    return len(tags) - 1 if tags and not may_follow(tags[-1], None, scheme) else None


def parse_spans(tags: Iterable[str]) -> list[Span]:
    """Return the spans of tags of any scheme; an I-X that continues nothing begins a span."""
    spans: list[Span] = []
    is_open = False
    for index, tag in enumerate(tags):
        letter, type_ = _parts(tag)
        if letter == OUTSIDE:
            is_open = False
            continue
        if is_open and letter in ("I", "E") and spans[-1].type == type_:
            spans[-1] = spans[-1]._replace(stop=index + 1)
        else:
            spans.append(Span(index, index + 1, type_))
        is_open = letter not in ("E", "S")
    return spans


def write_tags(spans: Iterable[Span], n_tokens: int, scheme: str) -> list[str]:
    """Return the tags of a sentence in a scheme; spans are in order and do not overlap."""
    tags = [OUTSIDE] * n_tokens
    last: Span | None = None
    for span in spans:
        letters = _letters(span.stop - span.start, scheme)
        if scheme == "iob1" and last and (last.stop, last.type) == (span.start, span.type):
            letters = "B" + letters[1:]
        tags[span.start : span.stop] = [f"{letter}-{span.type}" for letter in letters]
        last = span
    return tags


def convert_tags(tags: Sequence[str], scheme: str) -> list[str]:
    """Return tags of any scheme in another one; an I-X that continues nothing begins a span."""
    return write_tags(parse_spans(tags), len(tags), scheme)


def allowed_tags(labels: Sequence[str], scheme: str) -> AllowedTags:
    """Return which of the labels may begin a sentence, follow one another, and end a sentence."""
    return AllowedTags(
        np.array([may_follow(None, label, scheme) for label in labels]),
        np.array([[may_follow(before, label, scheme) for label in labels] for before in labels]),
        np.array([may_follow(label, None, scheme) for label in labels]),
    )


def _parts(tag: str | None) -> tuple[str, str]:
    if tag is None or tag == OUTSIDE:
        return OUTSIDE, ""
    return SAME_LETTER.get(tag[0], tag[0]), tag[2:]


def _letters(length: int, scheme: str) -> str:
    if scheme == "iobes":
        return "S" if length == 1 else "B" + "I" * (length - 2) + "E"
    return "I" * length if scheme == "iob1" else "B" + "I" * (length - 1)

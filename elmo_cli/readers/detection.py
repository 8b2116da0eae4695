"""Detection of other formats in files that would be read as text, by their first lines.

A text is refused only if its first lines are very unlikely to be sentences. Each rule examines up
to `SAMPLE` lines:

- FASTA: the first line is `>` and an id; all others are such headers, `;` comments, or one word of
  residue letters; at least one sequence has five or more upper-case letters, or twenty of either
  case.
- CoNLL-U: after comments (`#`), up to a blank line, the words are numbered 1, 2, ... (except
  multiword tokens and empty nodes) and have ten columns separated by tabs, or a comment is one of
  CoNLL-U's (`# sent_id =`, `# text =`, `# newdoc`, `# global.columns =`).
- CoNLL: the first line is `#begin document (`, or `-DOCSTART-` with more columns; or all lines have
  the same number of columns, 2 to 15, of which the last is a BIO tag: three or more lines of which
  one is in an entity, or eight that are all `O`.
- JSON Lines: the lines (at most five) are objects that are not empty; or lists of strings, in two
  or more lines.

Tables are not detected, since the first line of CSV or TSV may be any sentence. Column files
without BIO tags are not detected either.
"""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain, groupby, islice, takewhile
from typing import Any

from elmo_cli.errors import CorpusError

SAMPLE = 100  # lines
NAMES = {
    "fasta": "FASTA",
    "conllu": "CoNLL-U",
    "conll": "CoNLL, a token a line",
    "jsonl": "JSON Lines",
}
_HEADER, _RESIDUES = re.compile(r">[^\s>].*"), re.compile(r"[A-Za-z*.\-]+")
_LONG = re.compile(r"[A-Z]{5,}\*?|[A-Za-z]{20,}\*?")
_COMMENT = re.compile(r"#\s*(sent_id\s*=|text\s*=|newdoc\b|newpar\b|global\.columns\s*=).*")
_WORD = re.compile(r"(\d+)([-.]\d+)?\t.*")
_TAG = re.compile(r"O|[BIESLUM]-\S+")
# A first line of any of these formats
_MAY_BE = re.compile(r">[^\s>]|#|-DOCSTART-|[01](-\d+|\.\d+)?\t|\s*[{\[]|.*\s(O|[BIESLUM]-\S+)\s*$")

Line = tuple[int, str]


def refuse_markup(
    lines: Iterator[Line], name: str, formats: Sequence[str], insist: str
) -> Iterator[Line]:
    """Iterate over numbered lines, unless the first ones are clearly of another format.

    Args:
        lines: Line numbers and lines without their ends.
        name: The file, for the message.
        formats: The formats to detect.
        insist: The format that the user can choose to read the lines nonetheless.

    Raises:
        CorpusError: The lines are of one of the formats.
    """
    first = list(_until_text(lines))
    head = [*first, *(islice(lines, SAMPLE) if first and _MAY_BE.match(first[-1][1]) else ())]
    found = detect_format([line for _, line in head])
    if found is not None and found in formats:
        shown = next(line for _, line in head if line.strip())[:40]
        raise CorpusError(
            f"{name}: looks like {NAMES[found]} (it begins with {shown!r}); pass --input-format "
            f"{found}, or --input-format {insist} "
            "if that is wrong"
        )
    yield from chain(head, lines)


def _until_text(lines: Iterator[Line]) -> Iterator[Line]:
    """Iterate over the lines up to the first non-blank one.

    A stream of text then does not wait for more.
    """
    for numbered in islice(lines, SAMPLE):
        yield numbered
        if numbered[1].strip():
            return


def detect_format(lines: Sequence[str]) -> str | None:
    """Return the format of a file's first lines by the rules above; None if possibly text."""
    filled = [line for line in lines if line.strip()]
    if not filled:
        return None
    rules = {
        "jsonl": _is_jsonl(filled),
        "fasta": _is_fasta(filled),
        "conllu": _is_conllu(lines),
        "conll": _is_conll(filled),
    }
    return next((name for name, holds in rules.items() if holds), None)


def _is_fasta(lines: Sequence[str]) -> bool:
    if not _HEADER.match(lines[0]):
        return False
    rest = [line.strip() for line in lines if not line.startswith(";")]
    records = [
        list(run)
        for is_header, run in groupby(rest, lambda line: _HEADER.match(line) is not None)
        if not is_header
    ]
    return all(map(_RESIDUES.fullmatch, chain.from_iterable(records))) and any(
        _LONG.fullmatch("".join(record)) for record in records
    )


def _is_conllu(lines: Sequence[str]) -> bool:
    comments = list(takewhile(lambda line: not line.strip() or line.startswith("#"), lines))
    words = list(takewhile(str.strip, lines[len(comments) :]))
    found = list(map(_WORD.fullmatch, words))
    numbers = [int(word[1]) for word in found if word and not word[2]]
    if not words or None in found or numbers != list(range(1, len(numbers) + 1)):
        return False
    return any(map(_COMMENT.match, comments)) or all(line.count("\t") == 9 for line in words)


def _is_conll(lines: Sequence[str]) -> bool:
    if lines[0].startswith("#begin document (") or re.match(r"-DOCSTART-\s+\S", lines[0]):
        return True
    rows = [
        line.split("\t") if "\t" in line else line.split()
        for line in lines
        if not line.startswith("-DOCSTART-")
    ]
    tags = [row[-1].strip() for row in rows]
    if (
        len({len(row) for row in rows}) != 1
        or not 2 <= len(rows[0]) <= 15
        or not all(map(_TAG.fullmatch, tags))
    ):
        return False
    return len(rows) >= (8 if set(tags) == {"O"} else 3)


def _is_jsonl(lines: Sequence[str]) -> bool:
    values = list(map(_json, lines[:5]))
    if all(isinstance(value, dict) and value for value in values):
        return True
    return len(values) > 1 and all(
        isinstance(value, list) and value and set(map(type, value)) == {str} for value in values
    )


def _json(line: str) -> Any:  # noqa: ANN401  # JSON
    if not line.lstrip().startswith(("{", "[")):
        return None
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None

"""The words a softmax tells apart: `vocab.txt` of bilm-tf, one a line, the boundaries and the unknown word first."""

from collections.abc import Sequence
from pathlib import Path

from elmo_cli.errors import CorpusError, ModelError
from elmo_cli.nn.characters import BOS, EOS

UNKNOWN = "<UNK>"
SPECIAL = (BOS, EOS, UNKNOWN)
BOS_ID, EOS_ID, UNKNOWN_ID = range(3)


def choose_words(words: Sequence[str], counts: Sequence[int], size: int | None, min_count: int) -> list[str]:
    """The special words, then the most frequent others, by falling frequency; of equal ones the first seen first.

    Raises:
        CorpusError: There are no two words to tell apart.
    """
    kept = [i for i in sorted(range(len(words)), key=lambda i: -counts[i]) if counts[i] >= min_count and _is_listed(words[i])]
    chosen = [words[i] for i in kept[: None if size is None else max(0, size - len(SPECIAL))]]
    if len(chosen) < 2:
        found = ", ".join(repr(word) for word in chosen) or "none"
        raise CorpusError(
            f"vocabulary: {found} of the corpus's {len(words) - len(SPECIAL):,} words is kept; there must be two at least: "
            "lower --min-count, raise --vocabulary-size, or check that tokens are parted by blanks"
        )
    return [*SPECIAL, *chosen]


def _is_listed(word: str) -> bool:
    """Whether a word may be among the ordinary ones: a line of vocab.txt has no place for one that holds line ends."""
    return word not in SPECIAL and "\n" not in word and "\r" not in word


def read_vocabulary(path: Path) -> list[str]:
    """The words of a vocab.txt.

    Raises:
        ModelError: It cannot be read, does not start with the special words, or names a word twice.
    """
    try:
        words = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from None
    words = words[:-1] if words[-1] == "" else words
    if tuple(words[: len(SPECIAL)]) != SPECIAL:
        raise ModelError(f"{path}: does not start with {', '.join(SPECIAL)}; a vocabulary lists these three first")
    if len(set(words)) != len(words):
        raise ModelError(f"{path}: names a word twice")
    return words


def write_vocabulary(words: Sequence[str], path: Path) -> None:
    """Write a vocab.txt."""
    path.write_text("".join(f"{word}\n" for word in words), encoding="utf-8")

"""Vocabulary of the softmax: bilm-tf's `vocab.txt`, one word per line, special words first."""

from collections.abc import Sequence
from pathlib import Path

from elmo_cli.errors import CorpusError, ModelError
from elmo_cli.nn.characters import BOS, EOS

UNKNOWN = "<UNK>"
SPECIAL = (BOS, EOS, UNKNOWN)
BOS_ID, EOS_ID, UNKNOWN_ID = range(3)


def choose_words(
    words: Sequence[str], counts: Sequence[int], size: int | None, min_count: int
) -> list[str]:
    """Choose a vocabulary: the special words, then the most frequent others.

    Args:
        words: Words of the corpus in order of their first occurrence.
        counts: Number of occurrences of each word.
        size: Largest number of words; None: no limit.
        min_count: Smallest number of occurrences.

    Returns:
        The vocabulary, by descending frequency and first occurrence.

    Raises:
        CorpusError: Fewer than two words remain.
    """
    kept = [
        i
        for i in sorted(range(len(words)), key=lambda i: -counts[i])
        if counts[i] >= min_count and _is_listed(words[i])
    ]
    chosen = [words[i] for i in kept[: None if size is None else max(0, size - len(SPECIAL))]]
    if len(chosen) < 2:
        found = ", ".join(repr(word) for word in chosen) or "none"
        raise CorpusError(
            f"vocabulary: keeps {found} of the corpus's {len(words) - len(SPECIAL):,} words, "
            "but needs two; lower --min-count, raise --vocabulary-size, "
            "or check that tokens are separated by spaces"
        )
    return [*SPECIAL, *chosen]


def _is_listed(word: str) -> bool:
    """Return whether a word can be a line of vocab.txt and is not a special word."""
    return word not in SPECIAL and "\n" not in word and "\r" not in word


def read_vocabulary(path: Path) -> list[str]:
    """Read a vocab.txt.

    Args:
        path: Path of the file.

    Returns:
        The words.

    Raises:
        ModelError: The file cannot be read, does not start with the special words, or repeats a
            word.
    """
    try:
        words = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from None
    words = words[:-1] if words[-1] == "" else words
    if tuple(words[: len(SPECIAL)]) != SPECIAL:
        raise ModelError(
            f"{path}: does not start with {', '.join(SPECIAL)}; these three come first in a "
            "vocabulary"
        )
    if len(set(words)) != len(words):
        raise ModelError(f"{path}: contains a word twice; remove one of the lines")
    return words


def write_vocabulary(words: Sequence[str], path: Path) -> None:
    """Write a vocab.txt.

    Args:
        words: The words.
        path: Path of the file.
    """
    path.write_text("".join(f"{word}\n" for word in words), encoding="utf-8")

"""Corpus encoded as integers on disk, read by memory mapping.

`forward.i32` contains the words that the forward direction predicts, sentence after sentence, each
followed by EOS; `backward.i32` contains the reversed sentences, each followed by BOS. Both start
with one such mark, so that entry k + 1 is predicted from entry k. Words are rows of a table of the
corpus's types, with the vocabulary first; `characters.i16` contains their character ids.
"""

import json
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elmo_cli.errors import CorpusError, ModelError
from elmo_cli.io.atomic import writing_errors
from elmo_cli.nn.characters import BOS, EOS, PADDING, CharacterMapper
from elmo_cli.training.vocabulary import BOS_ID, EOS_ID, SPECIAL, choose_words

FLUSH_TARGETS = 1 << 20
DIRECTIONS = ("forward", "backward")


@dataclass(frozen=True)
class TextFacts:
    """Counts of a corpus.

    Attributes:
        sentences: Number of sentences.
        tokens: Number of tokens.
        types: Number of distinct words, with those of the vocabulary.
        vocabulary: Number of words of the softmax, with the special ones.
        unknown: Number of tokens outside the vocabulary.
    """

    sentences: int
    tokens: int
    types: int
    vocabulary: int
    unknown: int

    @property
    def targets(self) -> int:
        """Number of words that each direction predicts: tokens, and one boundary a sentence."""
        return self.tokens + self.sentences


@dataclass(frozen=True)
class VocabularyChoice:
    """A given vocabulary, or limits for the most frequent words of the corpus.

    Attributes:
        size: Largest number of words; None: no limit.
        min_count: Smallest number of occurrences of a word.
        words: The given vocabulary; None: the most frequent words.
    """

    size: int | None = None
    min_count: int = 1
    words: Sequence[str] | None = None


class EncodedText:
    """Encoded corpus, memory-mapped.

    Args:
        folder: Folder of the files.
        facts: Counts of the corpus.
    """

    def __init__(self, folder: Path, facts: TextFacts) -> None:
        self.facts = facts
        self.words = [
            np.memmap(folder / f"{name}.i32", dtype=np.int32, mode="r") for name in DIRECTIONS
        ]
        self.characters = np.memmap(folder / "characters.i16", dtype=np.int16, mode="r").reshape(
            facts.types, -1
        )

    def rows(self, types: Tensor) -> tuple[Tensor, Tensor]:
        """Return the character ids of types.

        Args:
            types: Rows of the table of words, (type,) int64.

        Returns:
            Ids padded on the right, (type, character) int32, and lengths with both markers,
            (type,).
        """
        ids = torch.from_numpy(self.characters[types.cpu().numpy()].astype(np.int32)).to(
            types.device
        )
        return ids, (ids != PADDING).sum(1)

    def check(self) -> None:
        """Check that the files match the counts.

        Raises:
            ValueError: A file is truncated, or has values out of range.
        """
        for name, words in zip(DIRECTIONS, self.words, strict=True):
            if len(words) != self.facts.targets + 1:
                raise ValueError(
                    f"{name}.i32 has {len(words):,} words, not {self.facts.targets + 1:,}"
                )
            if words.min() < 0 or words.max() >= self.facts.types:
                raise ValueError(f"{name}.i32 has words outside the corpus")


def open_text(folder: Path) -> EncodedText:
    """Open a corpus that `encode_corpus` wrote.

    Args:
        folder: Folder of the files.

    Returns:
        The corpus.

    Raises:
        ModelError: A file is missing or damaged.
    """
    try:
        text = EncodedText(folder, TextFacts(**json.loads((folder / "text.json").read_bytes())))
        text.check()
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(
            f"{folder}: its encoded corpus is damaged ({error}); start a new run in another folder"
        ) from None
    return text


def encode_corpus(
    sentences: Iterable[list[str]],
    folder: Path,
    choice: VocabularyChoice,
    mapper: CharacterMapper,
    widest: int,
) -> tuple[TextFacts, list[str]]:
    """Write an encoded corpus.

    Args:
        sentences: Sentences, lists of tokens.
        folder: Folder for the files.
        choice: Choice of the vocabulary.
        mapper: Mapper of tokens to character ids.
        widest: Width of the widest convolution, for the padding.

    Returns:
        Counts of the corpus, and its vocabulary.

    Raises:
        CorpusError: The corpus has no tokens, or fewer than two words for the vocabulary.
        OutputError: The folder cannot be written.
    """
    with writing_errors(folder, "free some space"):
        ids: defaultdict[str, int] = defaultdict()
        ids.default_factory = ids.__len__
        for word in SPECIAL:
            ids[word]  # assigns the next number
        n_sentences = _write_numbers(sentences, folder, ids)
        types = list(ids)
        counts = _count(folder / "forward.i32", len(types))
        n_tokens = int(counts.sum()) - n_sentences
        if n_tokens == 0:
            raise CorpusError(
                "the corpus has no tokens; pass files of tokenized text, one sentence per line"
            )
        vocabulary = (
            list(choice.words)
            if choice.words
            else choose_words(types, counts.tolist(), choice.size, choice.min_count)
        )
        order = _vocabulary_first(types, vocabulary, ids)
        renumbered = np.empty(len(ids), dtype=np.int32)
        renumbered[order] = np.arange(len(ids), dtype=np.int32)
        for name in DIRECTIONS:
            _renumber(folder / f"{name}.i32", renumbered)
        unknown = (
            n_tokens
            + n_sentences
            - int(counts[[i for i in order[: len(vocabulary)] if i < len(counts)]].sum())
        )
        types = list(ids)
        _write_characters([types[i] for i in order], folder / "characters.i16", mapper, widest)
        facts = TextFacts(n_sentences, n_tokens, len(types), len(vocabulary), unknown)
        (folder / "text.json").write_text(json.dumps(asdict(facts)) + "\n", encoding="utf-8")
    return facts, vocabulary


def without_boundaries(tokens: list[str]) -> list[str]:
    """Return the tokens without explicit sentence boundaries, which every sentence gets anyway."""
    if BOS in tokens or EOS in tokens:
        return [token for token in tokens if token not in (BOS, EOS)]
    return tokens


def _write_numbers(sentences: Iterable[list[str]], folder: Path, ids: defaultdict[str, int]) -> int:
    forward, backward, n_sentences = array("i", [EOS_ID]), array("i", [BOS_ID]), 0
    with (
        (folder / "forward.i32").open("wb") as forward_file,
        (folder / "backward.i32").open("wb") as backward_file,
    ):
        for tokens in sentences:
            numbers = list(map(ids.__getitem__, without_boundaries(tokens)))
            if not numbers:
                continue
            n_sentences += 1
            forward.extend(numbers)
            forward.append(EOS_ID)
            numbers.reverse()
            backward.extend(numbers)
            backward.append(BOS_ID)
            if len(forward) > FLUSH_TARGETS:
                _flush(forward, forward_file)
                _flush(backward, backward_file)
        _flush(forward, forward_file)
        _flush(backward, backward_file)
    return n_sentences


def _flush(numbers: "array[int]", file: BinaryIO) -> None:
    file.write(numbers)
    del numbers[:]


def _count(path: Path, n_types: int) -> npt.NDArray[np.int64]:
    """Return how often each type is a target."""
    counts = np.zeros(n_types, dtype=np.int64)
    for block in _blocks(np.memmap(path, dtype=np.int32, mode="r")[1:]):
        counts += np.bincount(block, minlength=n_types)
    return counts


def _vocabulary_first(
    types: Sequence[str], vocabulary: Sequence[str], ids: defaultdict[str, int]
) -> npt.NDArray[np.int64]:
    first = [ids[word] for word in vocabulary]  # assigns numbers to words that the corpus lacks
    known = set(first)
    return np.array([*first, *(i for i in range(len(types)) if i not in known)], dtype=np.int64)


def _renumber(path: Path, renumbered: npt.NDArray[np.int32]) -> None:
    for block in _blocks(np.memmap(path, dtype=np.int32, mode="r+")):
        block[:] = renumbered[block]


def _blocks(targets: npt.NDArray[np.int32]) -> Iterator[npt.NDArray[np.int32]]:
    for start in range(0, len(targets), FLUSH_TARGETS):
        yield targets[start : start + FLUSH_TARGETS]


def _write_characters(
    types: Sequence[str], path: Path, mapper: CharacterMapper, widest: int
) -> None:
    padding = np.full(widest - 1, PADDING, dtype=np.int16)
    with path.open("wb") as file:
        for token in types:
            file.write(
                np.concatenate([mapper.token_ids(token).astype(np.int16), padding]).tobytes()
            )

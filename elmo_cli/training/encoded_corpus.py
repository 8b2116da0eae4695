"""A corpus as numbers on the disk: read once, from files or a pipe, then open at any place with no memory to speak of.

`forward.i32` holds the words that the forward direction is to predict, sentence after sentence, each closed by EOS; `backward.i32` the
same sentences from their ends, each closed by BOS; both start with one closing mark more, so that entry k + 1 is predicted from entry k.
Words are rows of a table of the corpus's types, the vocabulary first; `characters.i16` holds their character ids.
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

FLUSH_ENTRIES = 1 << 20
DIRECTIONS = ("forward", "backward")


@dataclass(frozen=True)
class TextFacts:
    """What a corpus holds."""

    sentences: int
    tokens: int
    types: int
    vocabulary: int  # words of the softmax, the special ones included
    unknown: int  # tokens outside it

    @property
    def entries(self) -> int:
        """What each direction predicts: the tokens, and one boundary a sentence."""
        return self.tokens + self.sentences


@dataclass(frozen=True)
class VocabularyChoice:
    """A given list of words, or the most frequent ones of the corpus."""

    size: int | None = None
    min_count: int = 1
    words: Sequence[str] | None = None


class EncodedText:
    """An encoded corpus, opened."""

    def __init__(self, folder: Path, facts: TextFacts) -> None:
        self.facts = facts
        self.words = [np.memmap(folder / f"{name}.i32", dtype=np.int32, mode="r") for name in DIRECTIONS]
        self.characters = np.memmap(folder / "characters.i16", dtype=np.int16, mode="r").reshape(facts.types, -1)

    def rows(self, types: Tensor) -> tuple[Tensor, Tensor]:
        """Character ids (type, character) int32 of these types, padded on, and their lengths with both markers."""
        ids = torch.from_numpy(self.characters[types.cpu().numpy()].astype(np.int32)).to(types.device)
        return ids, (ids != PADDING).sum(1)

    def check(self) -> None:
        """Make sure that it is what its facts tell.

        Raises:
            ValueError: A file is cut, or holds what is none of its words.
        """
        for name, words in zip(DIRECTIONS, self.words, strict=True):
            if len(words) != self.facts.entries + 1:
                raise ValueError(f"{name}.i32 holds {len(words):,} words, not {self.facts.entries + 1:,}")
            if words.min() < 0 or words.max() >= self.facts.types:
                raise ValueError(f"{name}.i32 holds words that the corpus has not")


def open_text(folder: Path) -> EncodedText:
    """Open what `encode_corpus` wrote.

    Raises:
        ModelError: It is damaged.
    """
    try:
        text = EncodedText(folder, TextFacts(**json.loads((folder / "text.json").read_bytes())))
        text.check()
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{folder}: its encoded corpus is damaged ({error}); start the run anew, in another folder") from None
    return text


def encode_corpus(
    sentences: Iterable[list[str]], folder: Path, choice: VocabularyChoice, mapper: CharacterMapper, widest: int
) -> tuple[TextFacts, list[str]]:
    """Write the corpus's numbers into `folder`; returns its facts and its vocabulary.

    Raises:
        CorpusError: It holds no tokens, or no two words.
        OutputError: The folder cannot be written to.
    """
    with writing_errors(folder, "make room"):
        ids: defaultdict[str, int] = defaultdict()
        ids.default_factory = ids.__len__
        for word in SPECIAL:
            ids[word]  # takes the next number
        n_sentences = _write_numbers(sentences, folder, ids)
        types = list(ids)
        counts = _count(folder / "forward.i32", len(types))
        n_tokens = int(counts.sum()) - n_sentences
        if n_tokens == 0:
            raise CorpusError("the corpus holds no tokens; name files of tokenized text, one sentence a line")
        vocabulary = list(choice.words) if choice.words else choose_words(types, counts.tolist(), choice.size, choice.min_count)
        order = _vocabulary_first(types, vocabulary, ids)
        renumbered = np.empty(len(ids), dtype=np.int32)
        renumbered[order] = np.arange(len(ids), dtype=np.int32)
        for name in DIRECTIONS:
            _renumber(folder / f"{name}.i32", renumbered)
        unknown = n_tokens + n_sentences - int(counts[[i for i in order[: len(vocabulary)] if i < len(counts)]].sum())
        types = list(ids)
        _write_characters([types[i] for i in order], folder / "characters.i16", mapper, widest)
        facts = TextFacts(n_sentences, n_tokens, len(types), len(vocabulary), unknown)
        (folder / "text.json").write_text(json.dumps(asdict(facts)) + "\n", encoding="utf-8")
    return facts, vocabulary


def without_boundaries(tokens: list[str]) -> list[str]:
    """The tokens but for explicit sentence boundaries, which every sentence gets anyway."""
    if BOS in tokens or EOS in tokens:
        return [token for token in tokens if token not in (BOS, EOS)]
    return tokens


def _write_numbers(sentences: Iterable[list[str]], folder: Path, ids: defaultdict[str, int]) -> int:
    forward, backward, n_sentences = array("i", [EOS_ID]), array("i", [BOS_ID]), 0
    with (folder / "forward.i32").open("wb") as forward_file, (folder / "backward.i32").open("wb") as backward_file:
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
            if len(forward) > FLUSH_ENTRIES:
                _flush(forward, forward_file)
                _flush(backward, backward_file)
        _flush(forward, forward_file)
        _flush(backward, backward_file)
    return n_sentences


def _flush(numbers: "array[int]", file: BinaryIO) -> None:
    file.write(numbers)
    del numbers[:]


def _count(path: Path, n_types: int) -> npt.NDArray[np.int64]:
    """How often each type is to be predicted."""
    counts = np.zeros(n_types, dtype=np.int64)
    for part in _parts(np.memmap(path, dtype=np.int32, mode="r")[1:]):
        counts += np.bincount(part, minlength=n_types)
    return counts


def _vocabulary_first(types: Sequence[str], vocabulary: Sequence[str], ids: defaultdict[str, int]) -> npt.NDArray[np.int64]:
    first = [ids[word] for word in vocabulary]  # a word of a given vocabulary that the corpus lacks gets a number now
    known = set(first)
    return np.array([*first, *(i for i in range(len(types)) if i not in known)], dtype=np.int64)


def _renumber(path: Path, renumbered: npt.NDArray[np.int32]) -> None:
    for part in _parts(np.memmap(path, dtype=np.int32, mode="r+")):
        part[:] = renumbered[part]


def _parts(entries: npt.NDArray[np.int32]) -> Iterator[npt.NDArray[np.int32]]:
    for start in range(0, len(entries), FLUSH_ENTRIES):
        yield entries[start : start + FLUSH_ENTRIES]


def _write_characters(types: Sequence[str], path: Path, mapper: CharacterMapper, widest: int) -> None:
    padding = np.full(widest - 1, PADDING, dtype=np.int16)
    with path.open("wb") as file:
        for token in types:
            file.write(np.concatenate([mapper.token_ids(token).astype(np.int16), padding]).tobytes())

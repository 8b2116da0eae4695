"""Occurrences of a word in a feature file: their places, contexts, labels and vectors."""

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from elmo_cli.downstream.kept import Label
from elmo_cli.errors import FeaturesError
from elmo_cli.features.reader import Features
from elmo_cli.types import Sentence

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
SPELLINGS = 50_000  # most frequent types among which the nearest spellings are sought


class Occurrence(NamedTuple):
    """A token of a feature file, with its sentence."""

    sentence: int  # its index in the file
    position: int  # of the token in the sentence, from 0
    key: str
    tokens: list[str]
    label: str | None = None

    @property
    def token(self) -> str:
        """The token itself."""
        return self.tokens[self.position]

    def left(self, size: int) -> list[str]:
        """Return at most `size` tokens before it."""
        return self.tokens[max(0, self.position - size) : self.position]

    def right(self, size: int) -> list[str]:
        """Return at most `size` tokens after it."""
        return self.tokens[self.position + 1 : self.position + 1 + size]


@dataclass(frozen=True)
class WordScan:
    """The places of a word in a file, and how many sentences contain each type."""

    places: Ints  # (occurrence, 2): index of the sentence, position
    sentences_with: Counter[str]  # by type, case folded
    n_sentences: int


def token_sentences(features: Features) -> Iterator[Sentence]:
    """Iterate over the sentences of a file of token vectors, in order; no vectors are read.

    Raises:
        FeaturesError: The file has one vector a sentence, or records no tokens.
    """
    if features.description.pooled:
        pool = features.metadata.get("pool", "pooled")
        raise FeaturesError(
            f"{features.path}: contains one vector a sentence ({pool}); embed without --pool for "
            "words"
        )
    for index in range(len(features)):
        sentence = features.sentence(index)
        if sentence.tokens and not any(sentence.tokens):
            raise FeaturesError(
                f"{features.path}: does not record tokens ({features.layout}); write another "
                "format, such as .parquet"
            )
        yield sentence


def scan_word(features: Features, word: str, *, exact: bool = False) -> WordScan:
    """Find all occurrences of a word.

    Args:
        features: An open file of token vectors.
        word: One token.
        exact: Whether upper and lower case differ.

    Raises:
        FeaturesError: The word does not occur, or the file has no token vectors or no tokens.
    """
    wanted = word if exact else word.casefold()
    found = array("q")
    counts: Counter[str] = Counter()
    for index, sentence in enumerate(token_sentences(features)):
        folded = [token.casefold() for token in sentence.tokens]
        counts.update(set(folded))
        tokens = sentence.tokens if exact else folded
        if wanted in tokens:
            for position in (i for i, token in enumerate(tokens) if token == wanted):
                found.extend((index, position))
    if not found:
        raise FeaturesError(
            f"{features.path}: {word!r} does not occur in it; {_advice(word, counts, exact=exact)}"
        )
    places = np.frombuffer(found, dtype=np.int64).reshape(-1, 2)
    return WordScan(places, counts, len(features))


def _advice(word: str, counts: Counter[str], *, exact: bool) -> str:
    if exact and word.casefold() in counts:
        return "it occurs with other capitals, which are found without --exact"
    types = [type_ for type_, _ in counts.most_common(SPELLINGS)]
    close = get_close_matches(word.casefold(), types, n=3)
    return f"nearest spellings: {', '.join(close)}" if close else "choose one of its tokens"


def sample_places(places: Ints, size: int, seed: int) -> Ints:
    """Return `size` places at most, drawn without replacement, in the order of the file."""
    if len(places) <= size:
        return places
    chosen = np.random.default_rng(seed).choice(len(places), size, replace=False)
    return places[np.sort(chosen)]


def read_occurrences(features: Features, places: Ints, label: Label) -> list[Occurrence]:
    """Return the occurrences at some places, with their sentences."""
    occurrences = []
    for index, position in places.tolist():
        sentence = features.sentence(index)
        key = sentence.key if sentence.id is None else sentence.id
        occurrences.append(
            Occurrence(index, position, key, sentence.tokens, label(sentence, position))
        )
    return occurrences


def choose_layers(features: Features, numbers: Sequence[int] | None) -> list[int]:
    """Return the indices, in the file, of the layers with these numbers, or of all.

    Args:
        features: An open feature file.
        numbers: Numbers of layers in the model, as in the names "layer_0", ...; None: all.

    Raises:
        FeaturesError: The file does not contain one of them.
    """
    names = features.description.names
    if numbers is None:
        return list(range(len(names)))
    missing = [number for number in numbers if f"layer_{number}" not in names]
    if missing or not features.description.layered:
        raise FeaturesError(
            f"{features.path}: does not contain layer {missing[0] if missing else numbers[0]}; it "
            f"has {', '.join(names)}"
        )
    return [names.index(f"layer_{number}") for number in dict.fromkeys(numbers)]


def read_layers(features: Features, index: int, layers: Sequence[int]) -> Floats:
    """Return layers of a sentence, (layer, ..., dim) float32, with or without a layer axis on file.

    Raises:
        FeaturesError: A value is NaN or infinite.
    """
    layered = features.description.layered
    found = features.read(index, layers) if layered else features[index][None]
    if not np.isfinite(found).all():
        raise FeaturesError(
            f"{features.path}: sentence {index}: contains NaN or infinite values; make the file "
            "again"
        )
    return found.astype(np.float32)


def read_vectors(features: Features, places: Ints, layers: Sequence[int]) -> Floats:
    """Return the vectors of tokens, (layer, occurrence, dim) float32.

    Args:
        features: An open file of token vectors.
        places: (occurrence, 2): index of the sentence, position; in the order of the file.
        layers: Indices of layers in the file.
    """
    vectors = np.empty((len(layers), len(places), features.description.dim), dtype=np.float32)
    last, sentence = -1, np.empty(0, dtype=np.float32)
    for row, (index, position) in enumerate(places.tolist()):
        if index != last:
            last, sentence = index, read_layers(features, index, layers)
        vectors[:, row] = sentence[:, position]
    return vectors


def unit(vectors: Floats) -> Floats:
    """Return vectors of length 1 along the last axis; zeros remain zeros."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float32).tiny), dtype=np.float32)

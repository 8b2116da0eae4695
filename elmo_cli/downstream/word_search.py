"""Search for similar occurrences of a word, in flat memory.

Top-layer vectors are compared less the mean of the word's occurrences.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from elmo_cli.downstream.hits import Best, Hit
from elmo_cli.downstream.kept import Label
from elmo_cli.downstream.occurrences import (
    Floats,
    Ints,
    choose_layers,
    read_layers,
    read_occurrences,
    read_vectors,
    scan_word,
    token_sentences,
)
from elmo_cli.downstream.whitening import centring, no_transform
from elmo_cli.features.reader import Features

BLOCK = 4096  # occurrences compared together


def word_layers(features: Features, numbers: Sequence[int] | None) -> list[int]:
    """Return the indices of the layers compared: those asked for, or the top one of the file."""
    return (
        choose_layers(features, numbers)
        if numbers is not None
        else [len(features.description.names) - 1]
    )


class WordIndex:
    """Occurrences of one word, or all tokens, of a file.

    Args:
        features: An open file of token vectors; it must stay open.
        layers: Indices of the layers compared.
        word: The word, in upper or lower case; None: all tokens.
        raw: Whether vectors are compared as they are, not centred.

    Raises:
        FeaturesError: The word does not occur, or the file has no token vectors or no tokens.
    """

    def __init__(
        self, features: Features, layers: Sequence[int], word: str | None, *, raw: bool = False
    ) -> None:
        self.features, self.layers = features, list(layers)
        self._places = scan_word(features, word).places if word is not None else None
        self._held: Floats | None = None
        if self._places is not None and len(self._places) <= BLOCK:
            self._held = read_vectors(features, self._places, self.layers)
        self.transform = (
            no_transform(len(self.layers), features.description.dim)
            if raw
            else centring(self._mean())
        )

    def _blocks(self) -> Iterator[tuple[Floats, Ints]]:
        """Vectors (layer, occurrence, dim), and the places (occurrence, 2)."""
        if self._places is None:
            yield from _all_tokens(self.features, self.layers)
            return
        if self._held is not None:
            yield self._held, self._places
            return
        for first in range(0, len(self._places), BLOCK):
            places = self._places[first : first + BLOCK]
            yield read_vectors(self.features, places, self.layers), places

    def _mean(self) -> Floats:
        total, n = np.zeros((len(self.layers), self.features.description.dim)), 0
        for vectors, _ in self._blocks():
            total += vectors.sum(axis=1, dtype=np.float64)
            n += vectors.shape[1]
        return (total / max(n, 1)).astype(np.float32)

    def search(self, queries: Floats, size: int) -> list[list[tuple[float, int, int]]]:
        """Return (score, sentence, position) of the nearest occurrences by cosine, best first.

        Args:
            queries: (layer, query, dim) float32, vectors of the bracketed words.
            size: Occurrences of each query.
        """
        best, wanted = Best(queries.shape[1], size), self.transform(queries)
        for vectors, places in self._blocks():
            best.add(wanted @ self.transform(vectors).T, places[:, 0] << 24 | places[:, 1])
        return [
            [(score, place >> 24, place & 0xFFFFFF) for score, place in best.rows(query)]
            for query in range(queries.shape[1])
        ]


def _all_tokens(features: Features, layers: Sequence[int]) -> Iterator[tuple[Floats, Ints]]:
    arrays: list[Floats] = []
    places: list[tuple[int, int]] = []
    for index, sentence in enumerate(token_sentences(features)):
        if sentence.tokens:
            arrays.append(read_layers(features, index, layers))
            places += [(index, position) for position in range(len(sentence.tokens))]
        if len(places) >= BLOCK:
            yield np.concatenate(arrays, axis=1), np.array(places, dtype=np.int64)
            arrays, places = [], []
    if places:
        yield np.concatenate(arrays, axis=1), np.array(places, dtype=np.int64)


def word_hits(features: Features, rows: list[tuple[float, int, int]], label: Label) -> list[Hit]:
    """Return the hits of a query with their sentences."""
    places = np.array(
        [(sentence, position) for _, sentence, position in rows], dtype=np.int64
    ).reshape(-1, 2)
    found = read_occurrences(features, places, label)
    return [
        Hit(rank, score, one.sentence, one.key, one.tokens, one.position, one.label)
        for rank, ((score, _, _), one) in enumerate(zip(rows, found, strict=True), start=1)
    ]

"""Hits of a search: selection of the highest scores, block by block."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from elmo_cli.downstream.occurrences import Floats, Ints


class Hit(NamedTuple):
    """A sentence or token that was found."""

    rank: int  # from 1
    score: float
    sentence: int  # its index in the file
    key: str
    tokens: list[str]
    position: int | None  # of the token that was found
    label: str | None


class Best:
    """The highest scores of each query; ties keep the first ones.

    Args:
        n_queries: Number of queries.
        size: Scores kept of each.
    """

    def __init__(self, n_queries: int, size: int) -> None:
        self.size = size
        self.scores: Floats = np.empty((n_queries, 0), np.float32)
        self.places: Ints = np.empty((n_queries, 0), np.int64)

    def add(self, scores: Floats, places: Ints) -> None:
        """Add the scores of a block.

        Args:
            scores: (query, item) float32; -inf leaves an item out.
            places: (item,), a number of each item, rising from block to block.
        """
        size = min(self.size, scores.shape[1])
        if 0 < size < scores.shape[1]:
            least = np.partition(scores, -size, axis=1)[:, -size]
            self._merge(
                [self._above(row, bound, places) for row, bound in zip(scores, least, strict=True)]
            )
        elif size:
            self._merge([(row, places) for row in scores])

    def _above(self, row: Floats, bound: np.float32, places: Ints) -> tuple[Floats, Ints]:
        kept = np.flatnonzero(row >= bound)
        return row[kept], places[kept]

    def _merge(self, found: list[tuple[Floats, Ints]]) -> None:
        merged = [
            self._first(
                np.concatenate([self.scores[i], scores]), np.concatenate([self.places[i], places])
            )
            for i, (scores, places) in enumerate(found)
        ]
        self.scores = np.stack([scores for scores, _ in merged])
        self.places = np.stack([places for _, places in merged])

    def _first(self, scores: Floats, places: Ints) -> tuple[Floats, Ints]:
        order = np.lexsort((places, -scores))[: self.size]
        return scores[order], places[order]

    def rows(self, query: int) -> list[tuple[float, int]]:
        """Return (score, place) of a query, best first."""
        pairs = zip(self.scores[query].tolist(), self.places[query].tolist(), strict=True)
        return [(score, place) for score, place in pairs if score > -np.inf]


def minus_infinity(shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Return scores of items that are left out."""
    return np.full(shape, -np.inf, np.float32)

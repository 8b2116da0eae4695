"""Search for similar sentences by mean vectors, centred and softly whitened, in flat memory."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from elmo_cli.downstream.hits import Best, Hit
from elmo_cli.downstream.kept import Label
from elmo_cli.downstream.occurrences import Floats, Ints, choose_layers
from elmo_cli.downstream.whitening import Transform, fit_transform, no_transform
from elmo_cli.errors import FeaturesError
from elmo_cli.features.reader import Features

BLOCK = 4096  # sentences transformed together
# Vectors kept in memory; a larger file is read again for each batch of queries
HELD_BYTES = 1 << 28


class Block(NamedTuple):
    """Mean vectors of some sentences that have tokens."""

    vectors: Floats  # (layer, sentence, dim)
    sentences: Ints  # their indices in the file


def search_layers(features: Features, numbers: Sequence[int] | None) -> list[int]:
    """Return the indices of the compared layers.

    By default, these are the bottom and the top layer of the file.
    """
    if numbers is not None:
        return choose_layers(features, numbers)
    return sorted({0, len(features.description.names) - 1})


def read_blocks(features: Features, layers: Sequence[int]) -> Iterator[Block]:
    """Iterate over the mean vectors of all sentences that have tokens, in blocks.

    Raises:
        FeaturesError: A vector is NaN or infinite, or the file is damaged.
    """
    rows: list[Floats] = []
    numbers: list[int] = []
    index = 0
    for _, arrays in features.windows():
        for array in arrays:
            vector = sentence_vector(array, features, layers)
            if vector is not None:
                rows.append(vector)
                numbers.append(index)
            index += 1
            if len(rows) == BLOCK:
                yield _block(features, rows, numbers)
                rows, numbers = [], []
    if rows:
        yield _block(features, rows, numbers)


def sentence_vector(array: Floats, features: Features, layers: Sequence[int]) -> Floats | None:
    """Return the vectors (layer, dim) of a sentence, its tokens averaged.

    None for a sentence without tokens.
    """
    chosen = array[list(layers)] if features.description.layered else array[None]
    if features.description.pooled:
        return chosen if chosen.any() else None
    return chosen.mean(axis=1, dtype=np.float32) if chosen.shape[1] else None


def _block(features: Features, rows: list[Floats], numbers: list[int]) -> Block:
    vectors = np.stack(rows, axis=1).astype(np.float32)
    if not np.isfinite(vectors).all():
        bad = numbers[int(np.flatnonzero(~np.isfinite(vectors).all(axis=(0, 2)))[0])]
        raise FeaturesError(
            f"{features.path}: sentence {bad}: contains NaN or infinite values; make the file again"
        )
    return Block(vectors, np.array(numbers, dtype=np.int64))


class SentenceIndex:
    """Search index of the sentences of a file; small files are kept in memory, large ones read.

    Args:
        features: An open feature file; it must stay open.
        layers: Indices of the layers compared.
        raw: Whether vectors are compared as they are, neither centred nor whitened.
        held_bytes: Maximum size of the vectors kept in memory.
    """

    def __init__(
        self,
        features: Features,
        layers: Sequence[int],
        *,
        raw: bool = False,
        held_bytes: int = HELD_BYTES,
    ) -> None:
        self.features, self.layers = features, list(layers)
        dim = features.description.dim
        held: list[Block] | None = (
            [] if 4 * len(features) * len(layers) * dim <= held_bytes else None
        )
        blocks = (
            read_blocks(features, self.layers)
            if held is None
            else _keeping(read_blocks(features, self.layers), held)
        )
        if raw:
            self.transform = no_transform(len(self.layers), dim)
            for _ in blocks if held is not None else ():
                pass
        else:
            self.transform = fit_transform(
                (block.vectors for block in blocks), len(self.layers), dim
            )
        self._held = (
            None
            if held is None
            else [(transformed(block, self.transform), block.sentences) for block in held]
        )

    def _blocks(self) -> Iterator[tuple[Floats, Ints]]:
        if self._held is not None:
            yield from self._held
            return
        for block in read_blocks(self.features, self.layers):
            yield transformed(block, self.transform), block.sentences

    def search(self, queries: Floats, size: int) -> Best:
        """Return the sentences nearest to each query, by cosine.

        Args:
            queries: (layer, query, dim) float32, mean vectors.
            size: Number of sentences for each query.
        """
        best, wanted = Best(queries.shape[1], size), self.transform(queries)
        for vectors, sentences in self._blocks():
            best.add(wanted @ vectors.T, sentences)
        return best


def _keeping(blocks: Iterator[Block], held: list[Block]) -> Iterator[Block]:
    for block in blocks:
        held.append(block)
        yield block


def transformed(block: Block, transform: Transform) -> Floats:
    """Return the vectors of a block as they are compared, (sentence, layer * dim)."""
    return transform(block.vectors)


def sentence_hits(features: Features, rows: list[tuple[float, int]], label: Label) -> list[Hit]:
    """Return the hits of a query with their sentences."""
    hits = []
    for rank, (score, index) in enumerate(rows, start=1):
        sentence = features.sentence(index)
        key = sentence.key if sentence.id is None else sentence.id
        hits.append(
            Hit(
                rank,
                score,
                index,
                key,
                sentence.tokens,
                None,
                label(sentence, 0) if sentence.tokens else None,
            )
        )
    return hits

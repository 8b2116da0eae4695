"""Cache file of features of examples, with random access to batches of sentences."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from elmo_cli.features.values import cast
from elmo_cli.inference.embedder_spec import EmbedderSpec
from elmo_cli.inference.engines.local import LocalEngine
from elmo_cli.inference.pipeline import embed_corpus, windows
from elmo_cli.inference.selection import Selection
from elmo_cli.types import NOTHING, Array, Progress, Sentence


class FeatureCache:
    """A file of vectors, (row, layer, dim) of one type.

    A row is a token in the order of the corpus, or a sentence.

    The file has neither checksums nor metadata, because it can be written again from its corpus.

    Args:
        path: The file.
        n_layers: Layers of each row.
        dim: Dimension of a layer.
        counts: Number of rows of each sentence.
        dtype: Data type of the values.
    """

    def __init__(
        self, path: Path, n_layers: int, dim: int, counts: Sequence[int], dtype: str = "float16"
    ) -> None:
        self.path = path
        self.shape = (n_layers, dim)
        self.dtype = np.dtype(dtype)
        self.offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        self._file: BinaryIO | None = None

    @property
    def n_bytes(self) -> int:
        """Size of the complete file."""
        return int(self.offsets[-1]) * self.row_bytes

    @property
    def is_complete(self) -> bool:
        """Whether the file has all rows."""
        return self.path.is_file() and self.path.stat().st_size == self.n_bytes

    @property
    def n_stored(self) -> int:
        """Number of rows in the file."""
        return self.path.stat().st_size // self.row_bytes if self.path.is_file() else 0

    @property
    def row_bytes(self) -> int:
        """Size of a row."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def write(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:  # noqa: ARG002  # a writer of the pipeline
        """Append the arrays of a window, each (layer, token, dim), or (layer, dim) for one row."""
        with self.path.open("ab") as file:
            for array in arrays:
                rows = array.reshape(self.shape[0], -1, self.shape[1]).transpose(1, 0, 2)
                file.write(np.ascontiguousarray(cast(rows, self.dtype.name)).tobytes())

    def keep(self, n_sentences: int) -> None:
        """Discard the rows after those of the first sentences."""
        with self.path.open("ab") as file:
            file.truncate(int(self.offsets[n_sentences]) * self.row_bytes)

    def read(self, sentences: Sequence[int]) -> torch.Tensor:
        """Return the rows of sentences, one after another, (layer, row, dim) float32."""
        self._file = self._file or self.path.open("rb")
        pieces = []
        for sentence in sentences:
            start, stop = int(self.offsets[sentence]), int(self.offsets[sentence + 1])
            self._file.seek(start * self.row_bytes)
            pieces.append(self._file.read((stop - start) * self.row_bytes))
        rows = (
            np.frombuffer(b"".join(pieces), self.dtype).reshape(-1, *self.shape).astype(np.float32)
        )
        return torch.from_numpy(rows).transpose(0, 1)

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()
            self._file = None


def fill_cache(
    cache: FeatureCache,
    sentences: Sequence[Sequence[str]],
    spec: EmbedderSpec,
    selection: Selection,
) -> Iterator[Progress]:
    """Write the vectors of sentences to a cache, and yield the progress.

    Windows that the file has already are not computed again.

    Args:
        cache: The cache.
        sentences: Token lists.
        spec: The embedder.
        selection: Choice of the vectors that are stored.

    Raises:
        ElmoError: The model or the disk fails.
    """
    engine = LocalEngine(spec, selection)
    engine.load()
    numbered = (Sentence(str(i), list(tokens), "") for i, tokens in enumerate(sentences))
    remaining = windows(numbered, engine.settled.window_tokens)
    done, n_stored, first = NOTHING, cache.n_stored, []
    for window in remaining:
        if cache.offsets[done.sentences + len(window)] > n_stored:
            first = [window]
            break
        engine.replay(window)
        done = done.plus(window)
        yield done
    cache.keep(done.sentences)
    yield from embed_corpus(engine.embedded(chain(first, remaining)), cache, done)

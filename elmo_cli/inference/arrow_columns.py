"""Arrow columns of a batch: reading of sentences, building of vector columns with nulls."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elmo_cli.errors import OutputError
from elmo_cli.features.formats._table import ARROW_TYPES
from elmo_cli.io.arrow_types import is_list, plain_type
from elmo_cli.readers.columns import check_tokens, find_column, read_batch
from elmo_cli.readers.options import ReadOptions, raise_error
from elmo_cli.types import Array, Sentence

MAX_OFFSET = 2**31 - 1  # of Arrow's list columns
PLACE = "batch"  # in messages: a dataframe's batch has no name

Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class VectorType:
    """Type of the vector columns: dtype, dimension, kind of list, pooled or not."""

    dtype: str
    dim: int
    lists: str  # "fixed" or "variable"
    pooled: bool

    def arrow(self) -> pa.DataType:
        """Return the type of a column."""
        vector = pa.list_(ARROW_TYPES[self.dtype], self.dim if self.lists == "fixed" else -1)
        return vector if self.pooled else pa.list_(vector)

    def check_size(self, n_vectors: int) -> None:
        """Check that the list offsets of a column with `n_vectors` vectors fit into 32 bits.

        Raises:
            OutputError: They do not fit.
        """
        n_elements = n_vectors * (self.dim if self.lists == "variable" else 1)
        if n_elements > MAX_OFFSET:
            raise OutputError(
                f"{PLACE}: a layer has {n_elements:,} elements, and a list column of Arrow holds "
                f"{MAX_OFFSET:,}; pass smaller batches"
            )


def check_column(schema: pa.Schema, column: str) -> None:
    """Check that the type of a column allows sentences.

    Raises:
        CorpusError: It is missing, occurs more than once, or is of another type.
    """
    kind = schema.field(find_column(column, schema.names, "column=", PLACE)).type
    if not _is_untyped(kind):
        check_tokens(kind, f"{PLACE}: column {column!r}")


def read_column(batch: pa.RecordBatch, column: str, first: int) -> tuple[list[Sentence], Mask]:
    """Read the sentences of the rows that are not null.

    Args:
        batch: A record batch.
        column: Name of the column with sentences.
        first: Number of the first row, from 0.

    Returns:
        The sentences, whose keys are row numbers, and a mask (row,) of their rows.

    Raises:
        CorpusError: A row does not contain a sentence.
    """
    array = _typed(batch.column(column))
    valid = np.asarray(array.is_valid())
    sentences: list[Sentence] = []
    for start, end in _runs(valid):  # so that messages count null rows too
        rows = pa.record_batch([array.slice(start, end - start)], [column])
        sentences += read_batch(
            rows, first + start, ReadOptions(column=(column,)), PLACE, raise_error
        )
    return sentences, valid


def count_vectors(sentences: Iterable[Sentence], valid: Mask, *, pooled: bool) -> Counts:
    """Return the number of vectors of each row, (row,): its tokens, or one if pooled."""
    if pooled:
        return np.ones(len(valid), np.int64)  # a null has one too, which is masked
    counts = np.zeros(len(valid), np.int64)
    counts[valid] = [len(sentence.tokens) for sentence in sentences]
    return counts


def vector_columns(
    arrays: Iterable[Array], counts: Counts, valid: Mask, n_layers: int, kind: VectorType
) -> list[pa.Array]:
    """Return an Arrow column for each layer.

    Args:
        arrays: One array ([layer,] [token,] dim) for each sentence, in input order.
        counts: Vectors of each row, (row,).
        valid: Mask (row,) bool of the rows that have a sentence; the others become null.
        n_layers: Number of layers.
        kind: Type of the columns.
    """
    vectors = np.zeros((n_layers, counts.sum(), kind.dim), kind.dtype)
    spans = zip(np.cumsum(counts)[valid].tolist(), counts[valid].tolist(), strict=True)
    for array, (end, count) in zip(arrays, spans, strict=True):
        vectors[:, end - count : end] = array.reshape(n_layers, count, kind.dim)
    nulls = None if valid.all() else pa.array(~valid)
    if kind.pooled:
        return [_vector_array(layer, kind.lists, nulls) for layer in vectors]
    offsets = pa.array(np.append(0, np.cumsum(counts)).astype(np.int32))
    lists = (_vector_array(layer, kind.lists) for layer in vectors)
    return [pa.ListArray.from_arrays(offsets, array, mask=nulls) for array in lists]


def _vector_array(rows: Array, lists: str, nulls: pa.Array | None = None) -> pa.Array:
    values, (n_rows, dim) = pa.array(rows.reshape(-1)), rows.shape
    if lists == "fixed":
        return pa.FixedSizeListArray.from_arrays(values, dim, mask=nulls)
    offsets = np.arange(0, n_rows * dim + 1, dim, dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=nulls)


def _is_untyped(kind: pa.DataType) -> bool:
    """Return whether a type was inferred from nulls or empty lists alone, as dataframes do."""
    plain = plain_type(kind)
    return bool(pa.types.is_null(plain.value_type if is_list(plain) else plain))


def _typed(chunk: pa.Array) -> pa.Array:
    """Return the chunk without dictionary encoding, in a type that can contain tokens."""
    plain = chunk.dictionary_decode() if pa.types.is_dictionary(chunk.type) else chunk
    return plain.cast(pa.list_(pa.string())) if _is_untyped(plain.type) else plain


def _runs(mask: Mask) -> Iterator[tuple[int, int]]:
    """Iterate over start and end of each run of true values."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    return zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)

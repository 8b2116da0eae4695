"""Features as a table, for Parquet and Arrow: one row per sentence or token, one column per layer.

Columns: key, number (in the input, from 0), tokens (or position and token), then the columns
carried over from the input, then `layer_0`, ...: a list of one vector per token, or one vector,
each of fixed size.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate, chain

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elmo_cli.errors import OutputError
from elmo_cli.features.spec import FeatureSpec, WriteOptions, name_of
from elmo_cli.io.crc32 import crc32
from elmo_cli.types import Array, Sentence

ARROW_TYPES = {"float32": pa.float32(), "float16": pa.float16()}
SENTENCE_COLUMNS = {"key": pa.string(), "number": pa.int64(), "tokens": pa.list_(pa.string())}
TOKEN_COLUMNS = {
    "key": pa.string(),
    "number": pa.int64(),
    "position": pa.int32(),
    "token": pa.string(),
}


def schema_of(description: FeatureSpec, options: WriteOptions, layout: str) -> pa.Schema:
    """Return the schema of the columns, with the metadata.

    Raises:
        OutputError: A column that is carried over has the name of another column of the output.
    """
    vector = pa.list_(ARROW_TYPES[description.dtype], description.dim)
    own = TOKEN_COLUMNS if options.rows == "token" else SENTENCE_COLUMNS
    of_token = description.pooled or options.rows == "token"
    layers = {name: vector if of_token else pa.list_(vector) for name in description.names}
    kept = list(description.kept or [])
    taken = [field.name for field in kept if field.name in own or field.name in layers]
    if taken:
        raise OutputError(
            f"--keep {taken[0]}: the output has a column of its own by that name; rename the "
            "input's"
        )
    fields = [
        *(pa.field(*item) for item in own.items()),
        *kept,
        *(pa.field(*item) for item in layers.items()),
    ]
    return pa.schema(fields, description.text(layout, options.keys or "auto"))


def to_table(
    window: Sequence[Sentence],
    arrays: Sequence[Array],
    schema: pa.Schema,
    description: FeatureSpec,
    options: WriteOptions,
) -> pa.Table:
    """Return a window as rows.

    Args:
        window: The sentences.
        arrays: The array of each.
        schema: Schema of the table, from `schema_of`.
        description: Axes and dtype of the arrays.
        options: `keys` and `rows`.

    Raises:
        OutputError: A row is a token, and a sentence has no tokens.
    """
    columns = own_columns(window, description, options)
    return pa.table([*columns, *_layer_columns(arrays, description, options)], schema=schema)


def own_columns(
    window: Sequence[Sentence], description: FeatureSpec, options: WriteOptions
) -> list[pa.Array | npt.NDArray[np.generic]]:
    """Return the columns of a window before those of vectors, from arguments as `to_table`'s."""
    keys = [name_of(sentence, options.keys) for sentence in window]
    numbers = np.array([int(sentence.key) for sentence in window], dtype=np.int64)
    kept = [[sentence.kept[i] for sentence in window] for i in range(len(description.kept or ()))]
    if options.rows == "token":
        blank = next((sentence for sentence in window if not sentence.tokens), None)
        if blank:
            raise OutputError(
                f"--rows token: sentence {blank.key} has no tokens, and therefore no row; pass "
                "--rows sentence"
            )
        counts = [len(sentence.tokens) for sentence in window]
        repeat = np.repeat(np.arange(len(window)), counts)
        positions = np.concatenate(
            [np.arange(count, dtype=np.int32) for count in counts] or [np.empty(0, np.int32)]
        )
        tokens = list(chain.from_iterable(sentence.tokens for sentence in window))
        columns = [
            pa.array(keys, pa.string()).take(pa.array(repeat)),
            numbers[repeat],
            positions,
            pa.array(tokens, pa.string()),
        ]
        columns += [
            pa.array(values, field.type).take(pa.array(repeat))
            for values, field in zip(kept, description.kept or (), strict=True)
        ]
    else:
        tokens_ = pa.array([sentence.tokens for sentence in window], SENTENCE_COLUMNS["tokens"])
        columns = [pa.array(keys, pa.string()), numbers, tokens_]
        columns += [
            pa.array(values, field.type)
            for values, field in zip(kept, description.kept or (), strict=True)
        ]
    return columns


def _layer_columns(
    arrays: Sequence[Array], description: FeatureSpec, options: WriteOptions
) -> Iterator[pa.Array]:
    kind, dim = ARROW_TYPES[description.dtype], description.dim
    for layer in range(len(description.names)):
        of_layer = [array[layer] if description.layered else array for array in arrays]
        rows = np.concatenate(
            [array.reshape(-1, dim) for array in of_layer] or [np.empty((0, dim))]
        )
        vectors = pa.FixedSizeListArray.from_arrays(
            pa.array(rows.astype(description.dtype, copy=False).reshape(-1), kind), dim
        )
        if description.pooled or options.rows == "token":
            yield vectors
        else:
            offsets = np.array(
                list(accumulate((len(array) for array in of_layer), initial=0)), dtype=np.int32
            )
            yield pa.ListArray.from_arrays(pa.array(offsets), vectors)


def with_blank_vectors(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return rows with columns of vectors that are not stored: null, or lists of none."""
    columns = rows.columns
    for field in schema:
        if field.name not in rows.column_names:
            blank = np.zeros(len(rows) + 1, np.int32)
            is_list = pa.types.is_list(field.type)
            columns.append(
                pa.ListArray.from_arrays(pa.array(blank), pa.array([], field.type.value_type))
                if is_list
                else pa.nulls(len(rows), field.type)
            )
    return pa.table(columns, schema=schema)


def is_vector(kind: pa.DataType) -> bool:
    """Return whether a column contains vectors, or lists of them."""
    vector = kind.value_type if pa.types.is_list(kind) else kind
    return bool(pa.types.is_fixed_size_list(vector) and pa.types.is_floating(vector.value_type))


def checksum_of(rows: pa.RecordBatch | pa.Table, before: int = 0) -> int:
    """Return the CRC-32 of rows, by column: bytes of vectors, and Python repr of other values.

    Columns of nanoseconds are skipped: their repr does not show them.

    Args:
        rows: The rows.
        before: Checksum of the rows before them, which this one continues.
    """
    sum_ = before
    for column in rows.columns:
        column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column  # noqa: PLW2901  # the same, in one piece
        if is_vector(column.type):
            lists = pa.types.is_list(column.type)
            lengths = (
                column.value_lengths().to_numpy(zero_copy_only=False)
                if lists
                else np.array([len(column)])
            )
            values = (
                (column.flatten() if lists else column).flatten().to_numpy(zero_copy_only=False)
            )
            sum_ = crc32(
                np.ascontiguousarray(values).view(np.uint8).data, checksum_of_lengths(lengths, sum_)
            )
        elif "[ns" not in str(column.type):
            sum_ = crc32(repr(column.to_pylist()).encode("utf-8", "backslashreplace"), sum_)
    return sum_


def checksum_of_lengths(lengths: npt.ArrayLike, before: int) -> int:
    """Return the CRC-32 of the lengths of lists, which precede their values in `checksum_of`."""
    return crc32(np.asarray(lengths, dtype=np.int64).data, before)

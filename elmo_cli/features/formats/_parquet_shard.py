"""Writer of one Parquet file: a shard of a folder, or the only file.

In addition to the metadata of the columns, a file records its `part`, its `rows`, and the
checksums of its row groups, each continuing the one before it and the first starting from the
number of the part (`row_group_crc32`); the last file records the number of `parts`, so that a
missing one is detected.
"""

import io
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from elmo_cli.features.formats._parquet_vectors import VectorChunk, with_vectors, write_vectors
from elmo_cli.features.formats._table import (
    checksum_of,
    checksum_of_lengths,
    is_vector,
    own_columns,
    schema_of,
    to_table,
    with_blank_vectors,
)
from elmo_cli.features.spec import FeatureSpec, WriteOptions
from elmo_cli.io.atomic import sync
from elmo_cli.io.partial_file import PartialFile
from elmo_cli.types import Array, Sentence, Window

SHARD_TOKENS = 1 << 17  # 1.6 GB of three layers of 1,024 dimensions
ROW_GROUP_BYTES = 1 << 26  # of vectors that a reader holds in memory at once
ARROW_BELOW_DIM = 96  # vectors that Arrow writes: it is faster for short ones
ARROW_BELOW_POOLED_DIM = 1024  # the same where a sentence is one vector


class ParquetShard:
    """An unfinished Parquet file.

    Args:
        file: The unfinished file.
        number: Number of the shard, from 0.
        spec: Content of the arrays.
        options: Compression and rows.
    """

    def __init__(
        self, file: PartialFile, number: int, spec: FeatureSpec, options: WriteOptions
    ) -> None:
        self.file = file
        self.number = number
        self.tokens = 0
        self._spec = spec
        self._options = options
        self._schema = schema_of(spec, options, "parquet")
        self._rows = 0
        self._sums: list[int] = []  # of the row groups
        self._own = [name for name in self._schema.names if name not in spec.names]
        self._chunks: list[dict[str, VectorChunk]] = []  # of the row groups
        self._end = _EndHolder(file)
        self._writer = _writer(self._end, self._schema, options.compression)

    def write(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        """Write a window as one or several row groups."""
        if _is_short(self._spec):
            self._write_short(window, arrays)
        else:
            self._write_long(window, arrays)
        self.tokens += count_tokens(window)

    def _write_short(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        """Write a window by Arrow, vectors included."""
        table = to_table(window, arrays, self._schema, self._spec, self._options)
        for rows in self._row_groups(table, table.nbytes):
            self._writer.write_table(rows, row_group_size=len(rows))
            self._chunks.append({})

    def _write_long(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        """Write a window by Arrow, except the vectors, which are written here."""
        table = pa.table(own_columns(window, self._spec, self._options), names=self._own)
        layers = [self._layer(arrays, number) for number in range(len(self._spec.names))]
        n_bytes = table.nbytes + sum(row.nbytes for layer in layers for row in layer)
        first = 0
        for rows in self._row_groups(table, n_bytes):
            blank = with_blank_vectors(rows, self._schema)
            self._writer.write_table(blank, row_group_size=len(rows))
            self._chunks.append(dict(self._write_layers(layers, first, len(rows))))
            first += len(rows)

    def _row_groups(self, table: pa.Table, n_bytes: int) -> Iterator[pa.Table]:
        """Iterate over the row groups of a window, and start the checksum of each."""
        size = _rows_per_group(len(table), n_bytes)
        for first in range(0, len(table), size):
            rows = table.slice(first, size)
            self._sums.append(checksum_of(rows, self._sums[-1] if self._sums else self.number))
            self._rows += len(rows)
            yield rows

    def _layer(self, arrays: Sequence[Array], number: int) -> list[Array]:
        """Return the vectors of a layer, (vector, dim) for each sentence."""
        spec = self._spec
        of_layer = (array[number] if spec.layered else array for array in arrays)
        return [array.reshape(-1, spec.dim).astype(spec.dtype, copy=False) for array in of_layer]

    def _write_layers(
        self, layers: Sequence[Sequence[Array]], first: int, n_rows: int
    ) -> Iterator[tuple[str, VectorChunk]]:
        """Write the vectors of rows; yield the names and chunks of their columns."""
        for name, layer in zip(self._spec.names, layers, strict=True):
            is_list = pa.types.is_list(self._schema.field(name).type)
            rows = layer[first : first + n_rows] if is_list else _cut(layer, first, first + n_rows)
            sum_ = checksum_of_lengths(
                [len(row) for row in rows] if is_list else [n_rows], self._sums[-1]
            )
            chunk, self._sums[-1] = write_vectors(
                self._end, rows, self._options.compression, sum_, is_list=is_list
            )
            yield name, chunk

    def finish(self, *, last: bool) -> None:
        """Write the end of the file; `last`: no shard follows."""
        sums = ",".join(map(str, self._sums))
        facts = {"part": self.number, "rows": self._rows, "row_group_crc32": sums}
        facts |= {"parts": self.number + 1} if last else {}
        self._writer.add_key_value_metadata({name: str(value) for name, value in facts.items()})
        with self._end.held() as end:
            self._writer.close()
        self.file.write(with_vectors(end.getvalue(), self._chunks))

    def close(self, *, last: bool) -> Path:
        """Finish the file, flush it to the disk and return its path."""
        self.finish(last=last)
        self.file.close()
        sync(self.file.path)
        return self.file.path

    def discard(self) -> None:
        """Remove the file."""
        self.file.discard()
        self._writer.close()
        self.file.close()


def shard_name(number: int) -> str:
    """Return the name of a shard's file."""
    return f"part-{number:05d}.parquet"


def shard_number(name: str) -> int:
    """Return the number in the name of a shard's file; -1 if it is not such a name."""
    digits = name.removeprefix("part-").removesuffix(".parquet")
    return int(digits) if digits.isdecimal() else -1


def create_shard(
    folder: Path, number: int, spec: FeatureSpec, options: WriteOptions
) -> ParquetShard:
    """Create a shard in a folder, under its name."""
    path = folder / shard_name(number)
    path.touch()
    return ParquetShard(PartialFile(path), number, spec, options)


def count_tokens(window: Iterable[Sentence]) -> int:
    """Return the number of tokens that decides where a shard ends."""
    return sum(len(sentence.tokens) for sentence in window)


def number_shards(
    windows: Iterable[Window], shard_tokens: int | None
) -> Iterator[tuple[int, Window]]:
    """Iterate over windows with the number of the shard that each belongs to.

    A shard ends with the window in which it reaches `shard_tokens` tokens.
    """
    number = tokens = 0
    for window in windows:
        if tokens >= (shard_tokens or SHARD_TOKENS):
            number, tokens = number + 1, 0
        yield number, window
        tokens += count_tokens(window)


class _EndHolder(io.RawIOBase):
    """File whose end, the metadata, is held back.

    Args:
        file: The unfinished file.
    """

    def __init__(self, file: PartialFile) -> None:
        super().__init__()
        self._file = file
        self._held: io.BytesIO | None = None

    @contextmanager
    def held(self) -> Iterator[io.BytesIO]:
        """Yield a buffer that takes what is written in the block."""
        self._held = io.BytesIO()
        try:
            yield self._held
        finally:
            self._held = None

    def write(self, data: Any) -> int:  # noqa: ANN401  # any buffer
        return self._file.write(data) if self._held is None else self._held.write(data)

    def tell(self) -> int:
        return self._file.tell() if self._held is None else self._file.tell() + self._held.tell()

    def writable(self) -> bool:
        return True


def _cut(vectors: Sequence[Array], first: int, last: int) -> list[Array]:
    """Return the vectors of rows, where each row is a vector and an array contains several."""
    starts = accumulate(map(len, vectors), initial=0)
    parts = (
        array[max(0, first - at) : max(0, last - at)]
        for array, at in zip(vectors, starts, strict=False)
    )
    return [part for part in parts if len(part)]


def _writer(file: _EndHolder, schema: pa.Schema, compression: str) -> pq.ParquetWriter:
    vectors = {name for name in schema.names if is_vector(schema.field(name).type)}
    return pq.ParquetWriter(
        file,
        schema,
        compression=compression,
        write_page_checksum=True,
        use_dictionary=[
            name for name in (*schema.names, "tokens.list.element") if name not in vectors
        ],
        write_statistics=[name for name in schema.names if name not in vectors],
    )


def _is_short(spec: FeatureSpec) -> bool:
    """Return whether Arrow writes the vectors.

    By the spec alone, not by the sentences, so that another run writes equal bytes.
    """
    return spec.dim < (ARROW_BELOW_POOLED_DIM if spec.pooled else ARROW_BELOW_DIM)


def _rows_per_group(n_rows: int, n_bytes: int) -> int:
    return max(1, math.ceil(n_rows / max(1, math.ceil(n_bytes / ROW_GROUP_BYTES))))

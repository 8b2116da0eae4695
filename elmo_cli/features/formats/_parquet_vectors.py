"""Column chunks of vectors in a Parquet file, written without a copy, in place of Arrow's.

Arrow writes the levels of each value of a nested column, which takes most of its time. Here the
levels are written as runs, one or two for each vector. Arrow writes the rest of the file: its other
columns, its schema, and for vectors columns of nulls or of empty lists; `with_vectors` puts the
chunks that were written here into the metadata at the end of the file, in their place. Runs take
Python time for each sentence and layer, so short vectors are left to Arrow (`_parquet_shard`).

A page contains complete rows, up to PAGE_BYTES or one row: its repetition levels, its definition
levels and its values, PLAIN. Format: github.com/apache/parquet-format, README.md, Encodings.md,
parquet.thrift.
"""

import struct
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from elmo_cli.io.crc32 import crc32, restart
from elmo_cli.io.thrift import (
    I32,
    I64,
    LIST,
    STRUCT,
    Struct,
    ThriftList,
    decode_struct,
    encode_struct,
    varint,
)
from elmo_cli.types import Array

PAGE_BYTES = 1 << 19  # fits the cache of a core: a page is summed twice before it is written
LARGEST_BYTES = 1 << 30  # of a page; a longer row has several
DATA_PAGE, PLAIN, RLE = 0, 0, 3  # of parquet.thrift
_END = struct.Struct("<I4s")  # of a file: the size of its metadata, magic
_SIZE = struct.Struct("<I")


class Sink(Protocol):
    """File that is written from its start to its end."""

    def write(self, data: Any) -> int: ...  # noqa: ANN401  # any buffer

    def tell(self) -> int: ...


class VectorChunk(NamedTuple):
    """Column chunk of a row group that has been written."""

    offset: int
    n_values: int
    uncompressed: int  # bytes, headers included
    compressed: int


def write_vectors(
    sink: Sink, rows: Sequence[Array], compression: str, sum_: int, *, is_list: bool
) -> tuple[VectorChunk, int]:
    """Write a column chunk.

    Args:
        sink: The file.
        rows: The vectors, each array (vector, dim) in the dtype of the column: those of one row if
            `is_list`, else one a row.
        compression: Codec of the pages, "none" for none.
        sum_: CRC-32 that the values continue.
        is_list: Whether a row is a list of vectors.

    Returns:
        The chunk, and the CRC-32.
    """
    offset = sink.tell()
    n_values = uncompressed = 0
    for vectors, continues in _pages(rows):
        values = b"".join(np.ascontiguousarray(array).data for array in vectors)
        levels, count = _encode_levels(vectors, is_list=is_list, continues=continues)
        before, sum_ = sum_, crc32(values, sum_)
        if compression == "none":
            page = [levels, values]
            of_page = restart(sum_, before, crc32(levels), len(values))
        else:
            page = [pa.compress(levels + values, compression, asbytes=True)]
            of_page = crc32(page[0])
        size = len(levels) + len(values)
        head = _page_header(size, sum(map(len, page)), of_page, count)
        for part in (head, *page):
            sink.write(part)
        n_values, uncompressed = n_values + count, uncompressed + len(head) + size
    return VectorChunk(offset, n_values, uncompressed, sink.tell() - offset), sum_


def _pages(rows: Sequence[Array]) -> Iterator[tuple[list[Array], bool]]:
    """Iterate over the arrays of pages, and whether a page continues the row of the page before."""
    page: list[Array] = []
    size = 0
    for row in rows:
        if page and size + row.nbytes > PAGE_BYTES:
            yield page, False
            page, size = [], 0
        if row.nbytes > LARGEST_BYTES:
            *parts, row = np.array_split(row, -(-row.nbytes // LARGEST_BYTES))  # noqa: PLW2901  # its rest
            yield from (([part], number > 0) for number, part in enumerate(parts))
            yield [row], True
        else:
            page.append(row)
            size += row.nbytes
    if page:
        yield page, False


def _encode_levels(
    vectors: Sequence[Array], *, is_list: bool, continues: bool
) -> tuple[bytes, int]:
    """Return the levels of a page, and their number: one for a value, or for a row without vectors.

    A repetition level is 0 where a row starts, else 1 where a vector of a list does, else the
    largest. A definition level is the largest where there is a value, and 1 for an empty list.
    """
    most, full = (2, 5) if is_list else (1, 3)
    dim = vectors[0].shape[1]
    rest = varint((dim - 1) << 1) + bytes([most]) if dim > 1 else b""
    first, later = (b"\2" + bytes([level]) + rest for level in (0, 1))
    if is_list:
        counts = [len(row) for row in vectors]
        repetition = b"".join(first + later * (n - 1) if n else b"\2\0" for n in counts)
        repetition = repetition if not continues else b"\2\1" + repetition[2:]
    else:
        counts = [sum(map(len, vectors))]
        repetition = first * counts[0]
    sizes = [n * dim if n else 1 for n in counts]
    runs = groupby(zip(counts, sizes, strict=True), key=lambda row: row[0] > 0)
    definition = b"".join(
        varint(sum(size for _, size in run) << 1) + bytes([full if any_ else 1])
        for any_, run in runs
    )
    levels = b"".join(_SIZE.pack(len(part)) + part for part in (repetition, definition))
    return levels, sum(sizes)


def _page_header(size: int, compressed: int, sum_: int, n_values: int) -> bytes:
    numbers = [n_values, PLAIN, RLE, RLE]
    data: Struct = {number: (I32, value) for number, value in enumerate(numbers, start=1)}
    facts = [DATA_PAGE, size, compressed, sum_ - (1 << 32) if sum_ >> 31 else sum_]
    header: Struct = {number: (I32, value) for number, value in enumerate(facts, start=1)}
    return encode_struct({**header, 5: (STRUCT, data)})


def with_vectors(end: bytes, chunks: Sequence[dict[str, VectorChunk]]) -> bytes:
    """Return the end of a file, with the chunks that were written here.

    Args:
        end: The metadata of the file, their size and the magic number.
        chunks: For each row group, the chunks by the names of their columns.
    """
    metadata, _ = decode_struct(end[: -_END.size])
    inserted = 0  # bytes that Arrow does not know of
    for group, written in zip(metadata[4][1].values, chunks, strict=True):
        _shift(group, [5], inserted)
        for column in group[1][1].values:
            facts: Struct = column[3][1]
            _shift(column, [2], inserted)
            _shift(facts, [9, 10, 11], inserted)
            if (chunk := written.get(facts[3][1].values[0].decode())) is not None:
                _replace(group, facts, chunk)
        inserted += sum(chunk.compressed for chunk in written.values())
    content = encode_struct(metadata)
    return content + _END.pack(len(content), end[-4:])


def _shift(struct: Struct, offsets: Sequence[int], n_bytes: int) -> None:
    for number in offsets:
        if number in struct and struct[number][1]:  # 0: not given
            struct[number] = (I64, struct[number][1] + n_bytes)


def _replace(group: Struct, facts: Struct, chunk: VectorChunk) -> None:
    """Replace a chunk of Arrow's in the metadata of a row group and of a column."""
    for of_group, of_column, size in ((2, 6, chunk.uncompressed), (6, 7, chunk.compressed)):
        group[of_group] = (I64, group[of_group][1] - facts[of_column][1] + size)
        facts[of_column] = (I64, size)
    facts[2] = (LIST, ThriftList(I32, [PLAIN, RLE]))
    facts[5] = (I64, chunk.n_values)
    facts[9] = (I64, chunk.offset)
    for about_pages in (10, 11, 12, 13, 16):  # offsets of other pages, statistics
        facts.pop(about_pages, None)

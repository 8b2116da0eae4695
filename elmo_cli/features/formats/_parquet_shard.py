"""Writer of one Parquet file: a shard of a folder, or the only file.

In addition to the metadata of the columns, a file records its `part`, its `rows`, and the
checksums of its row groups, each continuing the one before it and the first starting from the
number of the part (`row_group_crc32`); the last file records the number of `parts`, so that a
missing one is detected.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from elmo_cli.features.formats._table import checksum_of, is_vector, schema_of, to_table
from elmo_cli.features.spec import FeatureSpec, WriteOptions
from elmo_cli.io.atomic import sync
from elmo_cli.io.partial_file import PartialFile
from elmo_cli.types import Array, Sentence, Window

SHARD_TOKENS = 1 << 17  # 1.6 GB of three layers of 1,024 dimensions
ROW_GROUP_BYTES = 1 << 26  # of vectors that a reader holds in memory at once


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
        self._writer = _writer(file, self._schema, options.compression)

    def write(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        """Write a window as one or several row groups."""
        table = to_table(window, arrays, self._schema, self._spec, self._options)
        size = _rows_per_group(table)
        for first in range(0, table.num_rows, size):
            rows = table.slice(first, size)
            self._sums.append(checksum_of(rows, self._sums[-1] if self._sums else self.number))
            self._writer.write_table(rows, row_group_size=size)
        self.tokens += count_tokens(window)
        self._rows += table.num_rows

    def finish(self, *, last: bool) -> None:
        """Write the end of the file; `last`: no shard follows."""
        sums = ",".join(map(str, self._sums))
        facts = {"part": self.number, "rows": self._rows, "row_group_crc32": sums}
        facts |= {"parts": self.number + 1} if last else {}
        self._writer.add_key_value_metadata({name: str(value) for name, value in facts.items()})
        self._writer.close()

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


def _writer(file: PartialFile, schema: pa.Schema, compression: str) -> pq.ParquetWriter:
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


def _rows_per_group(table: pa.Table) -> int:
    n_rows, n_bytes = int(table.num_rows), int(table.nbytes)
    return max(1, math.ceil(n_rows / max(1, math.ceil(n_bytes / ROW_GROUP_BYTES))))

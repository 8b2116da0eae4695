"""Arrow IPC: a file (Feather version 2), or a stream for `.arrows` and standard output.

_table.py describes the columns.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pyarrow as pa

from elmo_cli.errors import FeaturesError
from elmo_cli.features.formats._table import checksum_of, schema_of, to_table
from elmo_cli.features.formats._table_reader import TablePart, TableReader, reading_arrow
from elmo_cli.features.spec import CHECKSUM as METADATA_CHECKSUM
from elmo_cli.features.spec import FeatureSpec, WriteOptions
from elmo_cli.io.output_file import OutputFile, open_stream
from elmo_cli.io.stdout import Stdout
from elmo_cli.types import Array, Sentence

MAGIC = b"ARROW1"
STREAM_SUFFIX = ".arrows"  # registered by Arrow
ALIGNED = 8  # bytes: start of the stream in a file
END = b"\xff\xff\xff\xff\0\0\0\0"  # of a stream
# In the metadata of a record batch: its `checksum_of`, which continues that of the batch before
CHECKSUM = "crc32"
Read = Callable[[], tuple[pa.RecordBatch, pa.KeyValueMetadata | None]]


@contextmanager
def open_writer(
    output: OutputFile | Stdout, description: FeatureSpec, options: WriteOptions
) -> Iterator["ArrowWriter"]:
    """Open a writer of a file, or of a stream."""
    schema = schema_of(description, options, "arrow")
    is_stream = isinstance(output, Stdout) or output.path.suffix.lower() == STREAM_SUFFIX
    codec = pa.ipc.IpcWriteOptions(
        compression=None if options.compression == "none" else options.compression
    )
    with open_stream(output) as file:
        new = pa.ipc.new_stream if is_stream else pa.ipc.new_file
        writer = ArrowWriter(new(file, schema, options=codec), schema, description, options)
        yield writer
        writer.finish()


class ArrowWriter:
    """Writer of a file or a stream, with one record batch per window.

    Each window is sent to standard output when it is written.
    """

    def __init__(
        self,
        writer: pa.RecordBatchStreamWriter,
        schema: pa.Schema,
        description: FeatureSpec,
        options: WriteOptions,
    ) -> None:
        self.description = description
        self.options = options
        self.skipped_duplicates = 0
        self._writer, self._schema = writer, schema
        self._sum = 0

    def write(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        """Write a window.

        Raises:
            OutputError: The disk is full or gone.
            ReaderGone: Standard output has been closed by its reader.
        """
        for batch in to_table(
            window, arrays, self._schema, self.description, self.options
        ).to_batches():
            self._sum = checksum_of(batch, self._sum)
            self._writer.write_batch(batch, {CHECKSUM: str(self._sum)})

    def finish(self) -> None:
        """Write the end of the file or stream."""
        self._writer.close()


def open_arrow(path: Path) -> TableReader:
    """Open a file or a saved stream; a record batch is read from the disk when it is needed.

    Raises:
        FeaturesError: It is neither, or is damaged.
    """
    with reading_arrow(path), path.open("rb") as start:
        is_file = start.read(len(MAGIC)) == MAGIC
    with reading_arrow(path):
        source = pa.memory_map(os.fsencode(path))  # a str would have to be UTF-8
        if is_file:
            file = pa.ipc.open_file(source)
            _check_schema(file.schema, source, path)
            reads = [
                partial(file.get_batch_with_custom_metadata, number)
                for number in range(file.num_record_batches)
            ]
        else:
            file = pa.ipc.open_stream(source)
            reads = [partial(tuple, found) for found in file.iter_batches_with_custom_metadata()]
        # If the metadata have a checksum, the batches have checksums as well
        is_summed = METADATA_CHECKSUM.encode() in (file.schema.metadata or {})
        if is_summed and not is_file:
            _check_end(source, path)
        return TableReader(
            path, "arrow", file.schema, list(_chunks(reads, is_summed=is_summed)), source.close
        )


def _check_schema(schema: pa.Schema, source: pa.NativeFile, path: Path) -> None:
    """Check that the schema at the end of a file, which is read, equals that at its start."""
    source.seek(ALIGNED)
    if not pa.ipc.read_schema(source).equals(schema, check_metadata=True):
        raise FeaturesError(
            f"{path}: is damaged (the schemas at its start and its end differ); make it again"
        )


def _check_end(source: pa.NativeFile, path: Path) -> None:
    source.seek(max(0, source.size() - len(END)))
    if source.read() != END:
        raise FeaturesError(f"{path}: is truncated: its writer was stopped; make it again")


def _chunks(reads: Sequence[Read], *, is_summed: bool) -> Iterator[TablePart]:
    before = 0
    for read in reads:
        batch, told = read()
        words = (told or {}).get(CHECKSUM, b"")
        sum_ = (int(words) if words.isdigit() else -1) if is_summed else None
        yield TablePart(
            batch.num_rows, partial(_select, read), None if sum_ is None else (before, sum_)
        )
        before = sum_ or 0


def _select(read: Read, names: list[str]) -> pa.Table:
    return pa.Table.from_batches([read()[0]]).select(names)

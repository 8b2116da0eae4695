"""Arrow IPC: a file (Feather version 2), or a stream on standard output. Columns as in table.py."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType

import pyarrow as pa

from elmo_cli.arrow_buffers import check_file, check_stream
from elmo_cli.corpus import Sentence
from elmo_cli.pooling import Array
from elmo_cli.stores.description import Description, StoreOptions
from elmo_cli.stores.files import Output
from elmo_cli.stores.places import Pipe, StandardOutput, failing_as_output_error
from elmo_cli.stores.table import schema_of, to_table
from elmo_cli.stores.table_reader import Chunk, TableReader, reading_arrow

MAGIC = b"ARROW1"
_NO_OPTIONS = StoreOptions()


class ArrowStore:
    """Writes a file, or to standard output a stream: a record batch a window, sent when it is computed."""

    def __init__(self, output: Output | StandardOutput, description: Description, options: StoreOptions = _NO_OPTIONS) -> None:
        self.output = output
        self.description = description
        self.options = options
        self.skipped_duplicates = 0
        self._schema = schema_of(description, options, "arrow")
        self._open = ExitStack()

    def write(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        """Write a window.

        Raises:
            OutputError: The disk is full or gone.
            ReaderGone: Standard output has been closed by its reader.
        """
        with failing_as_output_error(self.output.path):
            self._writer.write_table(to_table(window, arrays, self._schema, self.description, self.options))

    def __enter__(self) -> "ArrowStore":
        compression = None if self.options.compression == "none" else self.options.compression
        with ExitStack() as opening, failing_as_output_error(self.output.path):
            if isinstance(self.output, StandardOutput):
                self._partial = None
                self._writer = pa.ipc.new_stream(Pipe(), self._schema, options=pa.ipc.IpcWriteOptions(compression=compression))
            else:
                self._partial = self.output.make_partial()
                opening.callback(self._partial.close)
                self._writer = pa.ipc.new_file(self._partial, self._schema, options=pa.ipc.IpcWriteOptions(compression=compression))
                opening.callback(self._partial.discard)
            self._open = opening.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._open, failing_as_output_error(self.output.path):
            if kind is None:
                self._writer.close()
                if self._partial is not None and isinstance(self.output, Output):
                    self.output.put_in_place(self._partial)


def open_arrow(path: Path) -> TableReader:
    """Read a file or a saved stream; a record batch is read from the disk when it is needed.

    Raises:
        FeaturesError: It is neither, or damaged.
    """
    with reading_arrow(path), path.open("rb") as start:
        is_file = start.read(len(MAGIC)) == MAGIC
    with reading_arrow(path):
        source = pa.memory_map(str(path))
        file = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
        check_file(source) if is_file else check_stream(source, together=True)
        chunks = list(map(partial(_chunk_of_file, file), range(file.num_record_batches))) if is_file else list(map(_chunk, file))
        return TableReader(path, "arrow", file.schema, chunks, source.close)


def _chunk_of_file(file: pa.ipc.RecordBatchFileReader, number: int) -> Chunk:
    return Chunk(file.get_batch(number).num_rows, lambda names: _select(file.get_batch(number), names))


def _chunk(batch: pa.RecordBatch) -> Chunk:
    return Chunk(batch.num_rows, lambda names: _select(batch, names))


def _select(batch: pa.RecordBatch, names: list[str]) -> pa.Table:
    return pa.Table.from_batches([batch]).select(names)

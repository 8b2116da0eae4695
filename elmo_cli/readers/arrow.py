"""Arrow IPC: files (Feather is their other name) and streams; a row is a sentence.

What a compressed record batch declares is not checked here: `Corpus.scan` reads untrusted files in a child process with limits. A stream
from standard input or a pipe is read only once, without limits: it has to come from a trusted program.
"""

import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elmo_cli.errors import CorpusError
from elmo_cli.io.compression import buffered_stdin
from elmo_cli.io.inputs import STDIN, InputFile, display_name, is_stream
from elmo_cli.readers.columns import check_columns, kept_schema, needed_columns, read_batch
from elmo_cli.readers.options import PLAIN, OnError, ReadOptions, raise_error
from elmo_cli.readers.parquet import failing_on_arrow
from elmo_cli.types import Sentence

if TYPE_CHECKING:
    import pyarrow

MAGIC = b"ARROW1"


def read_arrow(file: InputFile, reading: ReadOptions = PLAIN, report: OnError = raise_error) -> Iterator[Sentence]:
    """Read an Arrow file or stream; keys are row numbers from 0. What is wrong with a row goes to `report`, and the row is left out.

    Raises:
        CorpusError: The file cannot be read, is no Arrow IPC, or lacks a column.
    """
    name, first = display_name(file), 0
    with _open(file) as (stream, release):
        for batch in _batches(stream, file, reading):
            yield from read_batch(batch, first, reading, name, report)
            first += batch.num_rows
            release()


def kept_in_arrow(file: InputFile, reading: ReadOptions) -> "pyarrow.Schema":
    """The kept columns and their types.

    Raises:
        CorpusError: The file cannot be read, is a stream, is no Arrow IPC, or lacks a column.
    """
    if is_stream(file):
        raise CorpusError(f"{display_name(file)}: --keep looks at the columns first, which a stream does not allow; name a file")
    with _open(file) as (stream, _), failing_on_arrow(file, "Arrow"):
        schema = _reader(stream, None).schema
        check_columns(schema, reading, display_name(file))
        return kept_schema(schema, reading)


def names_in_arrow(file: InputFile, reading: ReadOptions) -> list[str]:  # noqa: ARG001  # as of every format
    """Return the names of the columns.

    Raises:
        CorpusError: The file cannot be read, is a stream, or is no Arrow IPC.
    """
    if is_stream(file):
        raise CorpusError(f"{display_name(file)}: its columns are looked at first, which a stream does not allow; name a file")
    with _open(file) as (stream, _), failing_on_arrow(file, "Arrow"):
        return list(_reader(stream, None).schema.names)


def _batches(stream: Any, file: InputFile, reading: ReadOptions) -> "Iterator[pyarrow.RecordBatch]":  # noqa: ANN401  # pyarrow is untyped
    """The batches, of a file with the needed columns only, each seen to be sound: Arrow's memory is used as it lies in the file."""
    columns = needed_columns(reading)
    with failing_on_arrow(file, "Arrow"):
        reader = _reader(stream, None)
        check_columns(reader.schema, reading, display_name(file))
        if hasattr(reader, "num_record_batches"):
            reader = _reader(stream, sorted(map(reader.schema.get_field_index, columns)))
    number = 0
    while True:
        with failing_on_arrow(file, "Arrow"):
            batch = _next(reader, number)
            if batch is None:
                return
            batch = batch.select(columns)
            batch.validate(full=True)
        yield batch
        number += 1


def _next(reader: Any, number: int) -> "pyarrow.RecordBatch | None":  # noqa: ANN401  # pyarrow is untyped
    if hasattr(reader, "num_record_batches"):
        return reader.get_batch(number) if number < reader.num_record_batches else None
    return next(reader, None)


def _reader(stream: Any, fields: list[int] | None) -> Any:  # noqa: ANN401  # pyarrow is untyped
    """A reader of the file, or of the stream, with some of its columns or all."""
    import pyarrow
    from pyarrow import ipc

    if not isinstance(stream, pyarrow.NativeFile):  # a pipe
        return ipc.open_stream(stream)
    stream.seek(0)
    is_file = stream.read(len(MAGIC)) == MAGIC
    stream.seek(0)
    return ipc.open_file(stream, options=ipc.IpcReadOptions(included_fields=fields)) if is_file else ipc.open_stream(stream)


@contextmanager
def _open(file: InputFile) -> Iterator[tuple[Any, Callable[[], None]]]:
    """The bytes of a file, and what lets go of those that were read: a file on this machine is used in place, not copied."""
    if file == STDIN:
        yield buffered_stdin(), _nothing
        return
    with failing_on_arrow(file, "Arrow"):
        stream = file.open("rb") if isinstance(file, Path) else file.open_seekable()
    with stream:
        if isinstance(file, Path) and not is_stream(file):
            with failing_on_arrow(file, "Arrow"):
                mapped, release = _map(stream)
            yield mapped, release
        else:
            yield stream, _nothing


def _map(stream: Any) -> tuple["pyarrow.NativeFile", Callable[[], None]]:  # noqa: ANN401  # an open file
    import pyarrow

    memory = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    release = partial(memory.madvise, mmap.MADV_DONTNEED) if hasattr(mmap, "MADV_DONTNEED") else _nothing
    return pyarrow.BufferReader(pyarrow.py_buffer(memory)), release


def _nothing() -> None:
    """What a copy lets go of."""

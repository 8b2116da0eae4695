"""Arrow IPC reader: files (also called Feather) and streams; each row is a sentence.

The sizes that a compressed record batch declares are not checked here: `Corpus.scan` reads
untrusted files in a child process with limits. A stream from standard input or a pipe is read only
once and without limits, so it has to come from a trusted program.
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


def read_arrow(
    file: InputFile, reading: ReadOptions = PLAIN, report: OnError = raise_error
) -> Iterator[Sentence]:
    """Read an Arrow file or stream.

    Args:
        file: The file.
        reading: Reader options.
        report: Called with the error of each bad row, which is left out.

    Yields:
        Sentences, whose keys are row numbers from 0.

    Raises:
        CorpusError: The file cannot be read, is not Arrow IPC, or lacks a column.
    """
    name, first = display_name(file), 0
    with _open(file) as (stream, release):
        for batch in _batches(stream, file, reading):
            yield from read_batch(batch, first, reading, name, report)
            first += batch.num_rows
            release()


def kept_in_arrow(file: InputFile, reading: ReadOptions) -> "pyarrow.Schema":
    """Return the schema of the columns to keep.

    Raises:
        CorpusError: The file cannot be read, is a stream, is not Arrow IPC, or lacks a column.
    """
    if is_stream(file):
        raise CorpusError(
            f"{display_name(file)}: --keep reads the schema first, which a stream does not allow; "
            "name a file"
        )
    with _open(file) as (stream, _), failing_on_arrow(file, "Arrow"):
        schema = _reader(stream, None).schema
        check_columns(schema, reading, display_name(file))
        return kept_schema(schema, reading)


def names_in_arrow(file: InputFile, reading: ReadOptions) -> list[str]:  # noqa: ARG001  # as of every format
    """Return the names of the columns.

    Raises:
        CorpusError: The file cannot be read, is a stream, or is not Arrow IPC.
    """
    if is_stream(file):
        raise CorpusError(
            f"{display_name(file)}: its schema is read first, which a stream does not allow; name "
            "a file"
        )
    with _open(file) as (stream, _), failing_on_arrow(file, "Arrow"):
        return list(_reader(stream, None).schema.names)


def _batches(stream: Any, file: InputFile, reading: ReadOptions) -> "Iterator[pyarrow.RecordBatch]":  # noqa: ANN401  # pyarrow is untyped
    """Iterate over validated batches; of a file only the needed columns are read.

    Arrow uses the bytes of the file in place, so each batch has to be validated.
    """
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
    """Return a reader of an IPC file or stream; `fields` selects columns of a file, None is all."""
    import pyarrow
    from pyarrow import ipc

    if not isinstance(stream, pyarrow.NativeFile):  # a pipe
        return ipc.open_stream(stream)
    stream.seek(0)
    is_file = stream.read(len(MAGIC)) == MAGIC
    stream.seek(0)
    return (
        ipc.open_file(stream, options=ipc.IpcReadOptions(included_fields=fields))
        if is_file
        else ipc.open_stream(stream)
    )


@contextmanager
def _open(file: InputFile) -> Iterator[tuple[Any, Callable[[], None]]]:
    """Open a file; a local file is mapped into memory, not copied.

    Yields:
        The stream, and a function that releases the memory of what has been read.
    """
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
    release = (
        partial(memory.madvise, mmap.MADV_DONTNEED) if hasattr(mmap, "MADV_DONTNEED") else _nothing
    )
    return pyarrow.BufferReader(pyarrow.py_buffer(memory)), release


def _nothing() -> None:
    """Release nothing: the bytes of a stream are copied."""

"""Parquet reader: each row is a sentence.

Only the needed columns are read, page by page, so that a row group does not have to fit into
memory. The sizes that a page declares are not checked here: `Corpus.scan` reads untrusted files in
a child process with limits.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elmo_cli.errors import CorpusError
from elmo_cli.io.compression import failing_as_corpus_error
from elmo_cli.io.inputs import InputFile, display_name, is_stream
from elmo_cli.io.sizes import DamagedError
from elmo_cli.readers.columns import check_columns, kept_schema, needed_columns, read_batch
from elmo_cli.readers.options import PLAIN, OnError, ReadOptions, raise_error
from elmo_cli.types import Sentence

if TYPE_CHECKING:
    import pyarrow
    from pyarrow.parquet import ParquetFile

MAGIC = b"PAR1"
MAX_FOOTER_BYTES = 1 << 26  # the complete footer is in memory, and takes ten times its size
MAX_ROWS, BATCH_BYTES = 1 << 13, 1 << 24  # read at once, by the sizes that the row group declares
BUFFERED: dict[str, Any] = {"buffer_size": 1 << 20, "pre_buffer": False}  # a page, not a row group


def read_parquet(
    file: InputFile, reading: ReadOptions = PLAIN, report: OnError = raise_error
) -> Iterator[Sentence]:
    """Read a Parquet file.

    Args:
        file: The file.
        reading: Reader options.
        report: Called with the error of each bad row, which is left out.

    Yields:
        Sentences, whose keys are row numbers from 0.

    Raises:
        CorpusError: The file cannot be read, is not Parquet, or lacks a column.
    """
    name, first = display_name(file), 0
    with _open(file) as table:
        with failing_on_arrow(file, "Parquet"):
            check_columns(table.schema_arrow, reading, name)
        for batch in _batches(table, needed_columns(reading), file):
            yield from read_batch(batch, first, reading, name, report)
            first += batch.num_rows


def kept_in_parquet(file: InputFile, reading: ReadOptions) -> "pyarrow.Schema":
    """Return the schema of the columns to keep.

    Raises:
        CorpusError: The file cannot be read, is not Parquet, or lacks a column.
    """
    with _open(file) as table, failing_on_arrow(file, "Parquet"):
        check_columns(table.schema_arrow, reading, display_name(file))
        return kept_schema(table.schema_arrow, reading)


def names_in_parquet(file: InputFile, reading: ReadOptions) -> list[str]:  # noqa: ARG001  # as of every format
    """Return the names of the columns.

    Raises:
        CorpusError: The file cannot be read, or is not Parquet.
    """
    with _open(file) as table, failing_on_arrow(file, "Parquet"):
        return list(table.schema_arrow.names)


def _batches(
    table: "ParquetFile", columns: list[str], file: InputFile
) -> "Iterator[pyarrow.RecordBatch]":
    for number in range(table.num_row_groups):
        with failing_on_arrow(file, "Parquet"):
            # Not its columns: damaged metadata of a column crashes the process
            group = table.metadata.row_group(number)
            rows = min(MAX_ROWS, BATCH_BYTES * group.num_rows // max(1, group.total_byte_size))
            batches = table.iter_batches(
                max(1, rows), row_groups=[number], columns=columns, use_threads=False
            )
        while (batch := _next(batches, file)) is not None:
            yield batch


def _next(
    batches: "Iterator[pyarrow.RecordBatch]", file: InputFile
) -> "pyarrow.RecordBatch | None":
    with failing_on_arrow(file, "Parquet"):
        return next(batches, None)


@contextmanager
def failing_on_arrow(file: InputFile, kind: str) -> Iterator[None]:
    """Convert errors of pyarrow into a CorpusError.

    Args:
        file: The file that is read.
        kind: Name of its format.

    Raises:
        CorpusError: The block failed to read the file.
    """
    import pyarrow

    with failing_as_corpus_error(file):
        try:
            yield
        except MemoryError as error:  # an ArrowException as well
            reason = str(error).partition("\n")[0][:200] or "out of memory"
            remedy = (
                "check that it was written to its end, or write it again in smaller row groups or "
                "record batches"
            )
            raise CorpusError(
                f"{display_name(file)}: takes more memory to read than is allowed ({reason}); "
                f"{remedy}"
            ) from None
        except (pyarrow.ArrowException, DamagedError) as error:
            reason = str(error).partition("\n")[0][:200]
            raise CorpusError(
                f"{display_name(file)}: is not a complete {kind} file ({reason}); check that it "
                "was written to its end"
            ) from None


@contextmanager
def _open(file: InputFile) -> Iterator["ParquetFile"]:
    from pyarrow.parquet import ParquetFile

    if is_stream(file):
        raise CorpusError(
            f"{display_name(file)}: Parquet has its metadata at the end of the file and cannot be "
            "read from a stream; name a file"
        )
    with failing_on_arrow(file, "Parquet"):
        stream = file.open("rb") if isinstance(file, Path) else file.open_seekable()
    with stream:
        with failing_on_arrow(file, "Parquet"):
            _check_footer(stream, file)
            table = ParquetFile(stream, **BUFFERED)
        yield table


def _check_footer(stream: Any, file: InputFile) -> None:  # noqa: ANN401  # a file of Python's or pyarrow's
    size = stream.seek(0, 2)
    stream.seek(max(0, size - 8))
    end = stream.read(8)
    stream.seek(0)
    if size < 12 or stream.read(4) != MAGIC or end[4:] != MAGIC:
        raise CorpusError(
            f"{display_name(file)}: is not a complete Parquet file; check that it was written to "
            "its end, and is not compressed"
        )
    stream.seek(0)
    length = int.from_bytes(end[:4], "little")
    if length > min(size, MAX_FOOTER_BYTES):
        remedy = (
            "check that it was written to its end"
            if length > size
            else "write it again with fewer columns or larger row groups"
        )
        raise CorpusError(
            f"{display_name(file)}: its footer declares {length:,} bytes, more than a file of "
            f"{size:,} bytes can have "
            f"or than is read; {remedy}"
        )

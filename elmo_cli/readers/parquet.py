"""Parquet: a row is a sentence. Read by pages of the columns that are needed, so that no row group has to fit into memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elmo_cli.errors import CorpusError
from elmo_cli.io.compression import failing_as_corpus_error
from elmo_cli.io.inputs import InputFile, display_name, is_stream
from elmo_cli.io.sizes import DamagedError, OversizeError
from elmo_cli.io.untrusted.parquet_pages import read_footer, row_groups
from elmo_cli.io.untrusted.parquet_plan import leaves_of, plan_group
from elmo_cli.readers.columns import check_columns, kept_schema, needed_columns, read_batch
from elmo_cli.readers.options import PLAIN, ReadOptions
from elmo_cli.readers.problems import OnError, raise_error
from elmo_cli.types import Sentence

if TYPE_CHECKING:
    import pyarrow
    from pyarrow.parquet import ParquetFile

MAGIC = b"PAR1"
MAX_FOOTER_BYTES = 1 << 26  # the description of the file is held in memory whole, and takes ten times its size
BUFFERED: dict[str, Any] = {"buffer_size": 1 << 20, "pre_buffer": False}  # a page, not a row group


def read_parquet(file: InputFile, reading: ReadOptions = PLAIN, report: OnError = raise_error) -> Iterator[Sentence]:
    """Read Parquet; keys are row numbers from 0. What is wrong with a row goes to `report`, and the row is left out.

    Raises:
        CorpusError: The file cannot be read, is no Parquet, or lacks a column.
    """
    name, first = display_name(file), 0
    with _open(file) as (table, stream):
        with failing_on_arrow(file, "Parquet"):
            check_columns(table.schema_arrow, reading, name)
        for batch in _batches(table, stream, needed_columns(reading), file):
            yield from read_batch(batch, first, reading, name, report)
            first += batch.num_rows


def kept_in_parquet(file: InputFile, reading: ReadOptions) -> "pyarrow.Schema":
    """The kept columns and their types.

    Raises:
        CorpusError: The file cannot be read, is no Parquet, or lacks a column.
    """
    with _open(file) as (table, _), failing_on_arrow(file, "Parquet"):
        check_columns(table.schema_arrow, reading, display_name(file))
        return kept_schema(table.schema_arrow, reading)


def names_in_parquet(file: InputFile, reading: ReadOptions) -> list[str]:  # noqa: ARG001  # as of every format
    """Return the names of the columns.

    Raises:
        CorpusError: The file cannot be read, or is no Parquet.
    """
    with _open(file) as (table, _), failing_on_arrow(file, "Parquet"):
        return list(table.schema_arrow.names)


def _batches(table: "ParquetFile", stream: Any, columns: list[str], file: InputFile) -> "Iterator[pyarrow.RecordBatch]":  # noqa: ANN401  # a file
    from pyarrow.parquet import ParquetFile

    with failing_on_arrow(file, "Parquet"):
        leaves = leaves_of(table, columns)
        groups = row_groups(read_footer(stream), {leaf.number for leaf in leaves})
        if len(groups) != table.num_row_groups:
            raise DamagedError("its row groups are not as described")
    reader = table
    read_as: list[str] = []
    for group in range(table.num_row_groups):
        with failing_on_arrow(file, "Parquet"):
            described = table.metadata.row_group(group)  # its columns are not looked at: a damaged one's description ends the process
            plan = plan_group(stream, groups[group], described.num_rows, leaves)
            if plan.as_dictionary != read_as:
                read_as = plan.as_dictionary
                reader = ParquetFile(stream, metadata=table.metadata, read_dictionary=read_as, **BUFFERED)
            batches = reader.iter_batches(plan.rows, row_groups=[group], columns=columns, use_threads=False)
        while (batch := _next(batches, file)) is not None:
            yield batch


def _next(batches: "Iterator[pyarrow.RecordBatch]", file: InputFile) -> "pyarrow.RecordBatch | None":
    with failing_on_arrow(file, "Parquet"):
        return next(batches, None)


@contextmanager
def failing_on_arrow(file: InputFile, kind: str) -> Iterator[None]:
    """Say what pyarrow finds wrong with a file."""
    import pyarrow

    with failing_as_corpus_error(file):
        try:
            yield
        except (pyarrow.ArrowException, DamagedError) as error:
            reason = str(error).partition("\n")[0][:200]
            raise CorpusError(f"{display_name(file)}: is no whole {kind} file ({reason}); check that it was written to its end") from None
        except OversizeError as error:
            remedy = f"write it anew in smaller {'row groups and pages' if kind == 'Parquet' else 'record batches'}"
            raise CorpusError(f"{display_name(file)}: {error}; {remedy}") from None


@contextmanager
def _open(file: InputFile) -> Iterator[tuple["ParquetFile", Any]]:
    from pyarrow.parquet import ParquetFile

    if is_stream(file):
        raise CorpusError(f"{display_name(file)}: Parquet has its description at its end, and cannot be read from a stream; name a file")
    with failing_on_arrow(file, "Parquet"):
        stream = file.open("rb") if isinstance(file, Path) else file.open_seekable()
    with stream:
        with failing_on_arrow(file, "Parquet"):
            _check_footer(stream, file)
            table = ParquetFile(stream, **BUFFERED)
        yield table, stream


def _check_footer(stream: Any, file: InputFile) -> None:  # noqa: ANN401  # a file of Python's or pyarrow's
    size = stream.seek(0, 2)
    stream.seek(max(0, size - 8))
    end = stream.read(8)
    stream.seek(0)
    if size < 12 or stream.read(4) != MAGIC or end[4:] != MAGIC:
        raise CorpusError(
            f"{display_name(file)}: is no whole Parquet file; check that it was written to its end, and is not packed in another"
        )
    stream.seek(0)
    length = int.from_bytes(end[:4], "little")
    if length > min(size, MAX_FOOTER_BYTES):
        remedy = "check that it was written to its end" if length > size else "write it anew with fewer columns or larger row groups"
        raise CorpusError(
            f"{display_name(file)}: its footer claims {length:,} bytes, more than a file of {size:,} bytes can have or this reads; {remedy}"
        )

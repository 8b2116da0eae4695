"""CSV and TSV readers: tables with a header, whose cells contain texts."""

import csv
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from elmo_cli.errors import CorpusError
from elmo_cli.io.inputs import InputFile, display_name
from elmo_cli.readers.columns import find_column
from elmo_cli.readers.lines import read_lines
from elmo_cli.readers.options import PLAIN, OnError, ReadOptions, parts_of, raise_error
from elmo_cli.readers.tokens import SEPARATORS, parse_id, split_text
from elmo_cli.types import Sentence

if TYPE_CHECKING:
    import pyarrow

ADVICE_ON_COLUMNS = " (or is it a token a line: --input-format conll?)"
# In characters: if a quote is never closed, the rest of the file is one cell
MAX_CELL = 1 << 24
MAX_ROW = 1 << 25  # characters: quotes that are opened repeatedly make rows without end
# A quote in TSV is a token like any other
DIALECTS = {",": {"strict": True}, "\t": {"quoting": csv.QUOTE_NONE}}
ADVICE = {
    ",": "quote a cell that contains a comma",
    "\t": "a tab separates cells and cannot be part of one",
}


class _Place(NamedTuple):
    """Number of cells of a row, and indices of the cells to read."""

    width: int
    tokens: tuple[int, ...]
    id: int | None
    kept: tuple[int, ...]


def read_delimited(
    file: InputFile, reading: ReadOptions = PLAIN, report: OnError = raise_error, *, delimiter: str
) -> Iterator[Sentence]:
    """Read a table with a header.

    An empty cell or a blank line is a sentence without tokens. Quoted cells of CSV may contain line
    ends; TSV has no quoting.

    Args:
        file: The file.
        reading: Reader options.
        report: Called with the error of each bad row, which is left out.
        delimiter: "," for CSV, a tab for TSV.

    Yields:
        Sentences, whose keys are row numbers from 0.

    Raises:
        CorpusError: The file cannot be read, is not text, lacks a column, or contains a quote that
            is not closed.
    """
    name, between = display_name(file), SEPARATORS[reading.separator]
    rows = _rows(file, reading, report, delimiter)
    place, parts = _place(next(rows, (0, []))[1], reading, name), parts_of(reading.column)
    for number, (line, row) in enumerate(rows):
        cells = row or [""] * place.width
        if len(cells) != place.width:
            report(
                CorpusError(
                    f"{name}:{line}: the row has {len(row)} cells, the header {place.width}; "
                    f"{ADVICE[delimiter]}"
                )
            )
            continue
        try:
            id_ = (
                None
                if place.id is None or not row
                else parse_id(cells[place.id], f"{name}:{line}: column {reading.id_column!r}")
            )
        except CorpusError as problem:
            report(problem)
            continue
        kept = tuple(cells[i] for i in place.kept)
        for key, (part, column) in enumerate(
            zip(parts, place.tokens, strict=True), start=number * len(parts)
        ):
            yield split_text(key, cells[column], between)._replace(
                id=id_, kept=kept, row=number + 1, part=part
            )


def _rows(
    file: InputFile, reading: ReadOptions, report: OnError, delimiter: str
) -> Iterator[tuple[int, list[str]]]:
    """Iterate over the rows, each with the number of its last line."""
    csv.field_size_limit(MAX_CELL)
    held = 0  # characters of the row

    def lines() -> Iterator[str]:
        nonlocal held
        for _, line in read_lines(file, reading.encoding_errors, report):
            held += len(line)
            if held > MAX_ROW:
                raise csv.Error(f"row larger than {MAX_ROW} characters")
            yield line + "\n"

    table = csv.reader(lines(), delimiter=delimiter, **DIALECTS[delimiter])  # type: ignore[arg-type]
    try:
        for row in table:
            yield table.line_num, row
            held = 0
    except csv.Error as error:
        raise CorpusError(
            f"{display_name(file)}:{table.line_num}: is not valid CSV ({error}); check the quotes "
            "after the last complete row"
        ) from None


def _place(header: list[str], reading: ReadOptions, name: str) -> _Place:
    if not header:
        raise CorpusError(f"{name}: has no header; its first line has to name the columns")
    find = partial(find_column, advice=ADVICE_ON_COLUMNS)
    return _Place(
        len(header),
        tuple(find(column, header, "--column", name) for column in reading.column),
        None if reading.id_column is None else find(reading.id_column, header, "--id-column", name),
        tuple(find(column, header, "--keep", name) for column in reading.keep),
    )


def kept_texts(file: InputFile, reading: ReadOptions) -> "pyarrow.Schema":  # noqa: ARG001  # as of every format
    """Return the schema of the columns to keep, all of them strings."""
    import pyarrow

    return pyarrow.schema([(column, pyarrow.string()) for column in reading.keep])


def names_in_delimited(file: InputFile, reading: ReadOptions, *, delimiter: str) -> list[str]:
    """Return the names of the columns, which are the first row.

    Raises:
        CorpusError: The file cannot be read, or is not text.
    """
    return next(_rows(file, reading, raise_error, delimiter), (0, []))[1]


read_csv = partial(read_delimited, delimiter=",")
read_tsv = partial(read_delimited, delimiter="\t")

"""Sentences from Arrow tables, shared by the Parquet and Arrow readers."""

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Any

from elmo_cli.errors import CorpusError
from elmo_cli.io.arrow_types import is_list, is_text, plain_type
from elmo_cli.io.sizes import DamagedError
from elmo_cli.readers.arrow_values import kept_values, python_values
from elmo_cli.readers.options import OnError, ReadOptions, parts_of
from elmo_cli.readers.tokens import MAX_TOKENS, SEPARATORS, parse_id, parse_sentence
from elmo_cli.types import Sentence

if TYPE_CHECKING:
    import pyarrow

    from elmo_cli.io.arrow_sizes import Integers

SHOWN_COLUMNS, SHOWN_LETTERS = 50, 50
TARGET_BYTES = 1 << 24  # of the rows that are decoded together, as Python objects
MAX_ROW_BYTES = 1 << 26  # of one column of a row, as Python objects
MAX_ROWS = 1 << 13


def find_column(column: str, names: list[str], option: str, place: str, advice: str = "") -> int:
    """Return the index of a column.

    Args:
        column: Name of the column.
        names: Names of all columns of the table.
        option: Option that names the column, for messages.
        place: The file, for messages.
        advice: Further advice, appended to the message.

    Raises:
        CorpusError: No column has this name, or several have it.
    """
    if names.count(column) != 1:
        fact = f"has {names.count(column) or 'no'} column{'s' * (column in names)} {column!r}"
        shown = ", ".join(name[:SHOWN_LETTERS] for name in names[:SHOWN_COLUMNS]) + ", ..." * (
            len(names) > SHOWN_COLUMNS
        )
        raise CorpusError(
            f"{place}: {fact}; its columns: {shown or 'none'}; choose one by {option}{advice}"
        )
    return names.index(column)


def needed_columns(reading: ReadOptions) -> list[str]:
    """Return the names of the columns to read, without duplicates."""
    return list(
        dict.fromkeys(
            [*reading.column, *([reading.id_column] if reading.id_column else []), *reading.keep]
        )
    )


def check_columns(schema: "pyarrow.Schema", reading: ReadOptions, name: str) -> None:
    """Check that the columns exist and have the right types.

    Args:
        schema: Schema of the table.
        reading: Reader options, which name the columns.
        name: The file, for messages.

    Raises:
        CorpusError: A column is missing, occurs more than once, or has another type.
    """
    kinds = {"--column": check_tokens, "--id-column": _check_id, "--keep": _check_kept}
    id_columns = () if reading.id_column is None else (reading.id_column,)
    wanted = {"--column": reading.column, "--id-column": id_columns, "--keep": reading.keep}
    for option, columns in wanted.items():
        for column in columns:
            found = schema.field(find_column(column, schema.names, option, name))
            kinds[option](found.type, f"{name}: column {column!r}")


def kept_schema(schema: "pyarrow.Schema", reading: ReadOptions) -> "pyarrow.Schema":
    """Return the schema of the columns to keep; a dictionary has the type of its values."""
    import pyarrow

    return pyarrow.schema(
        [(column, plain_type(schema.field(column).type)) for column in reading.keep]
    )


def read_batch(
    batch: "pyarrow.RecordBatch", first: int, reading: ReadOptions, name: str, report: OnError
) -> Iterator[Sentence]:
    """Iterate over the sentences of a record batch.

    Args:
        batch: The rows.
        first: Number of the first row, from 0.
        reading: Reader options.
        name: The file, for messages.
        report: Called with the error of each bad row, which is left out.
    """
    for start in range(0, batch.num_rows, MAX_ROWS):
        rows = batch.slice(start, MAX_ROWS)
        for begin, end, problem in _pieces(
            rows, reading, f"{name}: rows {first + start + 1} to {first + start + rows.num_rows}"
        ):
            number = first + start + begin
            if problem:
                report(CorpusError(f"{name}: row {number + 1}: column {problem}"))
            else:
                yield from _read_rows(rows.slice(begin, end - begin), number, reading, name, report)


def _pieces(
    batch: "pyarrow.RecordBatch", reading: ReadOptions, place: str
) -> Iterator[tuple[int, int, str | None]]:
    """Iterate over slices of rows that are decoded together.

    Yields:
        Begin, end, and the problem of a single row that is too large to decode, else None.
    """
    import numpy as np

    from elmo_cli.io.arrow_sizes import value_bytes

    try:
        weights = {column: value_bytes(batch.column(column)) for column in needed_columns(reading)}
    except DamagedError as error:
        raise CorpusError(
            f"{place}: cannot be decoded ({error}); check that the file is complete"
        ) from None
    tokens = {column: _counts(batch.column(column)) for column in reading.column}
    too_large = np.any([of > MAX_TOKENS for of in tokens.values()], axis=0) | np.any(
        [of > MAX_ROW_BYTES for of in weights.values()], axis=0
    )
    sums = np.cumsum(sum(weights.values()))
    begin = 0
    for stop in [*np.flatnonzero(too_large).tolist(), batch.num_rows]:
        while begin < stop:
            end = int(
                np.searchsorted(
                    sums, (sums[begin - 1] if begin else 0) + TARGET_BYTES, side="right"
                )
            )
            end = min(max(end, begin + 1), stop)
            yield begin, end, None
            begin = end
        if stop < batch.num_rows:
            yield (
                stop,
                stop + 1,
                _too_large(
                    *(
                        {column: int(of[stop]) for column, of in each.items()}
                        for each in (tokens, weights)
                    )
                ),
            )
            begin = stop + 1


def _too_large(tokens: dict[str, int], weights: dict[str, int]) -> str:
    longest = max(tokens, key=lambda name: tokens[name])
    if tokens[longest] > MAX_TOKENS:
        return (
            f"{longest!r} has {tokens[longest]:,} tokens, more than {MAX_TOKENS:,}; a row has to "
            "be a sentence"
        )
    heaviest = max(weights, key=lambda name: weights[name])
    least = weights[heaviest] >> 20
    return (
        f"{heaviest!r} takes {least:,} MiB or more, above {MAX_ROW_BYTES >> 20}; a row has to be a "
        "sentence"
    )


def _counts(array: Any) -> "Integers":  # noqa: ANN401  # pyarrow is untyped
    """Return the number of tokens of each row, shape (len(array),); 0 for texts."""
    import numpy as np
    import pyarrow

    from elmo_cli.io.arrow_sizes import list_spans

    if isinstance(array.type, pyarrow.BaseExtensionType):
        return _counts(array.storage)
    return list_spans(array)[1] if is_list(array.type) else np.zeros(len(array), np.int64)


def _read_rows(
    batch: "pyarrow.RecordBatch", first: int, reading: ReadOptions, name: str, report: OnError
) -> Iterator[Sentence]:
    columns, ids, kept = _decode(
        batch, reading, f"{name}: rows {first + 1} to {first + batch.num_rows}"
    )
    between, parts = SEPARATORS[reading.separator], parts_of(reading.column)
    cells = product(range(batch.num_rows), zip(reading.column, parts, columns, strict=True))
    for number, (i, (column, part, values)) in enumerate(cells, start=first * len(parts)):
        place = f"{name}: row {first + i + 1}: column "
        try:
            sentence = _sentence(number, values[i], between, f"{place}{column!r}")
            id_ = parse_id(ids[i], f"{place}{reading.id_column!r}") if ids else None
        except CorpusError as problem:
            report(problem)
            continue
        row = first + i + 1 if part else None
        yield (
            sentence._replace(id=id_, kept=kept[i] if kept else (), row=row, part=part)
            if ids or kept or part
            else sentence
        )


def _sentence(number: int, value: Any, between: str | None, place: str) -> Sentence:  # noqa: ANN401  # any value
    if isinstance(value, UnicodeDecodeError):
        raise CorpusError(
            f"{place} is not UTF-8 ({value.reason}); pass --encoding-errors replace to keep it"
        )
    if isinstance(value, str) and len(value) > MAX_TOKENS < len(value.split(between, MAX_TOKENS)):
        raise CorpusError(
            f"{place} has more than {MAX_TOKENS:,} tokens; a row has to be a sentence"
        )
    return parse_sentence(number, value, between, place)


def _decode(
    batch: "pyarrow.RecordBatch", reading: ReadOptions, place: str
) -> tuple[list[list[Any]], list[Any], list[tuple[Any, ...]]]:
    """Return the values of each sentence column, the ids (or []), the values to keep (or [])."""
    import pyarrow

    try:
        columns = [
            python_values(batch.column(column), reading.encoding_errors)
            for column in reading.column
        ]
        ids = (
            python_values(batch.column(reading.id_column), reading.encoding_errors)
            if reading.id_column
            else []
        )
        return (
            columns,
            ids,
            list(zip(*(kept_values(batch.column(column)) for column in reading.keep), strict=True)),
        )
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{place}: a column to keep contains text that is not UTF-8 ({error.reason})"
        ) from None
    except pyarrow.ArrowException as error:
        raise CorpusError(
            f"{place}: cannot be decoded ({str(error)[:200]}); check that the file is complete"
        ) from None


def check_tokens(type_: Any, place: str) -> None:  # noqa: ANN401  # pyarrow is untyped
    """Check that a type is one of sentences: lists of strings, or strings.

    Raises:
        CorpusError: It is another type.
    """
    plain = plain_type(type_)
    without_tokens = getattr(plain, "list_size", 1) == 0
    if without_tokens or not (is_text(plain) or (is_list(plain) and is_text(plain.value_type))):
        raise CorpusError(
            f"{place} is of type {str(type_)[:200]}; it has to contain lists of strings, or "
            "strings to be split"
        )


def _check_id(type_: Any, place: str) -> None:  # noqa: ANN401  # pyarrow is untyped
    from pyarrow import types

    if not is_text(type_) and not types.is_integer(plain_type(type_)):
        raise CorpusError(
            f"{place} is of type {str(type_)[:200]}; an id has to be a string or an integer"
        )


def _check_kept(type_: Any, place: str) -> None:  # noqa: ANN401  # pyarrow is untyped
    if "union<" in str(type_):
        raise CorpusError(
            f"{place} is of type {str(type_)[:200]}, whose values do not have one type; it cannot "
            "be kept"
        )

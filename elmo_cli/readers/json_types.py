"""Arrow types of JSON values, for the fields that are copied from JSON Lines."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from elmo_cli.errors import CorpusError

BATCH = 1 << 12  # records whose values are in memory at once


def find_types(
    records: Iterable[tuple[int, dict[str, Any]]], names: tuple[str, ...], place: str
) -> pa.Schema:
    """Return the schema of the named fields, over all records.

    Args:
        records: JSON objects, each with the number of its line.
        names: The fields.
        place: The file, for messages.

    Raises:
        CorpusError: No record has such a field, or Arrow has no type for its values.
    """
    types = dict.fromkeys(names, pa.null())
    met, fields = set[str](), dict[str, None]()
    held: list[tuple[int, dict[str, Any]]] = []
    for numbered in records:
        held.append(numbered)
        met.update(name for name in names if name in numbered[1])
        if len(fields) < BATCH:
            fields.update(dict.fromkeys(numbered[1]))
        if len(held) == BATCH:
            types, held = _unified(types, held, place), []
    types = _unified(types, held, place)
    for name in names:
        if name not in met and fields:
            raise CorpusError(
                f"{place}: has no field {name!r}; its fields: {', '.join(list(fields)[:20])}; "
                "choose one by --keep"
            )
    return pa.schema(
        [(name, pa.string() if type_ == pa.null() else type_) for name, type_ in types.items()]
    )


def _unified(
    types: dict[str, pa.DataType], records: list[tuple[int, dict[str, Any]]], place: str
) -> dict[str, pa.DataType]:
    return {name: _unified_type(name, type_, records, place) for name, type_ in types.items()}


def _unified_type(
    name: str, type_: pa.DataType, records: list[tuple[int, dict[str, Any]]], place: str
) -> pa.DataType:
    """Return the type of a field, given its type in the records before."""
    values = [record.get(name) for _, record in records]
    lines = f"{place}: lines {records[0][0]} to {records[-1][0]}" if records else place
    try:
        found = pa.array(values).type
        unified = (
            pa.unify_schemas(
                [pa.schema([(name, type_)]), pa.schema([(name, found)])],
                promote_options="permissive",
            )
            .field(0)
            .type
        )
        pa.array(values, unified)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
        fact = f"the values of field {name!r} do not have a common type"
        remedy = (
            "make them of one type (strings, numbers, booleans, or lists of these), or leave out "
            "--keep"
        )
        raise CorpusError(
            f"{lines}: {fact} ({str(error).partition(chr(10))[0][:150]}); {remedy}"
        ) from None
    return unified

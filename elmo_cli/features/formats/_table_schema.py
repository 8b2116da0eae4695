"""Schema of a table of features that is read: its columns, their types and the metadata."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa

from elmo_cli.errors import FeaturesError
from elmo_cli.features.formats._table import ARROW_TYPES, SENTENCE_COLUMNS, TOKEN_COLUMNS
from elmo_cli.features.spec import LAYER, UNLAYERED, FeatureSpec, checksum_ok, metadata_of
from elmo_cli.io.arrow_types import is_list, is_text


def _holds_strings(type_: pa.DataType) -> bool:
    return is_text(type_) and "binary" not in str(type_)


FITTING: dict[str, Callable[[pa.DataType], bool]] = {
    "key": _holds_strings,
    "number": pa.types.is_integer,
    "tokens": lambda type_: is_list(type_) and _holds_strings(type_.value_type),
    "position": pa.types.is_integer,
    "token": _holds_strings,
}


def texts_of(metadata: Mapping[bytes, bytes] | None) -> dict[str, str]:
    """Return the metadata of a schema or a file as texts."""
    return {
        name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
        for name, value in (metadata or {}).items()
    }


def rows_of(schema: pa.Schema) -> str:
    """Return what a row of the table is, "sentence" or "token"."""
    return "token" if "token" in schema.names else "sentence"


def describe_schema(path: Path, schema: pa.Schema, told: Mapping[str, str]) -> FeatureSpec:
    """Return the description of a file.

    Args:
        path: Path of the file, for messages.
        schema: Schema of its table.
        told: The metadata of the schema, from `texts_of`.

    Returns:
        Layers, dimension and dtype of the vectors, metadata, and columns that were carried over.

    Raises:
        FeaturesError: A column is missing, occurs more than once or has another type.
    """
    own = TOKEN_COLUMNS if rows_of(schema) == "token" else SENTENCE_COLUMNS
    names = (
        told["names"].split(",")
        if "names" in told
        else [n for n in schema.names if n.startswith(LAYER) or n in UNLAYERED]
    )
    _check_columns(path, schema, own, names)
    kind = schema.field(names[0]).type
    is_nested = pa.types.is_list(kind)
    vector = kind.value_type if is_nested else kind
    if (
        not pa.types.is_fixed_size_list(vector)
        or not vector.list_size
        or vector.value_type not in ARROW_TYPES.values()
    ):
        raise FeaturesError(
            f"{path}: column {names[0]!r} contains {kind}, not vectors of float32 or float16"
        )
    if any(schema.field(name).type != kind for name in names):
        raise FeaturesError(f"{path}: its layers are of different types; the file is damaged")
    kept = [field for field in schema if field.name not in own and field.name not in names]
    dtype = next(name for name, of in ARROW_TYPES.items() if of == vector.value_type)
    return FeatureSpec(
        tuple(names),
        vector.list_size,
        dtype,
        pooled=own is SENTENCE_COLUMNS and not is_nested,
        metadata=metadata_of(told),
        kept=pa.schema(kept) if kept else None,
        intact=checksum_ok(told),
    )


def _check_columns(
    path: Path, schema: pa.Schema, own: Mapping[str, pa.DataType], names: list[str]
) -> None:
    missing = [name for name in (*own, *names) if name not in schema.names]
    if missing or not names:
        raise FeaturesError(
            f"{path}: contains no features: column {(missing or [f'{LAYER}0'])[0]!r} is missing, "
            f"the columns are {', '.join(schema.names[:20])}"
        )
    if len(set(names)) < len(names) or len(set(schema.names)) < len(schema.names):
        raise FeaturesError(f"{path}: has two columns of the same name; the file is damaged")
    for name in own:
        if not FITTING[name](schema.field(name).type):
            raise FeaturesError(
                f"{path}: column {name!r} contains {str(schema.field(name).type)[:200]}; this is "
                "not a file of features"
            )

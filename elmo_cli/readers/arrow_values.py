"""Python values of Arrow arrays, without extension types and dictionaries."""

from functools import partial
from typing import Any

from elmo_cli.io.arrow_types import is_list


def python_values(array: Any, encoding_errors: str) -> list[Any]:  # noqa: ANN401  # pyarrow is untyped
    """Return a column as Python values.

    Args:
        array: The column, pyarrow.Array.
        encoding_errors: How to decode text that is not UTF-8: "strict", "replace", ...

    Returns:
        The value of each row; the UnicodeDecodeError of a row that cannot be decoded.
    """
    array = _decoded(array)
    try:
        values: list[Any] = array.to_pylist()
    except UnicodeDecodeError:  # find the rows that contain it
        array = array.cast(_as_binary(array.type))
        values = array.to_pylist()
    return (
        list(map(partial(_as_text, encoding_errors=encoding_errors), values))
        if "binary" in str(array.type)
        else values
    )


def _as_text(value: Any, encoding_errors: str) -> Any:  # noqa: ANN401  # any value
    try:
        if isinstance(value, list):
            return [
                token.decode("utf-8", encoding_errors) if isinstance(token, bytes) else token
                for token in value
            ]
        return value.decode("utf-8", encoding_errors) if isinstance(value, bytes) else value
    except UnicodeDecodeError as error:
        return error


def _as_binary(type_: Any) -> Any:  # noqa: ANN401  # pyarrow is untyped
    import pyarrow

    return pyarrow.large_list(pyarrow.large_binary()) if is_list(type_) else pyarrow.large_binary()


def _decoded(array: Any) -> Any:  # noqa: ANN401  # pyarrow is untyped
    """Return an array without extension types and dictionaries.

    Pyarrow would look up the dictionary values of list elements one by one.
    """
    import numpy as np
    import pyarrow
    from pyarrow import types

    from elmo_cli.io.arrow_sizes import list_spans

    if isinstance(array.type, pyarrow.BaseExtensionType):
        return _decoded(array.storage)
    if types.is_dictionary(array.type):
        return _decoded(array.dictionary_decode())
    if is_list(array.type) and types.is_dictionary(array.type.value_type):
        offsets = np.concatenate([[0], np.cumsum(list_spans(array)[1])])
        nulls = np.append(array.is_null().to_numpy(zero_copy_only=False), False)
        return pyarrow.LargeListArray.from_arrays(
            pyarrow.array(offsets, mask=nulls), _decoded(array.flatten())
        )
    return array


def kept_values(array: Any) -> list[Any]:  # noqa: ANN401  # pyarrow is untyped
    """Return Python values, or Arrow scalars where Python has no such type (nanoseconds)."""
    array = _decoded(array)
    try:
        values: list[Any] = array.to_pylist()
    except UnicodeDecodeError:
        raise
    except ValueError:
        values = list(array)
    return values

"""Memory size of the values of an Arrow array as Python objects, computed before conversion."""

from typing import Any

import numpy as np
import numpy.typing as npt

from elmo_cli.io.arrow_types import is_list, is_text
from elmo_cli.io.sizes import DamagedError

VALUE, POINTER = 32, 8  # bytes of an object without its content, and of a reference in a list
MOST = 1 << 33  # bytes: larger values count as this, so that no sum overflows

Integers = npt.NDArray[np.int64]


def list_spans(array: Any) -> tuple[Integers, Integers]:  # noqa: ANN401  # pyarrow is untyped
    """Return the lists' starts in `values` and their lengths; a null's length is 0."""
    kind = str(array.type).partition("<")[0]
    if kind == "fixed_size_list":
        sizes = np.full(len(array), array.type.list_size, np.int64)
        starts = np.arange(array.offset, array.offset + len(array)) * array.type.list_size
    else:
        starts = array.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
        is_view = kind.endswith("_view")
        sizes = (
            array.sizes.to_numpy(zero_copy_only=False).astype(np.int64)
            if is_view
            else np.diff(starts)
        )
    return starts[: len(array)], np.where(_is_null(array), 0, sizes) if array.null_count else sizes


def value_bytes(array: Any) -> Integers:  # noqa: ANN401  # pyarrow is untyped
    """Return about how many bytes each value of an array takes as a Python object.

    A text that Arrow stores once and refers to a thousand times counts a thousand times: a
    dictionary or a list view of a few bytes can stand for gigabytes. Only texts and lists are
    measured.

    Args:
        array: An Arrow array of any type.

    Returns:
        Bytes, shape (len(array),).

    Raises:
        DamagedError: The array refers to a value that its dictionary does not have.
    """
    import pyarrow
    from pyarrow import types

    if isinstance(array.type, pyarrow.BaseExtensionType):
        return value_bytes(array.storage)
    if types.is_dictionary(array.type):
        with_null: Integers = np.append(value_bytes(array.dictionary), VALUE)
        return np.take(with_null, _dictionary_places(array))
    if is_list(array.type):
        return np.minimum(VALUE + _content_bytes(array), MOST)
    return VALUE + _text_bytes(array) if is_text(array.type) else np.full(len(array), VALUE)


def _content_bytes(lists: Any) -> Integers:  # noqa: ANN401  # pyarrow is untyped
    starts, sizes = list_spans(lists)
    used = sizes > 0
    if not used.any():
        return np.zeros(len(lists), np.int64)
    low, high = int(starts[used].min()), int((starts + sizes)[used].max())
    sums = np.concatenate(
        [[0], np.cumsum(POINTER + value_bytes(lists.values.slice(low, high - low)))]
    )
    return np.where(
        used,
        sums[np.where(used, starts + sizes - low, 0)] - sums[np.where(used, starts - low, 0)],
        0,
    )


def _dictionary_places(array: Any) -> npt.NDArray[Any]:  # noqa: ANN401  # pyarrow is untyped
    """Return the index of each value in its dictionary; of a null the one after the last."""
    length = len(array.dictionary)
    places = (
        array.indices.cast("int64", safe=False).fill_null(length).to_numpy(zero_copy_only=False)
    )
    if len(places) and (
        places.min() < 0 or places.max() >= length + bool(array.indices.null_count)
    ):
        raise DamagedError("a dictionary has no such value")
    return np.asarray(places)


def _text_bytes(array: Any) -> Integers:  # noqa: ANN401  # pyarrow is untyped
    from pyarrow import compute

    # No kernel measures these: 16 bytes each, the first four the length
    if str(array.type).endswith("_view"):
        end = array.offset + len(array)
        views = np.frombuffer(array.buffers()[1] or b"", np.int32, 4 * end).reshape(-1, 4)[
            array.offset :, 0
        ]
        return np.where(_is_null(array), 0, views.astype(np.int64))
    lengths = compute.binary_length(array).fill_null(0)
    return np.asarray(lengths.to_numpy(zero_copy_only=False), np.int64)


def _is_null(array: Any) -> npt.NDArray[np.bool_]:  # noqa: ANN401  # pyarrow is untyped
    nulls: npt.NDArray[np.bool_] = array.is_null().to_numpy(zero_copy_only=False)
    return nulls

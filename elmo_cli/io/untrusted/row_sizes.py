"""What rows will take as Python's objects, told before they are made: Arrow may refer to one piece of memory any number of times."""

from typing import Any

import numpy as np
import numpy.typing as npt

from elmo_cli.io.arrow_types import LISTS, TEXTS
from elmo_cli.io.sizes import DamagedError

VALUE, POINTER = 32, 8  # bytes of an object beside its content, and of a list's reference to one
MOST = 1 << 33  # bytes: what is heavier counts as this much, so that no sum overflows
MAX_ELEMENTS = 1 << 21  # of a row: more are not looked at, and count as the least that they can be

Integers = npt.NDArray[np.int64]


def weigh(array: Any) -> Integers:  # noqa: ANN401  # pyarrow is untyped
    """Bytes that each value of an array takes, about: what is shared counts each time.

    Raises:
        DamagedError: It refers to what is not in its dictionary.
    """
    return np.broadcast_to(np.minimum(np.asarray(_weigh(array), np.int64), MOST), len(array))


def spans(array: Any) -> tuple[Integers, Integers]:  # noqa: ANN401  # pyarrow is untyped
    """Where the lists of an array start among its `values`, and how long they are: a null's length is 0."""
    kind = str(array.type).partition("<")[0]
    if kind == "fixed_size_list":
        sizes = np.full(len(array), array.type.list_size, np.int64)
        starts = np.arange(array.offset, array.offset + len(array)) * array.type.list_size
    else:
        starts = array.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
        sizes = array.sizes.to_numpy(zero_copy_only=False).astype(np.int64) if kind.endswith("_view") else np.diff(starts)
    return starts[: len(array)], np.where(_is_null(array), 0, sizes) if array.null_count else sizes


def _weigh(array: Any) -> "int | Integers":  # noqa: ANN401  # pyarrow is untyped
    """Bytes of each value, or of every value."""
    import pyarrow
    from pyarrow import types

    type_ = array.type
    if isinstance(type_, pyarrow.BaseExtensionType):
        return _weigh(array.storage)
    if types.is_dictionary(type_):
        return _at(_weigh(array.dictionary), _places(array))
    if str(type_).startswith("run_end_encoded<"):
        places = np.arange(array.offset, array.offset + len(array))
        return _at(_weigh(array.values), np.searchsorted(array.run_ends.to_numpy(), places, side="right"))
    if types.is_struct(type_):
        return _total([_weigh(field) for field in array.flatten()])
    if types.is_map(type_) or str(type_).startswith(LISTS):
        return _weigh_lists(array)
    return VALUE + _lengths(array) if str(type_) in TEXTS else VALUE


def _weigh_lists(array: Any) -> Integers:  # noqa: ANN401  # pyarrow is untyped
    starts, all_sizes = spans(array)
    sizes = np.minimum(all_sizes, MAX_ELEMENTS)
    used = sizes > 0
    if not used.any():
        return np.full(len(array), VALUE)
    low, high = int(starts[used].min()), int((starts + sizes)[used].max())
    if high - low > 2 * MAX_ELEMENTS and len(array) > 1:
        half = len(array) // 2
        return np.concatenate([_weigh_lists(array.slice(0, half)), _weigh_lists(array.slice(half))])
    of_child = _total([_weigh(child.slice(low, high - low)) for child in _children(array)])
    if isinstance(of_child, int):
        weights = sizes * (POINTER + of_child)
    else:
        sums = np.concatenate([[0], np.cumsum(POINTER + of_child)])
        weights = sums[np.where(used, starts + sizes - low, 0)] - sums[np.where(used, starts - low, 0)]
    not_seen = np.minimum(all_sizes - sizes, MOST) * (POINTER + VALUE)  # at least
    return np.asarray(VALUE + np.minimum(weights + not_seen, MOST), np.int64)


def _children(array: Any) -> list[Any]:  # noqa: ANN401  # pyarrow is untyped
    from pyarrow import types

    return [array.keys, array.items] if types.is_map(array.type) else [array.values]


def _total(weights: "list[int | Integers]") -> "int | Integers":
    total: int | Integers = VALUE
    for weight in weights:
        total = total + weight
    return min(total, MOST) if isinstance(total, int) else np.minimum(total, MOST)


def _at(weights: "int | Integers", places: npt.NDArray[Any]) -> "int | Integers":
    return weights if isinstance(weights, int) else np.append(weights, VALUE)[places]


def _places(array: Any) -> npt.NDArray[Any]:  # noqa: ANN401  # pyarrow is untyped
    """Where in its dictionary each value is, a null after its end: that is looked at here, for a Parquet file's pages may say anything."""
    length = len(array.dictionary)
    places = array.indices.cast("int64", safe=False).fill_null(length).to_numpy(zero_copy_only=False)
    if len(places) and (places.min() < 0 or places.max() >= length + bool(array.indices.null_count)):
        raise DamagedError("a dictionary has no such value")
    return np.asarray(places)


def _lengths(array: Any) -> Integers:  # noqa: ANN401  # pyarrow is untyped
    from pyarrow import compute

    if str(array.type).endswith("_view"):  # which no kernel measures: 16 bytes a value, of which the first four are its length
        end = array.offset + len(array)
        views = np.frombuffer(array.buffers()[1] or b"", np.int32, 4 * end).reshape(-1, 4)[array.offset :, 0]
        return np.where(_is_null(array), 0, views.astype(np.int64))
    lengths = compute.binary_length(array).fill_null(0)
    return np.asarray(lengths.to_numpy(zero_copy_only=False), np.int64)


def _is_null(array: Any) -> npt.NDArray[np.bool_]:  # noqa: ANN401  # pyarrow is untyped
    nulls: npt.NDArray[np.bool_] = array.is_null().to_numpy(zero_copy_only=False)
    return nulls

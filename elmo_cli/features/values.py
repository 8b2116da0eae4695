"""Checks and conversion of feature values: finite numbers, storage in half precision."""

from collections.abc import Sequence

import numpy as np

from elmo_cli.errors import ElmoError, ModelError
from elmo_cli.types import Array, Sentence


def cast(array: Array, dtype: str) -> Array:
    """The array as `dtype`, "float32" or "float16".

    Raises:
        ElmoError: A value is too large for float16.
    """
    if array.dtype == dtype:
        return array
    largest = np.finfo(dtype).max
    peak = np.abs(array).max(initial=0)
    if np.isfinite(peak) and peak > largest:
        raise ElmoError(f"--dtype {dtype}: a value of {peak:,.0f} is more than it can hold ({largest:,.0f}); pass --dtype float32")
    return array.astype(dtype)


def check_finite(window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
    """Make sure that features are numbers.

    Raises:
        ModelError: Some are NaN or infinite.
    """
    if (sentence := find_not_finite(window, arrays)) is not None:
        raise ModelError(
            f"sentence {int(sentence.key) + 1}: its vectors hold NaN or infinite values; "
            "check the model's weights, and what the vectors are stored and computed in"
        )


def find_not_finite(window: Sequence[Sentence], arrays: Sequence[Array]) -> Sentence | None:
    """The first sentence whose vectors hold NaN or infinite values, if there is one."""
    with np.errstate(over="ignore", invalid="ignore"):
        for sentence, array in zip(window, arrays, strict=True):
            if not np.isfinite(array.sum()) and not np.isfinite(array).all():  # the sum alone is several times faster, and may overflow
                return sentence
    return None

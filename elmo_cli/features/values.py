"""Checks and conversion of feature values: finite numbers, storage in half precision."""

from collections.abc import Sequence

import numpy as np

from elmo_cli.errors import ElmoError, ModelError
from elmo_cli.types import Array, Sentence


def cast(array: Array, dtype: str) -> Array:
    """Return an array as `dtype`, "float32" or "float16"; not copied if it has that dtype.

    Raises:
        ElmoError: A value is too large for float16.
    """
    if array.dtype == dtype:
        return array
    largest = np.finfo(dtype).max
    peak = np.abs(array).max(initial=0)
    if np.isfinite(peak) and peak > largest:
        raise ElmoError(
            f"--dtype {dtype}: a value of {peak:,.0f} exceeds its maximum ({largest:,.0f}); pass "
            "--dtype float32"
        )
    return array.astype(dtype)


def check_finite(window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
    """Check that all features are finite numbers.

    Raises:
        ModelError: Some are NaN or infinite.
    """
    if (sentence := find_not_finite(window, arrays)) is not None:
        raise ModelError(
            f"sentence {int(sentence.key) + 1}: its vectors contain NaN or infinite values; "
            "check the model's weights, and what the vectors are stored and computed in"
        )


def find_not_finite(window: Sequence[Sentence], arrays: Sequence[Array]) -> Sentence | None:
    """Return the first sentence whose vectors contain NaN or infinite values; None without any."""
    with np.errstate(over="ignore", invalid="ignore"):
        for sentence, array in zip(window, arrays, strict=True):
            # The sum alone is several times faster, and may overflow
            if not np.isfinite(array.sum()) and not np.isfinite(array).all():
                return sentence
    return None

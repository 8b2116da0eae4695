"""Tuning of glibc's allocator; no effect with other C libraries."""

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from typing import cast


def tune_malloc() -> None:
    """Keep freed memory in the process.

    Mapping large buffers again takes a third of a training step.
    """
    mallopt = _glibc("mallopt")
    if mallopt is not None:
        mallopt(-4, 0)  # M_MMAP_MAX
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def trim_malloc() -> None:
    """Return free pages to the system; arrays of varying sizes fragment memory over hours."""
    malloc_trim = _glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


@cache
def _glibc(name: str) -> Callable[..., int] | None:
    return (
        cast("Callable[..., int] | None", getattr(ctypes.CDLL(None), name, None))
        if sys.platform == "linux"
        else None
    )

"""Errors of insufficient memory: recognition of torch's, and the error for one sentence."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from elmo_cli.errors import MemoryShortageError

OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError)
# Messages of PyTorch's plain RuntimeErrors
NO_MEMORY_WORDS = re.compile(
    r"can't allocate memory|CUBLAS_STATUS_ALLOC_FAILED|not enough memory|could not create a "
    r"primitive"
)


@contextmanager
def naming_out_of_memory() -> Iterator[None]:
    """Convert the plain RuntimeErrors in which torch reports a lack of memory to MemoryError."""
    try:
        yield
    except RuntimeError as error:
        if NO_MEMORY_WORDS.search(str(error)) and not isinstance(error, OUT_OF_MEMORY):
            raise MemoryError(str(error)) from None
        raise


def too_little_memory(error: BaseException, tokens: Sequence[str]) -> MemoryShortageError:
    """Return the error for one sentence that does not fit the memory.

    Args:
        error: Error of the allocation.
        tokens: Tokens of the sentence.
    """
    fact = (str(error).splitlines() or ["out of memory"])[0]
    return MemoryShortageError(
        f"memory is insufficient for one sentence of {len(tokens):,} tokens ({fact})", tokens
    )

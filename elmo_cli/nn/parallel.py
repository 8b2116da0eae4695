"""Two halves of a computation side by side, such as the two directions of a biLM.

Inside an operation, threads meet every 50 microseconds; two halves meet once. On a quiet machine that is a little faster, and beside
another process it loses nothing where OpenMP's barriers lose a factor of thirty. The result is the same number on one thread and on two.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Protocol, TypeVar

import torch

from elmo_cli.forks import is_forked, renew_after_fork

Result = TypeVar("Result")


class RunBoth(Protocol):
    """Runs function(0) and function(1)."""

    def __call__(self, function: Callable[[int], Result], /) -> list[Result]:
        """Both results."""


def in_sequence(function: Callable[[int], Result]) -> list[Result]:
    """The pair on this thread."""
    return [function(0), function(1)]


class InThreads:
    """The pair here and on a second thread, each with half of PyTorch's threads; both here where there is one."""

    def __init__(self) -> None:
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Forget the second thread, which a fork leaves behind."""
        self._pool: ThreadPoolExecutor | None = None  # started when it is first needed

    def __call__(self, function: Callable[[int], Result], /) -> list[Result]:
        """Both results."""
        use_one_thread_after_fork()
        threads = torch.get_num_threads()
        if threads == 1:
            return in_sequence(function)
        self._pool = self._pool or ThreadPoolExecutor(1)
        other = self._pool.submit(_with_threads, threads // 2, function)
        torch.set_num_threads(threads - threads // 2)
        try:
            return [function(0), other.result()]
        finally:
            wait([other])  # where the first half failed: what it used is free only then
            torch.set_num_threads(threads)


def use_one_thread_after_fork() -> None:
    """Let PyTorch use one thread in a forked child, as its DataLoader does: with more, OpenMP waits for threads of the parent."""
    if is_forked():
        torch.set_num_threads(1)


def _with_threads(threads: int, function: Callable[[int], Result]) -> Result:
    torch.set_num_threads(threads)
    return function(1)

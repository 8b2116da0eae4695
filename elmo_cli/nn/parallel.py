"""Parallel execution of two halves of a computation, such as the two directions of a biLM.

With threads inside operations, they synchronize every 50 microseconds; two halves synchronize once.
On an idle machine this is slightly faster. Beside another process it keeps its speed, where
OpenMP's barriers are thirty times slower. Results are the same numbers on one thread and on two.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Protocol, TypeVar

import torch

from elmo_cli.io.forks import is_forked, renew_after_fork

Result = TypeVar("Result")


class RunBoth(Protocol):
    """Function that runs function(0) and function(1)."""

    def __call__(self, function: Callable[[int], Result], /) -> list[Result]:
        """Return both results."""


def in_sequence(function: Callable[[int], Result]) -> list[Result]:
    """Run both calls on this thread.

    Args:
        function: Function of 0 or 1.

    Returns:
        Both results.
    """
    return [function(0), function(1)]


class InThreads:
    """Runs both calls in parallel on two threads, each with half of PyTorch's threads.

    If PyTorch has one thread, both calls run on this one.
    """

    def __init__(self) -> None:
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Discard the second thread, which does not exist after a fork."""
        self._pool: ThreadPoolExecutor | None = None  # started at the first use

    def __call__(self, function: Callable[[int], Result], /) -> list[Result]:
        """Run function(0) here and function(1) on the second thread.

        Args:
            function: Function of 0 or 1.

        Returns:
            Both results.
        """
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
            wait([other])  # if the first half failed, the second may still use its data
            torch.set_num_threads(threads)


def use_one_thread_after_fork() -> None:
    """Limit PyTorch to one thread in a forked child, as its DataLoader does.

    With more, OpenMP waits for threads of the parent process.
    """
    if is_forked():
        torch.set_num_threads(1)


def _with_threads(threads: int, function: Callable[[int], Result]) -> Result:
    torch.set_num_threads(threads)
    return function(1)

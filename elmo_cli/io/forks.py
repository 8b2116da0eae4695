"""Locks and threads after a fork: the child has the objects of its parent, but none of its threads.

A lock that another thread held stays locked in the child, a thread pool waits for threads that do
not exist, and the OpenMP runtime of PyTorch (libgomp) waits for its threads in the same way, unless
it is used with one thread.
"""

import os
from threading import RLock
from types import TracebackType
from typing import Protocol
from weakref import WeakSet


class Renewable(Protocol):
    """Object that a forked child cannot use as it is."""

    def renew(self) -> None:
        """Replace what does not survive a fork; called in the child, while it has one thread."""


_renewed: WeakSet[Renewable] = WeakSet()
_is_child = False


def renew_after_fork(one: Renewable) -> None:
    """Have `one.renew()` called in each child that this process forks."""
    _renewed.add(one)


def is_forked() -> bool:
    """Return whether this process is a fork of one that had imported this module."""
    return _is_child


class Lock:
    """Re-entrant lock that is free in a forked child, and is pickled and copied as a new one."""

    def __init__(self) -> None:
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Replace the lock by a free one."""
        self._lock = RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type["Lock"], tuple[()]]:
        return Lock, ()


def _after_fork() -> None:
    global _is_child  # noqa: PLW0603  # a fact about the process
    _is_child = True
    for one in list(_renewed):
        one.renew()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)

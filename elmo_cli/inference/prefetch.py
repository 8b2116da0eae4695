"""Prefetching iterator: a thread produces items ahead of the consumer."""

from collections.abc import Iterable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event, Semaphore, Thread
from typing import Generic, TypeVar, cast

Item = TypeVar("Item")
_END = object()
PATIENCE = 0.5  # seconds to wait for a thread that may be reading an idle pipe


class Prefetch(Generic[Item]):
    """Iterator over `items`, in order, which produces up to `depth` items in advance.

    The item in progress counts. An error is raised in place of its item. After `stop` the consumer
    gets StopIteration, even while it waits; production ends after the item in progress, for which
    `join` waits.
    """

    def __init__(self, items: Iterable[Item], depth: int = 1) -> None:
        self._items = items
        self._ready: SimpleQueue[object] = SimpleQueue()
        self._room, self._stop = Semaphore(depth), Event()
        self._failed: BaseException | None = None
        self._maker = Thread(target=self._make, name="prefetch", daemon=True)
        self._maker.start()

    def _make(self) -> None:
        try:
            items = iter(self._items)
            self._room.acquire()
            while not self._stop.is_set():
                self._ready.put(next(items))
                self._room.acquire()
        except StopIteration:
            pass
        except BaseException as error:  # noqa: BLE001  # raised again in the consumer
            self._failed = error
        self._ready.put(_END)

    def __iter__(self) -> "Prefetch[Item]":
        return self

    def __next__(self) -> Item:
        item = self._take()
        if item is not _END and not self._stop.is_set():
            self._room.release()
            return cast("Item", item)
        self._ready.put(_END)  # for further calls
        if self._failed is not None and not self._stop.is_set():
            raise self._failed
        raise StopIteration

    def _take(self) -> object:
        """Return the next item; report a thread that ended for lack of memory without a result."""
        while self._maker.is_alive() or not self._ready.empty():
            with suppress(Empty):
                return self._ready.get(timeout=PATIENCE)
        self._failed = self._failed or MemoryError("a thread has ended for lack of memory")
        return _END

    def stop(self) -> None:
        """End the iteration, and production after the item in progress."""
        self._stop.set()
        self._room.release()
        self._ready.put(_END)

    def join(self, timeout: float | None = None) -> None:
        """Wait for the item in progress."""
        self._maker.join(timeout)

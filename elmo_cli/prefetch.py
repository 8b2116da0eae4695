"""Work that overlaps: an iterator that runs ahead of who reads it, on a thread of its own."""

from collections.abc import Iterable, Iterator
from queue import SimpleQueue
from threading import Event, Semaphore, Thread
from typing import TypeVar, cast

Item = TypeVar("Item")
_END = object()


def prefetch(items: Iterable[Item], depth: int = 1) -> Iterator[Item]:
    """The items, in order, up to `depth` of them made before they are asked for and one in work; an error is raised in its place.

    When reading ends early (the generator is closed), making ends after the item in work.
    """
    ready: SimpleQueue[object] = SimpleQueue()
    room, stop = Semaphore(depth), Event()
    failed: list[BaseException] = []

    def make() -> None:
        try:
            for item in items:
                room.acquire()
                if stop.is_set():
                    break
                ready.put(item)
        except BaseException as error:  # noqa: BLE001  # whatever it is, it is raised again where the items are read
            failed.append(error)
        ready.put(_END)

    maker = Thread(target=make, name="prefetch", daemon=True)
    maker.start()
    try:
        while (item := ready.get()) is not _END:
            yield cast("Item", item)
            room.release()
        if failed:
            raise failed[0]
    finally:
        stop.set()
        room.release()
        maker.join()

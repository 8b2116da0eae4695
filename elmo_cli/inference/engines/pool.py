"""Worker pool that returns windows in input order, with bounded queues."""

from collections.abc import Generator, Iterable, Sequence
from itertools import count
from queue import PriorityQueue
from threading import Condition, Event, Semaphore, Thread
from typing import Protocol

from elmo_cli.inference.pipeline import Embedded
from elmo_cli.inference.prefetch import PATIENCE
from elmo_cli.types import Window

AHEAD = 2  # windows for each worker, in progress or waiting for an earlier one

Task = tuple[int, Window | None]  # None ends a thread


class Worker(Protocol):
    """A worker, called by the pool from one thread."""

    def wait(self) -> None:
        """Wait until the worker can take a window.

        Raises:
            WorkerGoneError: The worker has ended.
            ElmoError: The run must end.
        """

    def embed(self, window: Window) -> Embedded:
        """Return the embedded window.

        Raises:
            WindowLostError: The worker was lost; the window must be embedded again.
            ElmoError: Embedding failed.
        """


class WindowLostError(Exception):
    """A worker ended while it embedded a window; never reported to the user."""


class WorkerGoneError(Exception):
    """A worker ended and is not replaced; never reported to the user."""


class OrderedPool:
    """Pool with a thread for each worker and a thread that reads windows.

    An error is raised in place of its window; earlier windows are still returned.

    Args:
        windows: Windows in input order.
        workers: The workers.
    """

    def __init__(self, windows: Iterable[Window], workers: Sequence[Worker]) -> None:
        self._windows = windows
        # Ordered by distinct numbers: windows are not compared
        self._tasks: PriorityQueue[Task] = PriorityQueue()
        self._room = Semaphore(AHEAD * len(workers))
        self._results: dict[int, Embedded | BaseException | None] = {}  # None after the last window
        self._failed: BaseException | None = None  # an error that does not belong to a window
        self._changed = Condition()
        self._stop = Event()
        self._threads = [Thread(target=self._read, name="reader", daemon=True)]
        self._threads += [
            Thread(target=self._work, args=[worker], name="worker", daemon=True)
            for worker in workers
        ]

    def embedded(self) -> Generator[Embedded, None, None]:
        """Iterate over embedded windows, in order."""
        for thread in self._threads:
            thread.start()
        try:
            for number in count():
                result = self._wait_for(number)
                self._room.release()
                if result is None:
                    return
                if isinstance(result, BaseException):
                    raise result
                yield result
                del result  # its arrays may be in reusable memory
        finally:
            self._end()

    def _wait_for(self, number: int) -> Embedded | BaseException | None:
        with self._changed:
            while number not in self._results:
                if self._failed:
                    raise self._failed
                self._changed.wait(PATIENCE)
            return self._results.pop(number)

    def _read(self) -> None:
        iterator = iter(self._windows)
        for number in count():
            self._room.acquire()
            if self._stop.is_set():
                return
            try:
                window = next(iterator, None)
            except BaseException as error:  # noqa: BLE001  # raised again where windows are taken
                self._settle(number, error)
                return
            if window is None:
                self._settle(number, None)
                return
            self._tasks.put((number, window))

    def _work(self, worker: Worker) -> None:
        try:
            while not self._stop.is_set():
                worker.wait()
                number, window = self._tasks.get()
                if window is None:
                    return
                self._embed(worker, number, window)
        except WorkerGoneError:
            return
        except BaseException as error:  # noqa: BLE001  # raised again where windows are taken
            self._failed = error

    def _embed(self, worker: Worker, number: int, window: Window) -> None:
        try:
            self._settle(number, worker.embed(window))
        except WindowLostError:
            self._tasks.put((number, window))
        except BaseException as error:  # noqa: BLE001  # as above
            self._settle(number, error)

    def _settle(self, number: int, result: Embedded | BaseException | None) -> None:
        with self._changed:
            self._results[number] = result
            self._changed.notify_all()

    def _end(self) -> None:
        """End the threads after their current call."""
        self._stop.set()
        self._room.release()
        self._results.clear()
        for number, _ in enumerate(self._threads):
            self._tasks.put((-1 - number, None))
        self._threads[0].join(PATIENCE)  # it may be reading an idle pipe

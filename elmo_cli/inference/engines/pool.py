"""Worker pool that returns results in input order, with bounded queues."""

from collections.abc import Callable, Generator, Iterable, Sequence
from itertools import count
from queue import PriorityQueue
from threading import Condition, Event, Semaphore, Thread
from typing import Generic, Protocol, TypeVar

from elmo_cli.inference.prefetch import PATIENCE

AHEAD = 2  # tasks for each worker, in progress or waiting for an earlier one


class Worker(Protocol):
    """A worker, called by the pool from one thread."""

    def wait(self) -> None:
        """Wait until the worker can take a task.

        Raises:
            WorkerGoneError: The worker has ended.
            ElmoError: The run must end.
        """


W = TypeVar("W", bound=Worker)
Task = TypeVar("Task")
Result = TypeVar("Result")


class TaskLostError(Exception):
    """A worker ended during a task, which must be done again; never reported to the user."""


class WorkerGoneError(Exception):
    """A worker ended and is not replaced; never reported to the user."""


class OrderedPool(Generic[W, Task, Result]):
    """Pool with a thread for each worker and a thread that reads tasks.

    An error is raised in place of its task; earlier results are still returned.

    Args:
        tasks: Tasks in input order: windows to embed, or shards to write.
        workers: The workers.
        do: Function that lets a worker do a task. It may raise TaskLostError.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        workers: Sequence[W],
        do: Callable[[W, Task], Result],
    ) -> None:
        self._tasks = tasks
        self._do = do
        # Ordered by distinct numbers, so that tasks are not compared; None ends a thread.
        self._waiting: PriorityQueue[tuple[int, Task | None]] = PriorityQueue()
        self._room = Semaphore(AHEAD * len(workers))
        # Results by the number of their task; None stands after the last one
        self._results: dict[int, Result | BaseException | None] = {}
        self._failed: BaseException | None = None  # an error that does not belong to a task
        self._changed = Condition()
        self._stop = Event()
        self.in_work = 0  # tasks that workers are doing
        self._threads = [Thread(target=self._read, name="reader", daemon=True)]
        for worker in workers:
            self._threads.append(
                Thread(target=self._work, args=[worker], name="worker", daemon=True)
            )

    def results(self) -> Generator[Result, None, None]:
        """Iterate over the results, in the order of the tasks."""
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

    def _wait_for(self, number: int) -> Result | BaseException | None:
        with self._changed:
            while number not in self._results:
                if self._failed:
                    raise self._failed
                self._changed.wait(PATIENCE)
            return self._results.pop(number)

    def _read(self) -> None:
        iterator = iter(self._tasks)
        for number in count():
            self._room.acquire()
            if self._stop.is_set():
                return
            try:
                task = next(iterator, None)
            except BaseException as error:  # noqa: BLE001  # raised again where results are taken
                self._settle(number, error)
                return
            if task is None:
                self._settle(number, None)
                return
            self._waiting.put((number, task))

    def _work(self, worker: W) -> None:
        try:
            while not self._stop.is_set():
                worker.wait()
                number, task = self._waiting.get()
                if task is None:
                    return
                self._attempt(worker, number, task)
        except WorkerGoneError:
            return
        except BaseException as error:  # noqa: BLE001  # raised again where results are taken
            self._failed = error

    def _attempt(self, worker: W, number: int, task: Task) -> None:
        self._count(1)
        try:
            self._settle(number, self._do(worker, task))
        except TaskLostError:
            self._waiting.put((number, task))
        except BaseException as error:  # noqa: BLE001  # as above
            self._settle(number, error)
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._changed:
            self.in_work += change

    def _settle(self, number: int, result: Result | BaseException | None) -> None:
        with self._changed:
            self._results[number] = result
            self._changed.notify_all()

    def _end(self) -> None:
        """End the threads after their current call."""
        self._stop.set()
        self._room.release()
        self._results.clear()
        for number, _ in enumerate(self._threads):
            self._waiting.put((-1 - number, None))
        self._threads[0].join(PATIENCE)  # it may be reading an idle pipe

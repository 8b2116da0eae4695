"""Pool of Ray actors: their replacement, and the attempts of each window or shard."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from threading import Event, Lock
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

from elmo_cli.errors import DeviceError
from elmo_cli.features.resume.shard_maker import Shard, ShardMaker
from elmo_cli.inference.embedder_spec import EmbedderSpec
from elmo_cli.inference.engines.blocks import Layout
from elmo_cli.inference.engines.pool import TaskLostError, WorkerGoneError
from elmo_cli.inference.engines.protocol import (
    EngineOptions,
    WorkerError,
    WorkerFacts,
    WorkerTracebackError,
    Written,
    check_alike,
    to_tokens,
)
from elmo_cli.inference.engines.ray_actor import Actor, Cargo
from elmo_cli.inference.engines.ray_connection import keeping_signals, shape_of
from elmo_cli.inference.pipeline import Embedded, Truncated
from elmo_cli.inference.selection import Selection
from elmo_cli.types import Window

ATTEMPTS = 3  # to embed a window, or to write a shard
POLL = 0.5  # seconds between checks whether the run has ended
CLOSING = 5.0  # seconds to wait for calls of ended actors
PATIENCE = 300.0  # seconds to wait for the first worker, or for a replacement of the last one


class RayPool:
    """Actors of a run, their common settings, and the number of losses of each task."""

    def __init__(
        self, ray: ModuleType, spec: EmbedderSpec, selection: Selection, options: EngineOptions
    ) -> None:
        self.ray = ray
        self.closed = Event()
        self._weights = spec.files.sha256
        self._lost: Counter[_Span] = Counter()
        self._first: WorkerFacts | None = None
        self._lock = Lock()
        self._callers = 0
        self._resources, n_workers, device = shape_of(ray, spec, options)
        own = replace(
            spec,
            model=spec.files,
            device=device,
            threads=spec.threads or (None if device == "cuda" else 1),
        )
        self._arguments = (own, selection, ray.put(Cargo.of(spec)))
        self.workers = [RayWorker(self, number) for number in range(1, n_workers + 1)]

    def start(self) -> Any:  # noqa: ANN401  # a handle of Ray's
        """Request an actor, which may start much later."""
        return self.ray.remote(max_restarts=0, max_concurrency=1, **self._resources)(Actor).remote(
            *self._arguments
        )

    def first_facts(self) -> WorkerFacts:
        """Return the facts of the first worker, after waiting for it."""
        if self._first is None:
            by_answer = {worker.asked: worker for worker in self.workers}
            ready, _ = self.ray.wait(list(by_answer), num_returns=1, timeout=PATIENCE)
            if not ready:
                raise DeviceError(
                    f"no Ray worker has started in {PATIENCE:.0f} s; check the cluster's free "
                    "resources (ray status)"
                )
            by_answer[ready[0]].wait()
        assert self._first  # noqa: S101  # by `wait`
        return self._first

    def check(self, name: str, facts: WorkerFacts) -> None:
        """Check that a worker has the facts of the first one that answered."""
        with self._lock:
            self._first = self._first or facts
            check_alike(self._weights, {"the first worker": self._first, name: facts})
            if self._first.settled.device != facts.settled.device:
                fact = f"{self._first.settled.device} and {facts.settled.device}"
                raise DeviceError(f"workers differ in device: {fact}; pass --device cpu or cuda")

    def count(self, window: Window) -> Truncated:
        """Return the truncated tokens of a window, from any worker."""
        for worker in self.workers:
            with suppress(TaskLostError, WorkerGoneError):
                if worker.has_answered:
                    return worker.count(window)
        self.workers[0].wait()
        return self.workers[0].count(window)

    def lose(self, span: "_Span", reason: str) -> None:
        """Count a task whose worker ended.

        Raises:
            WorkerError: The task was lost ATTEMPTS times.
        """
        with self._lock:
            self._lost[span] += 1
            times = self._lost[span]
        if times >= ATTEMPTS:
            done = f"{times} workers ended while they embedded them"
            raise WorkerError(
                f"sentences {span.first:,} to {span.last:,}: {done} ({reason}); "
                "check the workers' memory, or leave these sentences out"
            )

    @property
    def n_live(self) -> int:
        """Number of workers that have answered and have not ended."""
        return sum(worker.has_answered for worker in self.workers)

    def others_live(self, gone: "RayWorker") -> bool:
        """Return whether another worker has answered and has not ended."""
        return any(worker.has_answered for worker in self.workers if worker is not gone)

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Register a thread that calls Ray, for which `close` waits.

        Raises:
            WorkerGoneError: The run has ended.
        """
        with self._lock:
            if self.closed.is_set():
                raise WorkerGoneError
            self._callers += 1
        try:
            yield
        finally:
            with self._lock:
                self._callers -= 1

    def close(self) -> None:
        """End the actors, and leave the cluster."""
        with self._lock:
            self.closed.set()
        for worker in self.workers:
            worker.end()
        until = time.monotonic() + CLOSING
        while self._callers and time.monotonic() < until:
            time.sleep(0.01)
        with keeping_signals():
            self.ray.shutdown()


class RayWorker:
    """An actor of the cluster and its replacements."""

    def __init__(self, cluster: RayPool, number: int) -> None:
        self._cluster = cluster
        self._ray = cluster.ray
        self._name = f"worker {number}"
        self.has_answered = False
        self._begin()

    def _begin(self) -> None:
        self._actor = self._cluster.start()
        self.asked = self._actor.facts.remote()

    def wait(self) -> None:
        """Wait until the actor has answered, so that no window is sent to a missing one.

        Raises:
            WorkerGoneError: The run has ended.
            ElmoError: No worker is left, or it differs from the others.
        """
        since = time.monotonic()
        while not self.has_answered:
            with self._cluster.calling():
                self._look(since)
            if (
                not self.has_answered
                and time.monotonic() - since > PATIENCE
                and not self._cluster.others_live(self)
            ):
                raise WorkerError(
                    "no Ray worker is left, and no other has started; check the cluster (ray "
                    "status)"
                )

    def _look(self, since: float) -> None:
        try:
            if self._ray.wait([self.asked], timeout=POLL)[0]:
                self._cluster.check(self._name, _opened(self._ray.get(self.asked)))
                self.has_answered = True
        # The actor cannot be unpickled: elmo is missing there, or has another version
        except self._ray.exceptions.RayTaskError as error:
            raise WorkerError(
                f"{self._name} does not start ({_last_line(error)}); install this version of elmo "
                "on all nodes"
            ) from None
        except self._ray.exceptions.RayError as error:
            self._restart(error, since)

    def _restart(self, error: Exception, since: float) -> None:
        """Request a replacement of an actor that ended while it started."""
        if time.monotonic() - since > PATIENCE:
            raise WorkerError(
                f"{self._name} does not start ({_last_line(error)}); check the cluster (ray status)"
            ) from None
        time.sleep(POLL)
        self._begin()

    def embed(self, window: Window) -> Embedded:
        """Return the embedded window.

        Raises:
            TaskLostError: The actor ended.
            ElmoError: The computation failed.
        """
        layout, memory, truncated = self._ask(_Span.of(window), "embed", to_tokens(window))
        return Embedded(window, Layout(*layout).views(memory), truncated)

    def write(self, shard: Shard, maker: ShardMaker) -> Written:
        """Let the actor make a shard.

        Raises:
            TaskLostError: The actor ended.
            ElmoError: The computation or the writing failed.
        """
        span = _Span.of([shard.windows[0][0], shard.windows[-1][-1]])
        n_bytes, truncated = self._ask(span, "write", shard, maker)
        return Written(shard, n_bytes, truncated)

    def count(self, window: Window) -> Truncated:
        """Return the truncated tokens of a window."""
        truncated: Truncated = self._ask(_Span.of(window), "count", to_tokens(window))
        return truncated

    def _ask(self, span: "_Span", question: str, *given: object) -> Any:  # noqa: ANN401  # depends on the request
        with self._cluster.calling():
            try:
                answer = self._ray.get(getattr(self._actor, question).remote(*given))
            except self._ray.exceptions.RayError as error:
                self._lose(span, error)
        return _opened(answer)

    def _lose(self, span: "_Span", error: Exception) -> NoReturn:
        """Request a replacement, and return the task to the pool."""
        if self._cluster.closed.is_set():
            raise WorkerGoneError
        self.has_answered = False
        self.end()  # a node that cannot be reached may come back
        self._begin()
        self._cluster.lose(span, _last_line(error))
        raise TaskLostError

    def end(self) -> None:
        """End the actor."""
        with suppress(Exception):  # the actor or the cluster may have ended
            self._ray.kill(self._actor)


class _Span(NamedTuple):
    """Numbers of the first and the last sentence of a task, from 1."""

    first: int
    last: int

    @classmethod
    def of(cls, window: Window) -> "_Span":
        return cls(int(window[0].key) + 1, int(window[-1].key) + 1)


def _opened(answer: tuple[Exception | None, Any]) -> Any:  # noqa: ANN401  # depends on the request
    error, result = answer
    if error is not None:
        raise error from WorkerTracebackError(result)
    return result


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__

"""Engine of a Ray cluster: a pool of actors called by this process."""

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import replace
from threading import Event, Lock
from types import ModuleType
from typing import Any, NoReturn

from elmo_cli.errors import DeviceError, ElmoError
from elmo_cli.inference.embedder_spec import EmbedderSpec
from elmo_cli.inference.engines.blocks import Layout
from elmo_cli.inference.engines.pool import OrderedPool, WindowLostError, WorkerGoneError
from elmo_cli.inference.engines.protocol import (
    EngineOptions,
    Settled,
    WorkerError,
    WorkerFacts,
    WorkerTracebackError,
    check_alike,
)
from elmo_cli.inference.engines.ray_actor import Actor, Cargo
from elmo_cli.inference.pipeline import Embedded, Truncated
from elmo_cli.inference.selection import Selection
from elmo_cli.types import Window

ATTEMPTS = 3  # to embed a window
POLL = 0.5  # seconds between checks whether the run has ended
CLOSING = 5.0  # seconds to wait for calls of ended actors
PATIENCE = 300.0  # seconds to wait for the first worker, or for a replacement of the last one


class RayEngine:
    """Engine that embeds windows on the workers of a Ray cluster.

    Args:
        spec: Specification of the embedders; its device is "auto", "cpu" or "cuda".
        selection: Choice of the vectors that are written.
        options: Address of the cluster and number of workers.

    Raises:
        ElmoError: Ray is not installed, or the cluster cannot be reached.
    """

    def __init__(self, spec: EmbedderSpec, selection: Selection, options: EngineOptions) -> None:
        self._ending = ExitStack()
        self._weights = spec.files
        try:
            # Ray prints the status of workers
            self._ending.enter_context(redirect_stdout(sys.stderr))
            self._pool = _Cluster(_connect(options.address), spec, selection, options)
            self._ending.callback(self._pool.close)
        except BaseException:
            self.close()
            raise

    @property
    def settled(self) -> Settled:
        """Compute settings of the worker that answered first.

        Raises:
            ElmoError: The model or the device cannot be used, or no worker starts.
        """
        return self._pool.first_facts().settled

    @property
    def limit(self) -> str:
        """Maximum length of a token, such as "48 bytes"."""
        return self._pool.first_facts().limit

    def load(self) -> None:
        """Wait for the first worker."""
        self._pool.first_facts()

    def replay(self, window: Window) -> Truncated:
        """Return the truncated tokens of a window."""
        return self._pool.count(window)

    def embedded(self, windows: Iterable[Window]) -> Generator[Embedded, None, None]:
        """Iterate over embedded windows, in order."""
        return OrderedPool(windows, self._pool.workers).embedded()

    def close(self) -> None:
        """End the workers, and the cluster if it was started here."""
        self._ending.close()


def _import_ray() -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # for a cluster that is started here
    # Else a call after the end would join or start another cluster
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
    try:
        import ray
    except ImportError:
        raise ElmoError("--engine ray: Ray is not installed; pip install 'elmo-cli[ray]'") from None
    return ray  # type: ignore[no-any-return]  # untyped


def _connect(address: str) -> ModuleType:
    """Connect to a cluster, or start one on this machine for "local".

    The address is always passed, because Ray would otherwise join a running cluster.
    """
    ray = _import_ray()
    with _keeping_signals():
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                configure_logging=False,
                include_dashboard=None if address != "local" else False,
            )
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise ElmoError(
                f"--address {address}: no Ray cluster can be reached ({reason}); start one, or "
                "pass --address local"
            ) from None
    return ray


@contextmanager
def _keeping_signals() -> Iterator[None]:
    """Restore the signal handlers, which Ray replaces."""
    numbers = [
        getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
    ]
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Cluster:
    """Actors of a run, their common settings, and the number of losses of each window."""

    def __init__(
        self, ray: ModuleType, spec: EmbedderSpec, selection: Selection, options: EngineOptions
    ) -> None:
        self.ray = ray
        self.closed = Event()
        self._weights = spec.files.sha256
        self._lost: Counter[str] = Counter()  # by the first sentence of a window
        self._first: WorkerFacts | None = None
        self._lock = Lock()
        self._callers = 0
        self._resources, n_workers, device = _shape(ray, spec, options)
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
            with suppress(WindowLostError, WorkerGoneError):
                if worker.has_answered:
                    return worker.count(window)
        self.workers[0].wait()
        return self.workers[0].count(window)

    def lose(self, window: Window, reason: str) -> None:
        """Count a window whose worker ended.

        Raises:
            WorkerError: The window was lost ATTEMPTS times.
        """
        with self._lock:
            self._lost[window[0].key] += 1
            times = self._lost[window[0].key]
        if times >= ATTEMPTS:
            first, last = int(window[0].key) + 1, int(window[-1].key) + 1
            fact = (
                f"sentences {first:,} to {last:,}: {times} workers ended while they embedded them "
                f"({reason})"
            )
            raise WorkerError(f"{fact}; check the workers' memory, or leave these sentences out")

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
        with _keeping_signals():
            self.ray.shutdown()


def _shape(
    ray: ModuleType, spec: EmbedderSpec, options: EngineOptions
) -> tuple[dict[str, int], int, str]:
    """Return an actor's resources, the number of actors and their device."""
    there = ray.cluster_resources()
    device = options.devices[0]
    if device == "auto":
        device = "cuda" if there.get("GPU") else "cpu"
    if device == "cuda":
        if not there.get("GPU"):
            raise DeviceError("--device cuda: the Ray cluster has no GPU; pass --device cpu")
        return {"num_gpus": 1}, options.workers or int(there["GPU"]), device
    threads = spec.threads or 1
    return (
        {"num_cpus": threads},
        options.workers or max(1, int(there.get("CPU", 1)) // threads),
        device,
    )


class RayWorker:
    """An actor of the cluster and its replacements."""

    def __init__(self, cluster: _Cluster, number: int) -> None:
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
        """Return the embedded window, with copied values: a node may end with its object store."""
        layout, memory, truncated = self._ask("embed", window)
        arrays = Layout(*layout).views(memory)
        return Embedded(window, arrays, Truncated(*truncated))

    def count(self, window: Window) -> Truncated:
        """Return the truncated tokens of a window."""
        return Truncated(*self._ask("count", window))

    def _ask(self, question: str, window: Window) -> Any:  # noqa: ANN401  # depends on the request
        tokens = [(sentence.key, sentence.tokens) for sentence in window]
        with self._cluster.calling():
            try:
                answer = self._ray.get(getattr(self._actor, question).remote(tokens))
            except self._ray.exceptions.RayError as error:
                self._lose(window, error)
        return _opened(answer)

    def _lose(self, window: Window, error: Exception) -> NoReturn:
        """Request a replacement, and return the window to the pool."""
        if self._cluster.closed.is_set():
            raise WorkerGoneError
        self.has_answered = False
        self.end()  # a node that cannot be reached may come back
        self._begin()
        self._cluster.lose(window, _last_line(error))
        raise WindowLostError

    def end(self) -> None:
        """End the actor."""
        with suppress(Exception):  # the actor or the cluster may have ended
            self._ray.kill(self._actor)


def _opened(answer: tuple[Exception | None, Any]) -> Any:  # noqa: ANN401  # depends on the request
    error, result = answer
    if error is not None:
        raise error from WorkerTracebackError(result)
    return result


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__

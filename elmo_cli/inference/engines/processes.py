"""Engine of several devices of one machine, with a process for each."""

import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from multiprocessing.connection import Connection, Pipe
from multiprocessing.reduction import send_handle
from pathlib import Path
from threading import Lock
from typing import Any

import torch

from elmo_cli.features.resume.shard_maker import Shard, ShardMaker
from elmo_cli.inference.embedder_spec import EmbedderSpec
from elmo_cli.inference.engines.blocks import BlockPool, Layout, Place
from elmo_cli.inference.engines.pool import OrderedPool
from elmo_cli.inference.engines.process import SIGNALS
from elmo_cli.inference.engines.protocol import (
    Activity,
    Settled,
    WorkerError,
    WorkerFacts,
    WorkerTracebackError,
    Written,
    check_alike,
    to_tokens,
)
from elmo_cli.inference.pipeline import Embedded, Truncated
from elmo_cli.inference.selection import Selection
from elmo_cli.io.sandbox import module_path
from elmo_cli.types import Array, Window

_SERVE = (
    "import sys; sys.path[:] = sys.argv[2:]; from elmo_cli.inference.engines.process import serve; "
    "serve(int(sys.argv[1]))"
)


class WorkerProcess:
    """Child process with a model on one device. It ends when its parent does.

    Args:
        name: Name in messages.
        spec: Specification of its embedder.
        selection: Choice of the vectors that are written.
        blocks: Shared memory for its results.
    """

    def __init__(
        self, name: str, spec: EmbedderSpec, selection: Selection, blocks: BlockPool
    ) -> None:
        self.name = name
        self._blocks = blocks
        self._known: set[int] = set()  # blocks that the child has
        self._asked = Lock()  # held from a request to the end of its answer
        self._connection, theirs = Pipe()
        with theirs:
            self._process = _start(theirs)
        self._send((spec, selection))

    def facts(self) -> WorkerFacts:
        """Return the worker's facts, after waiting until the model is loaded.

        Raises:
            ElmoError: The model or the device cannot be used.
        """
        facts: WorkerFacts = self._receive()
        return facts

    def wait(self) -> None:
        """Do nothing: the process is ready once it has sent its facts."""

    def embed(self, window: Window) -> Embedded:
        """Return the embedded window.

        Raises:
            WorkerError: The process has ended.
            Exception: The exception of the computation.
        """
        with self._asked:
            self._send(("embed", to_tokens(window)))
            layout, truncated = self._receive()
            return Embedded(window, self._take(layout), truncated)

    def write(self, shard: Shard, maker: ShardMaker) -> Written:
        """Let the process make a shard.

        Raises:
            WorkerError: The process has ended.
            Exception: The exception of the process.
        """
        with self._asked:
            self._send(("write", (shard, maker)))
            n_bytes, truncated = self._receive()
            return Written(shard, n_bytes, truncated)

    def _take(self, layout: Layout) -> list[Array]:
        """Return the arrays of the answer, after naming a block for them."""
        block = self._blocks.take(layout.n_bytes)
        place = Place(block.number, block.size, block.number not in self._known, self._blocks.live)
        self._send(place)
        if place.is_new:
            with self._naming_its_end():
                send_handle(self._connection, block.descriptor, self._process.pid)
        self._known = self._known.intersection(place.live) | {block.number}
        self._receive()
        return self._blocks.arrays(block, layout)

    def count(self, window: Window) -> Truncated:
        """Return the truncated tokens of a window."""
        with self._asked:
            self._send(("count", to_tokens(window)))
            truncated: Truncated = self._receive()
            return truncated

    def _send(self, message: object) -> None:
        with self._naming_its_end():
            self._connection.send(message)

    def _receive(self) -> Any:  # noqa: ANN401  # depends on the request
        with self._naming_its_end():
            error, answer = self._connection.recv()
        if error is not None:
            raise error from (WorkerTracebackError(answer) if answer else None)
        return answer

    @contextmanager
    def _naming_its_end(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, ConnectionError):
            raise WorkerError(
                f"the worker on {self.name} {_end_of(self._process.wait())}"
            ) from None

    def close(self) -> None:
        """End the process, which has no state to save."""
        self._process.kill()
        self._process.wait()
        self._connection.close()


def _end_of(code: int) -> str:
    if code == -signal.SIGKILL:
        return "was killed (SIGKILL); check whether the machine has enough memory, and run it again"
    if code < 0:
        return f"ended in {signal.Signals(-code).name}; check the device and its driver"
    return f"ended with exit code {code}; run it again"


def _start(connection: Connection) -> "subprocess.Popen[bytes]":
    """Start a process that answers on the connection and ignores this process's signals."""
    number = connection.fileno()
    python = [sys.executable, "-I", "-X", f"utf8={sys.flags.utf8_mode}"]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # inherited and kept by the child
    try:
        return subprocess.Popen(  # noqa: S603  # fixed arguments
            [*python, "-c", _SERVE, str(number), *module_path()],
            pass_fds=[number],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class ProcessEngine:
    """Engine with a process for each device, which loads its model while the input is checked.

    Args:
        spec: Specification of the embedders; `devices` replace its device.
        selection: Choice of the vectors that are written.
        devices: A torch device for each process.
        folder: Returns the folder for shared files, used on systems without memfd.
    """

    def __init__(
        self,
        spec: EmbedderSpec,
        selection: Selection,
        devices: Sequence[str],
        folder: Callable[[], Path],
    ) -> None:
        self._weights = spec.files
        self._blocks = BlockPool(folder)
        self._workers: list[WorkerProcess] = []
        self._pool: OrderedPool[WorkerProcess, Any, Any] | None = None
        try:
            for number, (device, threads) in enumerate(
                zip(devices, _threads(spec, devices), strict=True), start=1
            ):
                name = f"{device} ({number} of {len(devices)})"
                own = replace(
                    spec,
                    model=spec.files,
                    options=None,
                    weights=None,
                    device=device,
                    threads=threads,
                )
                self._workers.append(WorkerProcess(name, own, selection, self._blocks))
        except BaseException:
            self.close()
            raise

    @cached_property
    def _facts(self) -> WorkerFacts:
        found = {worker.name: worker.facts() for worker in self._workers}
        check_alike(self._weights.sha256, found)
        return next(iter(found.values()))

    @property
    def settled(self) -> Settled:
        """Device and precision of the first process; waits for all processes.

        Raises:
            ElmoError: The model or a device cannot be used, or the processes differ.
        """
        return self._facts.settled

    @property
    def limit(self) -> str:
        """Maximum length of a token, such as "48 bytes"."""
        return self._facts.limit

    def load(self) -> None:
        """Wait for the processes."""
        _ = self._facts

    def replay(self, window: Window) -> Truncated:
        """Return the truncated tokens of a window."""
        return self._workers[0].count(window)

    def embedded(self, windows: Iterable[Window]) -> Generator[Embedded, None, None]:
        """Iterate over embedded windows, in order; an idle process takes the next window."""
        self._pool = OrderedPool(windows, self._workers, WorkerProcess.embed)
        return self._pool.results()

    def written(self, shards: Iterable[Shard], maker: ShardMaker) -> Generator[Written, None, None]:
        """Iterate over shards that the processes have made, in order."""
        self._pool = OrderedPool(
            shards, self._workers, lambda worker, shard: worker.write(shard, maker)
        )
        return self._pool.results()

    def activity(self) -> Activity:
        """Return the number of processes, and of the windows or shards that they compute."""
        return Activity(len(self._workers), self._pool.in_work if self._pool else 0)

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers:
            with suppress(OSError):
                worker.close()
        self._blocks.close()


def _threads(spec: EmbedderSpec, devices: Sequence[str]) -> list[int | None]:
    """Return the CPU threads of each process: those on the CPU share its cores."""
    shared = max(1, torch.get_num_threads() // max(1, devices.count("cpu")))
    return [spec.threads or (shared if device == "cpu" else None) for device in devices]

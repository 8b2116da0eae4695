"""Worker process of the process engine."""

import mmap
import os
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from queue import SimpleQueue
from threading import Thread
from typing import Any

import numpy as np

from elmo_cli.inference.engines.blocks import Layout, Place
from elmo_cli.inference.engines.protocol import to_window
from elmo_cli.inference.engines.worker import WindowEmbedder
from elmo_cli.types import Array, Window

Messages = SimpleQueue[Any]
SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


def serve(number: int) -> None:
    """Load a model, and answer requests on a connection until it is closed.

    Args:
        number: File descriptor of the connection.

    Each answer is a pair: an error and its traceback, or None and the answer.
    """
    for ignored in SIGNALS:  # the parent unwinds, and ends this process
        signal.signal(ignored, signal.SIG_IGN)
    connection, messages = Connection(number), Messages()
    Thread(target=_receive, args=[connection, messages], daemon=True).start()
    with suppress(ConnectionError), _sending_errors(connection):
        worker = WindowEmbedder(*messages.get())
        connection.send((None, worker.facts()))
        _work(worker, connection, messages)


def _work(worker: WindowEmbedder, connection: Connection, messages: Messages) -> None:
    memory = _SharedMemory()
    while True:
        question, given = messages.get()
        with _sending_errors(connection):
            if question == "write":
                _, n_bytes, truncated = worker.write(*given)
                connection.send((None, (n_bytes, truncated)))
                continue
            window = to_window(given)
            if question == "count":
                connection.send((None, worker.count(window)))
            else:
                _embed(worker, window, connection, messages, memory)


def _embed(
    worker: WindowEmbedder,
    window: Window,
    connection: Connection,
    messages: Messages,
    memory: "_SharedMemory",
) -> None:
    """Send size and shapes, then copy the arrays to the block named in the reply."""
    _, arrays, truncated = worker.embed(window)
    connection.send((None, (Layout.of(arrays), truncated)))
    place, descriptor = messages.get()
    memory.put(place, descriptor, arrays)
    connection.send((None, None))


def _receive(connection: Connection, messages: Messages) -> None:
    """Forward messages; end the process at once if its parent has ended."""
    with suppress(EOFError, OSError):
        while True:
            message = connection.recv()
            if isinstance(message, Place):
                message = (message, recv_handle(connection) if message.is_new else None)
            messages.put(message)
    os._exit(1)


@contextmanager
def _sending_errors(connection: Connection) -> Iterator[None]:
    try:
        yield
    except ConnectionError:
        raise
    except Exception as error:  # noqa: BLE001  # raised again in the parent
        trace = traceback.format_exc()
        try:
            connection.send((error, trace))
        except (TypeError, AttributeError):  # it cannot be pickled
            connection.send((RuntimeError(repr(error)), trace))


class _SharedMemory:
    """Blocks of the parent mapped into this process."""

    def __init__(self) -> None:
        self._mapped: dict[int, mmap.mmap] = {}

    def put(self, place: Place, descriptor: int | None, arrays: list[Array]) -> None:
        """Copy arrays to a block; `descriptor` is that of a new block."""
        self._mapped = {
            number: block for number, block in self._mapped.items() if number in place.live
        }
        if descriptor is not None:
            self._mapped[place.number] = mmap.mmap(descriptor, place.size)
            os.close(descriptor)
        layout = Layout.of(arrays)
        memory = np.frombuffer(self._mapped[place.number], dtype=np.uint8, count=layout.n_bytes)
        for view, array in zip(layout.views(memory), arrays, strict=True):
            view[...] = array

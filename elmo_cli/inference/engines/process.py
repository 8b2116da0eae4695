"""What a worker process of the process engine runs."""

import mmap
import os
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from queue import SimpleQueue
from threading import Thread
from typing import Any

import numpy as np

from elmo_cli.inference.engines.blocks import Layout
from elmo_cli.inference.engines.worker import WindowEmbedder
from elmo_cli.inference.pipeline import Truncated
from elmo_cli.types import Array, Sentence

Tokens = list[tuple[str, list[str]]]  # key and tokens of each sentence of a window


def serve(number: int) -> None:
    """Load a model, and answer questions on the connection of that number until it is closed."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the parent unwinds, and ends this process
        signal.signal(ignored, signal.SIG_IGN)
    connection = Connection(number)
    messages: SimpleQueue[Any] = SimpleQueue()
    Thread(target=_receive, args=[connection, messages], daemon=True).start()
    spec, selection = messages.get()
    memory = _SharedMemory()
    if (worker := _answer(connection, lambda: WindowEmbedder(spec, selection), reply=False)) is None:
        return
    _answer(connection, worker.facts)
    while True:
        question, tokens = messages.get()
        if question == "count":
            _answer(connection, lambda tokens=tokens: worker.count(_sentences(tokens)))
        elif (embedded := _answer(connection, lambda tokens=tokens: worker.embed(_sentences(tokens)), reply=False)) is not None:
            layout = Layout.of(embedded.arrays)
            connection.send((None, (layout, Truncated(*embedded.truncated))))
            place = messages.get()
            _answer(connection, lambda place=place, embedded=embedded: memory.put(place, embedded.arrays))


def _receive(connection: Connection, messages: "SimpleQueue[Any]") -> None:
    """Pass messages on. Without its parent the process ends, whatever it is doing."""
    try:
        while True:
            message = connection.recv()
            is_new_block = len(message) == 4 and not message[3]
            messages.put((*message[:3], recv_handle(connection)) if is_new_block else message)
    except (EOFError, OSError):
        os._exit(1)


def _answer(connection: Connection, question: Callable[[], Any], *, reply: bool = True) -> Any:  # noqa: ANN401  # the question's
    """Return what the question returns; send it, or the error in its place."""
    try:
        answer = question()
    except Exception as error:  # noqa: BLE001  # raised again in the parent
        _send_error(connection, error)
        return None
    if reply:
        connection.send((None, answer))
    return answer


def _send_error(connection: Connection, error: Exception) -> None:
    trace = traceback.format_exc()
    try:
        connection.send((error, trace))
    except (TypeError, AttributeError):  # it cannot be pickled
        connection.send((RuntimeError(repr(error)), trace))


def _sentences(tokens: Tokens) -> list[Sentence]:
    return [Sentence(key, list_, "") for key, list_ in tokens]


class _SharedMemory:
    """The blocks of the parent that this process has mapped."""

    def __init__(self) -> None:
        self._mapped: dict[int, mmap.mmap] = {}

    def put(self, place: tuple[int, int, list[int], int | bool], arrays: list[Array]) -> None:
        """Copy arrays into a block: its number, size, the blocks that are still in use, and its descriptor where it is new."""
        number, size, live, descriptor = place
        self._mapped = {known: block for known, block in self._mapped.items() if known in live}
        if descriptor is not True:
            self._mapped[number] = mmap.mmap(descriptor, size)
            os.close(descriptor)
        layout = Layout.of(arrays)
        memory = np.frombuffer(self._mapped[number], dtype=np.uint8, count=layout.n_bytes)
        for view, array in zip(layout.views(memory), arrays, strict=True):
            view[...] = array

"""What the packed buffers of an Arrow file declare: pyarrow makes room for it before anyone can look.

Messages and the footer are FlatBuffers (https://arrow.apache.org/docs/format/Columnar.html), which pyarrow has seen to be sound.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from elmo_cli.io.sizes import DamagedError, check_ratio

DICTIONARY_BATCH, RECORD_BATCH = 2, 3  # kinds of a message's header
CONTINUATION = -1


def check_file(stream: Any) -> None:  # noqa: ANN401  # a file of pyarrow's
    """Look at all batches of an Arrow file that pyarrow can open.

    Raises:
        DamagedError: The file has no such batches.
        OversizeError: One, or the dictionaries together, declare far more than they store.
    """
    _check(stream, _blocks_of_file)


def check_stream(stream: Any, *, together: bool = False) -> None:  # noqa: ANN401  # a file of pyarrow's
    """The same for a stream that is in a file; `together` if all of its batches are held.

    Raises:
        DamagedError: It ends too soon, or is none.
        OversizeError: A batch, or the dictionaries together, declare far more than they store.
    """
    _check(stream, _blocks_of_stream, together=together)


def _check(stream: Any, blocks: Callable[[Any], Iterator[tuple[int, int, int]]], *, together: bool = False) -> None:  # noqa: ANN401  # as above
    at = stream.tell()
    try:
        _check_sizes((_sizes(stream, *block) for block in blocks(stream)), together=together)
    except struct.error:
        raise DamagedError("a record batch is not described as such") from None
    stream.seek(at)


def _check_sizes(sizes: Iterable[tuple[int, int, int]], *, together: bool) -> None:
    all_declared = all_stored = 0
    for kind, declared, stored in sizes:
        if kind == RECORD_BATCH:
            check_ratio("a record batch", declared, stored)
        if together or kind == DICTIONARY_BATCH:
            all_declared += declared
            all_stored += stored
    check_ratio("all of it" if together else "a column's dictionary", all_declared, all_stored)


def _blocks_of_file(stream: Any) -> Iterator[tuple[int, int, int]]:  # noqa: ANN401  # a file of pyarrow's
    """Where the messages of a file begin, how long their descriptions are and their bodies: its footer tells."""
    end = stream.size() - 10
    length = struct.unpack("<i", _read(stream, end, 4))[0]
    footer = _Table.root(_read(stream, end - length, length))
    for field in (2, 3):
        for block in footer.structs(field, 24):
            yield struct.unpack("<qi4xq", block)


def _blocks_of_stream(stream: Any) -> Iterator[tuple[int, int, int]]:  # noqa: ANN401  # a file of pyarrow's
    """The same, from message to message."""
    at, size = 0, stream.size()
    while at + 8 <= size:
        first, second = struct.unpack("<ii", _read(stream, at, 8))
        head, length = (8, second) if first == CONTINUATION else (4, first)  # as it was before Arrow 0.15
        if length <= 0:
            return
        body = _Table.root(_read(stream, at + head, length)).number(3, "<q")
        yield at, head + length, body
        at += head + length + max(body, 0)


def _sizes(stream: Any, at: int, length: int, body: int) -> tuple[int, int, int]:  # noqa: ANN401  # a file of pyarrow's
    """A message's kind, and of its packed buffers the bytes that they declare and store."""
    data = _read(stream, at, length)
    message = _Table.root(data[8 if data[:4] == b"\xff\xff\xff\xff" else 4 :])
    kind = message.number(1, "<B")
    batch = message.table(2) if kind in (DICTIONARY_BATCH, RECORD_BATCH) else None
    if kind == DICTIONARY_BATCH and batch:
        batch = batch.table(1)
    if not batch or not batch.table(3):  # nothing is packed
        return kind, 0, 0
    declared = stored = 0
    for buffer in batch.structs(2, 16):
        begin, size = struct.unpack("<qq", buffer)
        if size >= 8:
            declared += max(0, struct.unpack("<q", _read(stream, at + length + begin, 8))[0])  # -1 where it is not packed after all
            stored += size
    return kind, declared, min(stored, max(0, body))


def _read(stream: Any, at: int, length: int) -> bytes:  # noqa: ANN401  # a file of pyarrow's
    if at < 0 or not 0 <= length <= stream.size() - at:
        raise DamagedError("it ends too soon")
    stream.seek(at)
    data: bytes = stream.read(length)
    return data


class _Table:
    """A table of a FlatBuffer: fields by number, found by the table's own list of offsets."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data = data
        self.at = at

    @classmethod
    def root(cls, data: bytes) -> "_Table":
        return cls(data, *struct.unpack_from("<I", data))

    def number(self, field: int, form: str) -> int:
        at = self._find(field)
        return int(struct.unpack_from(form, self.data, at)[0]) if at else 0

    def table(self, field: int) -> "_Table | None":
        at = self._find(field)
        return _Table(self.data, at + self._unsigned(at)) if at else None

    def structs(self, field: int, size: int) -> Iterator[bytes]:
        at = self._find(field)
        if at:
            at += self._unsigned(at)
            for number in range(self._unsigned(at)):
                yield self.data[at + 4 + number * size : at + 4 + (number + 1) * size]

    def _find(self, field: int) -> int:
        """Where a field is, or 0 where it is not."""
        offsets = self.at - int(struct.unpack_from("<i", self.data, self.at)[0])
        size = int(struct.unpack_from("<H", self.data, offsets)[0])
        offset = int(struct.unpack_from("<H", self.data, offsets + 4 + 2 * field)[0]) if 4 + 2 * field < size else 0
        return self.at + offset if offset else 0

    def _unsigned(self, at: int) -> int:
        return int(struct.unpack_from("<I", self.data, at)[0])

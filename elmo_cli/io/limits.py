"""Files of strangers, read in bounded memory: what a library takes at once, and what unpacking needs, has a limit."""

import io
import json
import lzma
import os
from pathlib import Path
from typing import IO, Any

XZ_MEMORY = 1 << 28  # xz -9 takes a quarter of it
XZ_START = b"\xfd7zXZ\0"
BLOCK_BYTES = 1 << 16
MAX_DIRECTORY = 1 << 22  # bytes of a zip's list of members, each of which takes ten times as many
JSON_MEMORY = 3 << 29  # of what is made of one JSON text
LIST_BYTES, DICT_BYTES, VALUE_BYTES, STRING_BYTES = 80, 320, 32, 64  # Python's, at most, and the place of each in what holds it


class ResourceLimitError(Exception):  # made an ElmoError, with the file's name before it, by whoever knows the name
    """A file asks for more memory than it should need; the message goes on after the file's name, and says what to do."""


class LimitedReader:
    """A stream that is only read forward. Of its bytes no more than `room` are given away, unless that is None; passed over are any.

    Libraries read a header as large as it says it is, and as many headers in a row as there are.
    """

    def __init__(self, stream: IO[bytes], room: int | None) -> None:
        self.room = room
        self._stream = stream
        self._at = 0

    def read(self, size: int) -> bytes:
        """The next bytes.

        Raises:
            Unbounded: There is no room for so many.
        """
        if self.room is not None:
            if not 0 <= size <= self.room:
                raise ResourceLimitError(
                    "holds a header larger than any file needs; unpack it by hand, if you trust it, and pass the folder"
                )
            self.room -= size
        block = self._stream.read(size)
        self._at += len(block)
        return block

    def seek(self, position: int) -> int:
        """Pass over the bytes before a position.

        Raises:
            ValueError: It lies behind.
        """
        if position < self._at:
            raise ValueError("a place in it leads back")
        while self._at < position and (block := self._stream.read(min(BLOCK_BYTES, position - self._at))):
            self._at += len(block)
        return self._at

    def tell(self) -> int:
        """The position."""
        return self._at

    def seekable(self) -> bool:
        """Forward, yes."""
        return True


class ZipSource(io.FileIO):
    """A file for `zipfile`, which reads the whole list of members at once."""

    def __init__(self, path: Path, most: int | None = None) -> None:
        super().__init__(path)
        self.most = MAX_DIRECTORY if most is None else most

    def read(self, size: int | None = -1) -> bytes:
        """Bytes; without a size the rest, of which zipfile asks only near the end.

        Raises:
            Unbounded: More at once than any list of members takes.
        """
        if size is None or size < 0:
            size = min(self.most, max(os.fstat(self.fileno()).st_size - self.tell(), 0))  # a buffer of `size` is allocated
        if size > self.most:
            raise ResourceLimitError(f"lists its members in {size:,} bytes, of which {self.most:,} are read; pack fewer files")
        return super().read(size) or b""


def load_json(text: bytes | memoryview) -> Any:  # noqa: ANN401  # JSON
    """What a JSON text holds.

    Raises:
        Unbounded: It would take more than JSON_MEMORY: three bytes of text can make eighty of an empty list.
        ValueError: It is no JSON.
        RecursionError: Its brackets are too deep.
    """
    size = 2 * len(text)
    text = bytes(text) if size <= JSON_MEMORY else b""
    if size > JSON_MEMORY or parsed_bytes(text) > JSON_MEMORY:
        raise ResourceLimitError(f"takes more than {JSON_MEMORY >> 20} MiB of memory to parse {size // 2:,} bytes of JSON")
    return json.loads(text)


def parsed_bytes(text: bytes) -> int:
    """Bytes of memory that a JSON text takes when it is parsed, at most."""
    values, strings = text.count(b",") * VALUE_BYTES, text.count(b'"') // 2 * STRING_BYTES
    return 2 * len(text) + text.count(b"[") * LIST_BYTES + text.count(b"{") * DICT_BYTES + values + strings


def open_xz(stream: Any) -> IO[bytes]:  # noqa: ANN401  # whatever has read
    """The bytes of an .xz or .lzma file, of one stream or several, as by lzma.open, which knows no limit.

    Reading raises Unbounded where it takes more than XZ_MEMORY.
    """
    return io.BufferedReader(_XzStream(stream), BLOCK_BYTES)


class _XzStream(io.RawIOBase):
    def __init__(self, stream: Any) -> None:  # noqa: ANN401
        super().__init__()
        self._stream = stream
        self._begin()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  # any buffer
        block = b""
        while not block and self._go_on():
            block = self._decompress(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def _begin(self, packed: bytes = b"") -> None:
        self._unpacker = lzma.LZMADecompressor(memlimit=XZ_MEMORY)
        self._packed = packed

    def _go_on(self) -> bool:
        """Whether there is more: another stream may follow, after zeros; anything else that follows is passed over, as xz does not."""
        if not self._unpacker.eof:
            return True
        rest = self._unpacker.unused_data.lstrip(b"\0")
        while len(rest) < len(XZ_START) and (block := self._stream.read(BLOCK_BYTES)):
            rest = (rest + block).lstrip(b"\0")
        if rest.startswith(XZ_START):
            self._begin(rest)
        return not self._unpacker.eof

    def _decompress(self, size: int) -> bytes:
        packed, self._packed = self._packed, b""
        if not packed and self._unpacker.needs_input:
            packed = self._stream.read(BLOCK_BYTES)
            if not packed:
                raise EOFError("it ends before the end of its stream")
        try:
            return self._unpacker.decompress(packed, size)
        except lzma.LZMAError as error:
            if "limit" not in str(error):
                raise
            raise ResourceLimitError(f"takes more than {XZ_MEMORY >> 20} MiB of memory to unpack; pack it anew, by xz -9 at most") from None

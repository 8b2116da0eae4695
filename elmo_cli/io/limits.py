"""Memory limits for untrusted files: headers, zip directories, JSON, xz decompression."""

import io
import json
import lzma
import os
from pathlib import Path
from typing import IO, Any

XZ_MEMORY = 1 << 28  # xz -9 takes a quarter of it
XZ_START = b"\xfd7zXZ\0"
BLOCK_BYTES = 1 << 16
# Bytes of the list of members of a zip, which takes ten times as much memory
MAX_DIRECTORY = 1 << 22
JSON_MEMORY = 3 << 29  # of one parsed JSON text
# At most, of a Python object and the reference to it
LIST_BYTES, DICT_BYTES, VALUE_BYTES, STRING_BYTES = 80, 320, 32, 64


# Callers that know the file's name convert it into an ElmoError
class ResourceLimitError(Exception):
    """A file requires more memory than allowed. The message needs the file's name as a prefix."""


class LimitedReader:
    """Forward-only stream with a limit on the bytes that are read; skipped bytes do not count.

    Libraries read a header of any size that it declares, and any number of consecutive headers.

    Args:
        stream: The stream.
        room: Number of bytes that may be read; None for any.
    """

    def __init__(self, stream: IO[bytes], room: int | None) -> None:
        self.room = room
        self._stream = stream
        self._at = 0

    def read(self, size: int) -> bytes:
        """Return the next bytes.

        Raises:
            ResourceLimitError: `size` exceeds the limit.
        """
        if self.room is not None:
            if not 0 <= size <= self.room:
                raise ResourceLimitError(
                    "contains a header larger than any file needs; if you trust it, unpack it by "
                    "hand and pass the folder"
                )
            self.room -= size
        block = self._stream.read(size)
        self._at += len(block)
        return block

    def seek(self, position: int) -> int:
        """Skip the bytes before a position.

        Raises:
            ValueError: The position is before the current one.
        """
        if position < self._at:
            raise ValueError("an offset points backwards")
        while self._at < position and (
            block := self._stream.read(min(BLOCK_BYTES, position - self._at))
        ):
            self._at += len(block)
        return self._at

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seekable(self) -> bool:
        """Return True: it can seek forward."""
        return True


class ZipSource(io.FileIO):
    """A file for `zipfile`, which reads the complete list of members at once.

    Args:
        path: The file.
        most: Number of bytes that may be read at once; None for MAX_DIRECTORY.
    """

    def __init__(self, path: Path, most: int | None = None) -> None:
        super().__init__(path)
        self.most = MAX_DIRECTORY if most is None else most

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes.

        Without a size the remaining ones, which zipfile reads only near the end.

        Raises:
            ResourceLimitError: `size` is larger than the limit.
        """
        if size is None or size < 0:
            # A buffer of `size` is allocated
            size = min(self.most, max(os.fstat(self.fileno()).st_size - self.tell(), 0))
        if size > self.most:
            raise ResourceLimitError(
                f"lists its members in {size:,} bytes, more than {self.most:,}; pack fewer files"
            )
        return super().read(size) or b""


def load_json(text: bytes | memoryview) -> Any:  # noqa: ANN401  # JSON
    """Parse a JSON text.

    Raises:
        ResourceLimitError: It would take more than JSON_MEMORY: three bytes of text can make an
            empty list of eighty bytes.
        ValueError: It is not JSON.
        RecursionError: Its brackets are nested too deeply.
    """
    size = 2 * len(text)
    text = bytes(text) if size <= JSON_MEMORY else b""
    if size > JSON_MEMORY or parsed_bytes(text) > JSON_MEMORY:
        raise ResourceLimitError(
            f"takes more than {JSON_MEMORY >> 20} MiB of memory to parse {size // 2:,} bytes of "
            "JSON"
        )
    return json.loads(text)


def parsed_bytes(text: bytes) -> int:
    """Return an upper bound of the memory in bytes that a JSON text takes when it is parsed."""
    values, strings = text.count(b",") * VALUE_BYTES, text.count(b'"') // 2 * STRING_BYTES
    return (
        2 * len(text)
        + text.count(b"[") * LIST_BYTES
        + text.count(b"{") * DICT_BYTES
        + values
        + strings
    )


def open_xz(stream: Any) -> IO[bytes]:  # noqa: ANN401  # any object with read
    """Open an .xz or .lzma file of one or several streams, like lzma.open but with a memory limit.

    Args:
        stream: The compressed file.

    Returns:
        The decompressed stream; its `read` raises ResourceLimitError if it takes more than
        XZ_MEMORY.
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
        """Return whether there is more data.

        Another stream may follow, after zeros. Unlike in xz, other trailing bytes are ignored.
        """
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
            size_mib = XZ_MEMORY >> 20
            raise ResourceLimitError(
                f"takes more than {size_mib} MiB of memory to unpack; compress it again by xz -9 "
                "at most"
            ) from None

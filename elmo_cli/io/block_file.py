"""Block cache for remote files: a request of any size takes tens of milliseconds."""

import io
import os
from collections import OrderedDict
from typing import Any

HELD_BYTES = 1 << 27  # more than a row group


class BlockFile(io.RawIOBase):
    """A pyarrow file that is read in blocks, of which the last ones stay in memory.

    Args:
        file: A pyarrow file that is open for random access.
        block: Size of a block in bytes.
    """

    def __init__(self, file: Any, block: int) -> None:  # noqa: ANN401  # pyarrow is untyped
        super().__init__()
        self._file = file
        self._block = block
        self._size = int(file.size())
        self._at = 0
        self._held: OrderedDict[int, bytes] = OrderedDict()

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  # any buffer
        """Read up to the end of the buffer or of the file."""
        view = memoryview(buffer).cast("B")
        n_read = 0
        while n_read < len(view) and self._at < self._size:
            number, offset = divmod(self._at, self._block)
            piece = self._read_block(number)[offset : offset + len(view) - n_read]
            view[n_read : n_read + len(piece)] = piece
            n_read += len(piece)
            self._at += len(piece)
        return n_read

    def _read_block(self, number: int) -> bytes:
        if number not in self._held:
            first = number * self._block
            self._held[number] = bytes(
                self._file.read_at(min(self._block, self._size - first), first)
            )
            if len(self._held) * self._block > HELD_BYTES:
                self._held.popitem(last=False)
        return self._held[number]

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position and return it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def size(self) -> int:
        """Return the size of the file."""
        return self._size

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Close the file."""
        self._held.clear()
        self._file.close()
        super().close()

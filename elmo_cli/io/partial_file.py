"""Unfinished output files that can be discarded while a library has them open."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar


class PartialFile(io.RawIOBase):
    """An unfinished output file, open for a library to write through.

    A library has no way to abandon a file: the HDF5 library flushes its buffers when it closes the
    file, fails again on a full disk, and crashes the process at exit. After `discard` all writing
    succeeds without effect. The HDF5 library also ignores errors while it writes; for it a failure
    is recorded and raised by `raising_failures`.

    Args:
        path: Path of the file, which must exist.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._file = path.open("r+b", buffering=0)
        self._discarded = False
        self._keeps_failures = False
        self._failure: OSError | None = None

    def discard(self) -> None:
        """Remove the file; later writes have no effect."""
        self._discarded = True
        self.path.unlink(missing_ok=True)

    def write(self, data: Any) -> int:  # noqa: ANN401  # any buffer
        """Write all of `data`, or raise OSError.

        A nearly full disk writes a part of it without an error.
        """
        view = memoryview(data)
        written = len(view) if self._discarded else 0
        with self._keeping_failure():
            while written < len(view):
                written += self._file.write(view[written:])
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the size of the file."""
        with self._keeping_failure():
            return (size or 0) if self._discarded else self._file.truncate(size)
        return size or 0

    def flush(self) -> None:
        """Do nothing: writes are not buffered."""

    @contextmanager
    def raising_failures(self) -> Iterator[None]:
        """Record failures in the block, and raise the last one at its end.

        Raises:
            OSError: The disk is full or not available; the file is discarded.
        """
        self._keeps_failures = True
        try:
            yield
        finally:
            if self._failure:
                raise self._failure

    @contextmanager
    def _keeping_failure(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self._keeps_failures:
                raise
            self._failure = error
            self.discard()

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401  # any buffer
        """Read into a buffer."""
        return self._file.readinto(buffer)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position and return it."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()

    def readable(self) -> bool:
        """Return True."""
        return True

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


class _Closable(Protocol):
    def close(self) -> None: ...


Closable = TypeVar("Closable", bound=_Closable)


@contextmanager
def closing_library_file(partial: PartialFile, file: Closable) -> Iterator[Closable]:
    """Close the file that a library writes through an unfinished output.

    If the block fails, the output is discarded first, so that closing does not fail where writing
    did.

    Args:
        partial: The unfinished output.
        file: The library's file.

    Yields:
        The library's file.

    Raises:
        OSError: The disk is full or not available.
    """
    try:
        yield file
        with partial.raising_failures():
            file.close()
    except BaseException:
        partial.discard()
        raise
    finally:
        file.close()

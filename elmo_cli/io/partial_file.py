"""Unfinished output file that a library writes through: it can be discarded while the library holds it open."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar


class PartialFile(io.RawIOBase):
    """An unfinished output, open for a library to write through.

    A library cannot be told to give a file up: the HDF5 one flushes what it holds when it closes, fails again on a full disk, and takes
    the process down at exit. `discard` makes all further writing succeed, and come to nothing. Nor can the HDF5 library be told of an
    error while it writes: it goes on, and the error gets lost. For it a failure is kept, and raised by `raising_failures`.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._file = path.open("r+b", buffering=0)
        self._discarded = False
        self._keeps_failures = False
        self._failure: OSError | None = None

    def discard(self) -> None:
        """Remove the file; writing goes nowhere from now on."""
        self._discarded = True
        self.path.unlink(missing_ok=True)

    def write(self, data: Any) -> int:  # noqa: ANN401  # any buffer
        """Write all of `data`, or raise OSError: a nearly full disk takes a part of it without complaint."""
        view = memoryview(data)
        written = len(view) if self._discarded else 0
        with self._keeping_failure():
            while written < len(view):
                written += self._file.write(view[written:])
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the file's size."""
        with self._keeping_failure():
            return (size or 0) if self._discarded else self._file.truncate(size)
        return size or 0

    def flush(self) -> None:
        """Nothing is held back."""

    @contextmanager
    def raising_failures(self) -> Iterator[None]:
        """While the block runs, keep what fails, and raise it at the end: what the library makes of it matters no more.

        Raises:
            OSError: The disk is full or gone; the file is discarded.
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
        """Move to a place."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The place."""
        return self._file.tell()

    def readable(self) -> bool:
        """Yes."""
        return True

    def writable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def close(self) -> None:
        """Close the file itself."""
        self._file.close()
        super().close()


class _Closable(Protocol):
    def close(self) -> None: ...


Closable = TypeVar("Closable", bound=_Closable)


@contextmanager
def closing_library_file(partial: PartialFile, file: Closable) -> Iterator[Closable]:
    """Close the file that a library writes through an unfinished output.

    If the block fails, the output is discarded first, so that closing does not fail where writing did.

    Args:
        partial: The unfinished output.
        file: The library's file.

    Yields:
        The library's file.

    Raises:
        OSError: The disk is full or gone.
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

"""Atomic writes of files and folders: temporary name, fsync, rename; and their error messages."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from elmo_cli.errors import DiskError, reason_of


def atomic_write(path: Path, write: Callable[[Path], object], *, shared: bool = False) -> None:
    """Write a file under a temporary name, then rename it; an existing file is complete until then.

    Args:
        path: Path of the file.
        write: Function that writes the file at the path it is given.
        shared: Whether other processes may write the same file at the same time.

    Raises:
        OSError: The file cannot be written.
    """
    process = f".{os.getpid()}" if shared else ""
    partial = path.with_name(f".{path.name}{process}.partial")
    try:
        write(partial)
        sync(partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def atomic_folder(path: Path, *, exist_ok: bool = False) -> Iterator[Path]:
    """Make a folder under a temporary name.

    It is renamed when the block ends, and removed if it fails.

    Args:
        path: Path of the folder, which must not exist.
        exist_ok: Whether another process may make the same folder at the same time; the first one
            stays.

    Yields:
        The folder, empty.

    Raises:
        OSError: The folder cannot be made or renamed.
    """
    partial = Path(
        tempfile.mkdtemp(prefix=f".{path.name[:40]}.", suffix=".partial", dir=path.parent)
    )
    try:
        yield partial
        apply_umask(partial)
        try:
            partial.rename(path)
        except OSError:
            if not (exist_ok and path.is_dir()):
                raise
        sync_folder(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def sync(path: Path) -> None:
    """Flush the content of a file to the disk.

    Raises:
        OSError: The disk refuses it.
    """
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk, on systems that support it."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def apply_umask(path: Path) -> None:
    """Set the default permissions on a file or folder that `tempfile` made for its owner only."""
    umask = os.umask(0)
    os.umask(umask)
    with suppress(OSError):  # not every file system has permissions
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)


def check_disk_space(path: Path, n_bytes: float, remedy: str) -> None:
    """Check that the disk has enough free space for a file.

    Args:
        path: The file.
        n_bytes: Size of the file.
        remedy: What the user can do.

    Raises:
        DiskError: The free space is too small.
    """
    free = shutil.disk_usage(path.parent).free
    if n_bytes > free:
        raise DiskError(
            f"{path}: will take {n_bytes / 1e6:,.1f} MB, but its disk has {free / 1e6:,.1f} MB "
            f"left; {remedy}"
        )


@contextmanager
def writing_errors(
    path: Path, remedy: str = "", also: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Convert system errors while a file is written into a DiskError.

    Args:
        path: The file or folder, for messages.
        remedy: What the user can do.
        also: Errors other than OSError that a library raises for a full disk.

    Raises:
        DiskError: The file cannot be written.
    """
    failures: tuple[type[Exception], ...] = (OSError, *also)
    try:
        yield
    except failures as error:
        reason = reason_of(error) if isinstance(error, OSError) else str(error)
        fact = (
            f"{path}: cannot be written ({next(iter(reason.splitlines()), type(error).__name__)})"
        )
        raise DiskError("; ".join(filter(None, [fact, remedy]))) from None

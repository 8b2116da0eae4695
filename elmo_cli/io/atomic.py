"""Files that are whole when they have their name: written under another one, brought to the disk, renamed; and room for them."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from elmo_cli.errors import DiskError, reason_of


def atomic_write(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` make a file under another name, then give it this one; what was there before is whole until then.

    Raises:
        OSError: It cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        write(partial)
        sync(partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync(path: Path) -> None:
    """Bring a file's bytes to the disk.

    Raises:
        OSError: The disk does not take them.
    """
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, on systems that can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def apply_umask(path: Path) -> None:
    """Give a file or folder that was made for its owner alone (`tempfile`) the permissions that any new one gets."""
    umask = os.umask(0)
    os.umask(umask)
    with suppress(OSError):  # not every file system has permissions
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)


def check_disk_space(path: Path, n_bytes: float, remedy: str) -> None:
    """Make sure that the disk has room for a file of this size.

    Raises:
        DiskError: It has not.
    """
    free = shutil.disk_usage(path.parent).free
    if n_bytes > free:
        raise DiskError(f"{path}: will take {n_bytes / 1e6:,.1f} MB, but its disk has {free / 1e6:,.1f} MB left; {remedy}")


@contextmanager
def writing_errors(path: Path, remedy: str = "") -> Iterator[None]:
    """Raise errors of the system while a file is written as a DiskError.

    Args:
        path: The file or folder, as messages name it.
        remedy: What the user can do.

    Raises:
        DiskError: It cannot be written.
    """
    try:
        yield
    except OSError as error:
        fact = f"{path}: cannot be written ({reason_of(error)})"
        raise DiskError("; ".join(filter(None, [fact, remedy]))) from None

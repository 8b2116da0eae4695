"""Folder lock, released when its process ends: a second run on the same output is refused.

This is the only lock of the package that is not a `filelock.FileLock` (downloads use one): it needs
three properties that the supported versions of filelock (3.12 and later) do not have together.

- The folder is removed while its lock is held. A run that has opened the removed file has to notice
  it (`_has_name`); filelock 3.12 locks a file without a name, so that two runs write at a time.
- The file records the host and process of the run that holds it, for the message of the second run.
  filelock truncates the file before it tries to lock it (3.12, 3.20), which erases them.
- Where the file system has no locks (ENOLCK, ENOTSUP), that record decides.
"""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EACCES, EAGAIN
from pathlib import Path

from elmo_cli.errors import OutputError

NAME = "lock"


@contextmanager
def locked(folder: Path, output: object) -> Iterator[None]:
    """Hold the lock of a folder while the block runs.

    Args:
        folder: The folder, which is made if it does not exist.
        output: The output, for messages.

    Raises:
        OutputError: Another run holds the lock.
        OSError: The folder cannot be written.
    """
    path = folder / NAME
    descriptor = _open_locked(path, output)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{socket.gethostname()} {os.getpid()}\n".encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)  # this also releases the lock


def _open_locked(path: Path, output: object) -> int:
    while True:
        path.parent.mkdir(exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        except FileNotFoundError:  # another run has just removed the folder
            continue
        try:
            _take(descriptor, output, path)
            if _has_name(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        # The run that held it has removed the file: another file has its name now
        os.close(descriptor)


def _has_name(descriptor: int, path: Path) -> bool:
    """Return whether the open file still has that name.

    It may lose it at any moment until the lock is held.
    """
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _take(descriptor: int, output: object, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        host, process = _holder(descriptor)
        if error.errno in (EACCES, EAGAIN):
            raise OutputError(
                f"{output}: is being written by another run (process {process} on {host}); wait "
                "for it, or name another output"
            ) from None
        # A file system without locks: use the host and process recorded in the file.
        if process != "?" and (host != socket.gethostname() or _is_alive(int(process))):
            raise OutputError(
                f"{output}: is being written by another run (process {process} on {host}); if that "
                f"run has ended, delete {path}"
            ) from None


def _holder(descriptor: int) -> tuple[str, str]:
    words = os.pread(descriptor, 400, 0).decode(errors="replace").split()
    return (words[0], words[1]) if len(words) == 2 and words[1].isdecimal() else ("?", "?")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return process != os.getpid()

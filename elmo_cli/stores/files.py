"""Output files that appear whole or not at all: written beside their final place under another name, then renamed."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from elmo_cli.errors import OutputError


def check_output(path: Path, *, overwrite: bool) -> None:
    """Make sure that a file can be put at `path`, before any work is done for it.

    Raises:
        OutputError: Something is there already, or the folder is missing or not writable.
    """
    if path.is_dir():
        raise OutputError(f"{path}: is a directory; name a file")
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists already; pass --overwrite to replace it")
    if not path.parent.is_dir():
        raise OutputError(f"{path.parent}: no such folder; make it first")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path.parent}: may not be written to; check its permissions")


def make_partial(path: Path) -> Path:
    """A new, empty file beside `path`, hidden, with the permissions that `path` itself would get.

    Raises:
        OutputError: It cannot be made.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from None
    os.close(descriptor)
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(name, 0o666 & ~umask)
    return Path(name)


def put_in_place(partial: Path, path: Path) -> None:
    """Give a whole file its final name, durably: its bytes reach the disk before the name does."""
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)
    with suppress(OSError):  # not every system opens or syncs a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

"""Zip and tar archives that models come in: looked into, and single files taken out. Nothing else in them is written, no link followed."""

import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO

from elmo_cli.durable import allow_others
from elmo_cli.errors import ModelError

MAX_MEMBERS = 20_000
MAX_DEPTH = 20
MAX_BYTES = 1 << 32  # of what is taken out: several times the largest model
MAX_SEEN = 1 << 36  # of all that a tar holds: it must be unpacked to be read past
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, EOFError, NotImplementedError, RuntimeError, ValueError, OSError)

Open = Callable[[], IO[bytes]]


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or tar archive, by what it holds."""
    try:
        return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)
    except (EOFError, zlib.error, LZMAError):
        return True  # a compressed file, damaged near its beginning


def stem(path: Path) -> str:
    """An archive's name without its suffixes."""
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem


def list_names(path: Path) -> list[str]:
    """The names of the regular files in an archive, relative, with /; those that lead outside are not among them.

    Raises:
        ModelError: It cannot be read, or is nothing that a model would come in.
    """
    with _reading(path):
        return [name for name, _, _ in _members(path)]


def unpack(path: Path, names: Collection[str], folder: Path) -> None:
    """Write these files of an archive below `folder`, which appears whole or not at all.

    Raises:
        ModelError: The archive is damaged, or they are too large.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".unpacking.", dir=folder.parent))
    try:
        with _reading(path):
            _write(path, set(names), partial)
        allow_others(partial)  # a cache may be shared
        try:
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():  # if it is, another run was quicker: theirs is as good
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(path: Path, names: set[str], folder: Path) -> None:
    room = min(MAX_BYTES, shutil.disk_usage(folder).free)
    for name, size, open_member in _members(path):
        if name not in names:
            continue
        room -= size
        if room < 0:
            raise ModelError(
                f"{path}: the model in it takes more than the disk or a model has room for; unpack it by hand and pass the folder"
            )
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with open_member() as source, target.open("xb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
            if out.tell() != size:
                raise ModelError(f"{path}: {name} is cut short; fetch the archive anew")


def _members(path: Path) -> Iterator[tuple[str, int, Open]]:
    seen: set[str] = set()
    for number, (name, size, open_member) in enumerate(_raw_members(path)):
        if number >= MAX_MEMBERS:
            raise ModelError(f"{path}: holds more than {MAX_MEMBERS:,} files, which is no model")
        safe = PurePosixPath(name)
        if (
            len(safe.parts) > MAX_DEPTH
            or safe.is_absolute()
            or ".." in safe.parts
            or "\\" in name
            or "\0" in name
            or not safe.parts
            or str(safe) in seen
        ):
            continue
        seen.add(str(safe))
        yield str(safe), size, open_member


def _raw_members(path: Path) -> Iterator[tuple[str, int, Open]]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if not entry.is_dir() and (entry.external_attr >> 28) in (0, 8):  # Unix file types: none told, or regular
                    yield entry.filename, entry.file_size, lambda entry=entry: archive.open(entry)  # type: ignore[misc]
        return
    total = 0
    with tarfile.open(path, "r:*") as tar:
        for member in tar:
            total += member.size
            if total > MAX_SEEN:
                raise ModelError(f"{path}: unpacks to more than {MAX_SEEN >> 30} GiB, which is no model")
            if member.isreg():
                yield member.name, member.size, lambda member=member: tar.extractfile(member)  # type: ignore[misc]


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:  # the machine's, not the archive's
            raise ModelError(f"{error.filename or path}: cannot be unpacked ({error.strerror})") from None
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"{path}: not a whole archive ({reason}); fetch it anew") from None

"""Zip and tar archives of models: listing, and extraction of single files.

`tarfile` (with its data filter) and `zipfile` read the archives and write the files; other members
are not written, and links are not followed. Three things are done here, since the libraries do not:

- Memory is limited (`LimitedReader`, `ZipSource`, `open_xz`). `tarfile` reads a PAX header, a long
  name or a map of holes of any size that the archive declares, before any filter is called, and
  keeps all members.
- Names are checked before anything is extracted, since the model is detected by the names of its
  files; Python before 3.10.12 and 3.11.4 has no data filter either.
- The number of members and the size of the files are limited.
"""

import bz2
import gzip
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO, Any

from elmo_cli.errors import ModelError
from elmo_cli.io.atomic import atomic_folder
from elmo_cli.io.limits import XZ_START, LimitedReader, ResourceLimitError, ZipSource, open_xz

MAX_MEMBERS = 20_000
MAX_DEPTH = 20
MAX_NAME = 4096  # characters
MAX_HEADER = 1 << 20  # bytes of a tar between two members: a header, its extensions, a long name
MAX_BYTES = 1 << 32  # of the extracted files: several times the largest model
MAX_SEEN = 1 << 36  # of all members of a tar: a member must be decompressed to be skipped
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OSError,
)

UNPACKERS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    XZ_START: open_xz,
    b"\x5d\0\0": open_xz,
}

# Name, size, function that extracts it into a folder
Member = tuple[str, int, Callable[[Path], object]]


def is_archive(path: Path) -> bool:
    """Return whether a file is a zip or tar archive, by its content."""
    try:
        with _reading(path):
            return zipfile.is_zipfile(path) or _is_tar(path)
    except ModelError:
        return True  # damaged near its beginning, or over a limit: reading it raises the error


def _is_tar(path: Path) -> bool:
    try:
        with _open_tar(path):
            return True
    except tarfile.TarError:
        return False


def stem(path: Path) -> str:
    """Return the name of an archive without its suffixes."""
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem


def list_names(path: Path) -> list[str]:
    """Return the names of the regular files in an archive, relative, with `/`.

    Unsafe paths are left out.

    Raises:
        ModelError: The archive cannot be read, or exceeds the limits of a model archive.
    """
    with _reading(path):
        return [name for name, _, _ in _members(path)]


def unpack(path: Path, names: Collection[str], folder: Path) -> None:
    """Extract files of an archive into a new folder, which appears complete or not at all.

    Args:
        path: The archive.
        names: Names of the files.
        folder: The folder.

    Raises:
        ModelError: The archive is damaged, or the files are too large.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Another run may unpack the same archive
    with atomic_folder(folder, exist_ok=True) as partial, _reading(path):
        _write(path, set(names), partial)


def _write(path: Path, names: set[str], folder: Path) -> None:
    room = min(MAX_BYTES, shutil.disk_usage(folder).free)
    for name, size, extract in _members(path):
        if name not in names:
            continue
        room -= size
        if room < 0:
            raise ModelError(
                f"{path}: its model is larger than the free disk space or the limit; unpack it by "
                "hand and pass the folder"
            )
        extract(folder)


def _members(path: Path) -> Iterator[Member]:
    seen: set[str] = set()
    members = _zip_members(path) if zipfile.is_zipfile(path) else _tar_members(path)
    for number, member in enumerate(members):
        if number >= MAX_MEMBERS:
            raise ModelError(f"{path}: contains more than {MAX_MEMBERS:,} files and is not a model")
        if member is None:
            continue
        name, size, extract = member
        safe = str(PurePosixPath(name))  # without "./" and "//"
        if _is_safe(name) and safe not in seen:
            seen.add(safe)
            yield safe, size, extract


def _is_safe(name: str) -> bool:
    """Return whether a name is a relative path of a length and depth that a model may have."""
    path = PurePosixPath(name)
    is_relative = bool(path.parts) and not path.is_absolute() and ".." not in path.parts
    is_small = len(name) <= MAX_NAME and len(path.parts) <= MAX_DEPTH
    return is_relative and is_small and "\\" not in name and "\0" not in name


def _zip_members(path: Path) -> Iterator[Member | None]:
    """Iterate over the regular files; None for any other member."""
    with ZipSource(path) as source, zipfile.ZipFile(source) as archive:
        for entry in archive.infolist():
            if entry.compress_type == zipfile.ZIP_LZMA:
                raise ResourceLimitError(
                    "is compressed by LZMA, which may take any amount of memory to unpack; unpack "
                    "it by hand and pass the folder"
                )
            # Unix file types: not recorded, or regular
            is_file = not entry.is_dir() and (entry.external_attr >> 28) in (0, 8)
            entry.filename = entry.filename.replace("\\", "/")  # as some Windows programs write it
            yield (
                (entry.filename, entry.file_size, partial(archive.extract, entry))
                if is_file
                else None
            )


def _tar_members(path: Path) -> Iterator[Member | None]:
    """Iterate over the regular files; None for any other member."""
    total = 0
    with _open_tar(path) as (tar, stream):
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        while (member := tar.next()) is not None:
            total += max(0, member.size)
            if total > MAX_SEEN:
                raise ModelError(
                    f"{path}: unpacks to more than {MAX_SEEN >> 30} GiB and is not a model"
                )
            if member.issparse():
                raise ResourceLimitError(
                    f"stores {member.name[:MAX_NAME]} without its holes; pack it again without "
                    "tar's --sparse"
                )
            stream.room = None  # for the member itself
            # The file gets the permissions of any new file
            extract = partial(tar.extract, member, set_attrs=False)
            yield (member.name, member.size, extract) if member.isreg() else None
            stream.room = MAX_HEADER
            tar.members.clear()  # type: ignore[attr-defined]  # it keeps all earlier members
            tar.pax_headers = {}  # and copies global headers to each member


@contextmanager
def _open_tar(path: Path) -> Iterator[tuple[tarfile.TarFile, LimitedReader]]:
    """Open a tar, of which the first header is read.

    Yields:
        The tar, and the stream from which it is read.
    """
    with ExitStack() as opened:
        stream: IO[bytes] = opened.enter_context(path.open("rb"))
        start = stream.read(len(XZ_START))
        stream.seek(0)
        for magic, unpack in UNPACKERS.items():
            if start.startswith(magic):
                stream = opened.enter_context(unpack(stream))
        metered = LimitedReader(stream, MAX_HEADER)
        yield opened.enter_context(tarfile.open(fileobj=metered, mode="r:")), metered  # type: ignore[call-overload]


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except ResourceLimitError as problem:
        raise ModelError(f"{path}: {problem}") from None
    except DAMAGED as error:
        # An error of the machine, not of the archive
        if isinstance(error, OSError) and error.errno is not None:
            raise ModelError(
                f"{error.filename or path}: cannot be unpacked ({error.strerror})"
            ) from None
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"{path}: not a complete archive ({reason}); download it again") from None

"""Paths on pyarrow's file systems, with the methods of `pathlib.Path` that feature files need.

The `close` method and the destructor of pyarrow's output streams publish what has been written so
far, also when the block ends by an exception. `upload` removes such a file again.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, cast
from urllib.parse import unquote

from elmo_cli.errors import OutputError
from elmo_cli.io.block_file import BlockFile
from elmo_cli.io.remote import SCHEMES, is_uri, patient_uri, redact_url

SMALL_BLOCK, LARGE_BLOCK = 1 << 16, 1 << 22  # for descriptions, and for vectors
CHUNK_BYTES = 1 << 24
# After this many, wait until they are sent: pyarrow would keep all of them in memory
FLUSH_CHUNKS = 4
OBJECT_STORES = ("s3", "gs", "gcs")  # without folders


class RemoteError(OSError):
    """A remote file system refused a request or failed; the message is one line without secrets."""


class RemoteState(NamedTuple):
    """The part of `os.stat_result` that identifies a file."""

    st_size: int
    st_mtime_ns: int
    st_ino: int = 0


@dataclass(frozen=True, order=True)
class RemotePath:
    """A file or folder named by a URI.

    Args:
        uri: The URI; a query, which may contain a key, is passed to pyarrow and never shown.
        state: Size and time of a file that was listed.
    """

    uri: str
    state: RemoteState | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return redact_url(self._place)

    def __truediv__(self, name: str) -> "RemotePath":
        return self._child(name)

    @property
    def _place(self) -> str:
        return self.uri.partition("?")[0]

    def _child(self, name: str, state: RemoteState | None = None) -> "RemotePath":
        place, mark, query = self.uri.partition("?")
        return RemotePath(f"{place.rstrip('/')}/{name}{mark}{query}", state)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self._place).name

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self._place).stem

    @property
    def suffix(self) -> str:
        """The end of the name, from its last dot."""
        return PurePosixPath(self._place).suffix

    def absolute(self) -> "RemotePath":
        """Return the path itself."""
        return self

    def is_dir(self) -> bool:
        """Return whether it is a folder.

        On an object store this means that there are files below it.
        """
        return bool(self._info().type == _types().Directory)

    def is_file(self) -> bool:
        """Return whether it is a file."""
        return bool(self._info().type == _types().File)

    def exists(self) -> bool:
        """Return whether there is a file or folder."""
        return bool(self._info().type != _types().NotFound)

    def stat(self) -> RemoteState:
        """Return size and time."""
        return self.state or _state(self._info())

    def iterdir(self) -> Iterator["RemotePath"]:
        """Iterate over the files of the folder, in the order of their names.

        None if it does not exist.
        """
        import pyarrow.fs

        system, path = self._opened()
        with one_line():
            listed = system.get_file_info(pyarrow.fs.FileSelector(path, allow_not_found=True))
        files = sorted((info.base_name, info) for info in listed if info.type == _types().File)
        return iter([self._child(name, _state(info)) for name, info in files])

    def glob(self, pattern: str) -> Iterator["RemotePath"]:
        """Iterate over the files of the folder whose names match."""
        return (path for path in self.iterdir() if fnmatchcase(path.name, pattern))

    def open(self, mode: str = "rb", block: int = SMALL_BLOCK) -> BlockFile:  # noqa: ARG002  # called as Path.open is
        """Open the file for reading, in any order.

        Args:
            mode: Of `Path.open`.
            block: Number of bytes that are read at once.
        """
        system, path = self._opened()
        with one_line():
            return BlockFile(system.open_input_file(path), block)

    def read_bytes(self) -> bytes:
        """Return the content of the file."""
        with one_line(), self.open() as file:
            return bytes(file.read())

    def upload(self, source: Path) -> None:
        """Write the content of a local file; after a failure, a partly written file is removed.

        Raises:
            OSError: The local file cannot be read, or the server refuses it.
        """
        system, path = self._opened()
        with one_line(), source.open("rb") as file:
            if not self.uri.lower().startswith(OBJECT_STORES):
                system.create_dir(path.rpartition("/")[0], recursive=True)
            stream = system.open_output_stream(path, compression=None)
            try:
                _copy(file, stream)
            except BaseException:
                with suppress(Exception):
                    stream.close()  # its destructor would do so later
                with suppress(Exception):
                    system.delete_file(path)
                raise

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Remove the file."""
        system, path = self._opened()
        with one_line():
            try:
                system.delete_file(path)
            except FileNotFoundError:
                if not missing_ok:
                    raise

    def _info(self) -> Any:  # noqa: ANN401  # pyarrow is untyped
        system, path = self._opened()
        with one_line():
            return system.get_file_info(path)

    def _opened(self) -> tuple[Any, str]:
        """Return the file system and the path in it."""
        place, _, query = self.uri.partition("?")
        scheme, _, rest = place.partition("://")
        host, _, path = rest.partition("/")
        system, root = _file_system(f"{scheme}://{host}/{'?' if query else ''}{query}", os.getpid())
        return system, f"{root.rstrip('/')}/{unquote(path)}".rstrip("/")


def features_path(given: str | Path) -> Path:
    """Return the path of a features file, which may be named by a URI.

    A `RemotePath` has the methods of `Path` that reading features uses, and is passed as one.

    Raises:
        OutputError: The URI's scheme is unknown.
    """
    if isinstance(given, str) and is_uri(given):
        if given.partition("://")[0].lower() not in SCHEMES:
            raise OutputError(
                f"{redact_url(given)}: its scheme is not one of "
                f"{', '.join(f'{scheme}://' for scheme in SCHEMES)}"
            )
        return cast("Path", RemotePath(given))
    return Path(given) if isinstance(given, str) else given


@lru_cache(maxsize=8)
def _file_system(uri: str, process: int) -> tuple[Any, str]:  # noqa: ARG001  # a fork opens its own
    import pyarrow.fs

    with one_line():
        system, root = pyarrow.fs.FileSystem.from_uri(patient_uri(uri))
    return system, str(root)


def _types() -> Any:  # noqa: ANN401  # pyarrow is untyped
    import pyarrow.fs

    return pyarrow.fs.FileType


def _state(info: Any) -> RemoteState:  # noqa: ANN401  # pyarrow is untyped
    return RemoteState(info.size or 0, info.mtime_ns or 0)


def _copy(file: Any, stream: Any) -> None:  # noqa: ANN401  # files of Python's and pyarrow's
    n_chunks = 0
    while chunk := file.read(CHUNK_BYTES):
        stream.write(chunk)
        n_chunks += 1
        if n_chunks % FLUSH_CHUNKS == 0:
            stream.flush()
    stream.close()


@contextmanager
def one_line() -> Iterator[None]:
    """Convert errors of pyarrow into one line; a missing file stays a FileNotFoundError.

    Raises:
        RemoteError: The block failed on the remote file system.
    """
    import pyarrow

    try:
        yield
    except (FileNotFoundError, RemoteError):
        raise
    except (OSError, pyarrow.ArrowException) as error:
        reason = redact_url(str(error)).partition("\n")[0].partition(". Detail:")[0][:300]
        raise RemoteError(reason) from None

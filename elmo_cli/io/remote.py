"""Remote input files on pyarrow's file systems, named by a URI and opened like local files."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

from elmo_cli.errors import CorpusError

GOOGLE_SECONDS = 15
SCHEMES = ("s3", "gs", "gcs", "hdfs", "viewfs", "file")


@dataclass(frozen=True)
class RemoteFile:
    """A file of a pyarrow file system."""

    uri: str  # shown to the user
    path: str  # within the file system
    file_system: Any = field(compare=False, repr=False)

    def __str__(self) -> str:
        return self.uri

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.path).name

    @property
    def suffix(self) -> str:
        """The end of the name, from its last dot."""
        return PurePosixPath(self.path).suffix

    @property
    def n_bytes(self) -> int:
        """The size in bytes; 0 if it is not known."""
        return int(self.file_system.get_file_info(self.path).size or 0)

    def open(self, mode: str = "rb") -> Any:  # noqa: ANN401, ARG002  # pyarrow is untyped; called as Path.open is
        """Open the file for sequential reading."""
        return self.file_system.open_input_stream(self.path, compression=None, buffer_size=1 << 20)

    def open_seekable(self) -> Any:  # noqa: ANN401  # pyarrow is untyped
        """Open the file for random access."""
        return self.file_system.open_input_file(self.path)


def is_uri(name: str) -> bool:
    """Return whether a name is a URI, not a local path."""
    return re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", name) is not None


def redact_url(text: str) -> str:
    """Return a text without user names, passwords and queries (possible keys) in its URIs."""
    return re.sub(r"(://)[^/\s]*@", r"\1", re.sub(r"(://[^\s?]*\?)\S+", r"\1...", text))


def find_remote(uri: str, is_shard: Callable[[str], bool]) -> tuple[list[RemoteFile], bool]:
    """Find the files that a URI names.

    Args:
        uri: URI of a file or folder; with `*` or `[...]` it is a glob.
        is_shard: Whether a name may be that of a shard or its folder; files with another name in
            their path below the folder are left out.

    Returns:
        The files, in the order of their names, and whether the URI is that of a folder.

    Raises:
        CorpusError: The scheme is unknown, or the location cannot be reached.
    """
    shown, (place, _, query) = redact_url(uri), uri.partition("?")
    if uri.partition("://")[0].lower() not in SCHEMES:
        raise CorpusError(
            f"{shown}: its scheme is not one of {', '.join(f'{scheme}://' for scheme in SCHEMES)}; "
            "download it first"
        )
    magic = re.search(r"[*\[]", place)
    root = place[: magic.start()].rpartition("/")[0] if magic else place.rstrip("/")
    pattern = place[len(root) :] if magic else None
    file_system, path = _file_system(f"{root}?{query}" if query else root)
    if pattern is None and not _is_folder(file_system, path, shown):
        return [RemoteFile(shown, path, file_system)], False
    below = [
        part
        for part in _list(file_system, path, shown)
        if all(map(is_shard, part.strip("/").split("/")))
    ]
    found = [part for part in below if pattern is None or _matches(part, pattern)]
    return [
        RemoteFile(redact_url(root) + part, path + part, file_system) for part in found
    ], pattern is None


def _matches(path: str, pattern: str) -> bool:
    """Return whether a path matches a glob, part by part: `*` does not match a slash."""
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _is_folder(file_system: Any, path: str, shown: str) -> bool:  # noqa: ANN401  # pyarrow is untyped
    import pyarrow.fs  # imported here: only remote inputs need it

    try:
        return bool(file_system.get_file_info(path).type == pyarrow.fs.FileType.Directory)
    except OSError as error:
        raise _unreachable(shown, error) from None


def _list(file_system: Any, path: str, shown: str) -> list[str]:  # noqa: ANN401  # pyarrow is untyped
    """Return the paths of the files below a folder, relative to it, with a leading slash."""
    import pyarrow.fs

    try:
        listed = file_system.get_file_info(pyarrow.fs.FileSelector(path, recursive=True))
    except OSError as error:
        raise _unreachable(shown, error) from None
    return sorted(
        info.path[len(path) :] for info in listed if info.type == pyarrow.fs.FileType.File
    )


def _file_system(uri: str) -> tuple[Any, str]:
    import pyarrow
    import pyarrow.fs

    try:
        file_system, path = pyarrow.fs.FileSystem.from_uri(patient_uri(uri))
    except (OSError, pyarrow.ArrowException) as error:
        raise _unreachable(redact_url(uri), error) from None
    return file_system, path.rstrip("/")


def patient_uri(uri: str) -> str:
    """Return a URI with a retry limit for Google storage.

    Its client otherwise retries for 15 minutes and ignores Ctrl-C.
    """
    if not uri.lower().startswith(("gs://", "gcs://")) or "retry_limit_seconds" in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}retry_limit_seconds={GOOGLE_SECONDS}"


def _unreachable(shown: str, error: Exception) -> CorpusError:
    reason = redact_url(str(error)).partition("\n")[0].partition(". Detail:")[0][:300]
    return CorpusError(
        f"{shown}: cannot be reached ({reason}); check the address and your credentials"
    )

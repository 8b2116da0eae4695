"""What a user names as input becomes the files to be read: local or remote files, globs, folders of shards, standard input."""

from collections.abc import Iterator
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

from elmo_cli.errors import CorpusError
from elmo_cli.io.remote import RemoteFile, find_remote, is_uri

STDIN = Path("-")
MARKERS = {"_SUCCESS", "_metadata", "_common_metadata"}  # what Spark and its like write beside their shards

InputFile = Path | RemoteFile


@dataclass(frozen=True)
class Input:
    """What a user named, and the files that it stands for, in the order of their names."""

    name: str
    files: tuple[InputFile, ...]
    is_folder: bool = False


def expand_input(name: str) -> Input:
    """A file, a folder, a glob or a URI. That a file is not there is found out when it is opened.

    Raises:
        CorpusError: A folder or a glob without files, or a place that cannot be reached.
        OSError: A local name that cannot be looked up.
    """
    if not name:
        raise CorpusError("an input's name is empty; name a file")
    if is_uri(name):
        found, is_folder = find_remote(name, _is_shard)
        files: tuple[InputFile, ...] = tuple(found)
    else:
        files, is_folder = _find_local(name)
    if not files:
        raise CorpusError(f"{name}: {'holds no files to read' if is_folder else 'no such file; nothing matches'}")
    return Input(name, files, is_folder)


def display_name(file: InputFile) -> str:
    """A file's name in messages."""
    return "standard input" if file == STDIN else str(file)


def is_stream(file: InputFile) -> bool:
    """Whether a file can be read only once: standard input, a pipe."""
    return file == STDIN or (isinstance(file, Path) and file.exists() and not file.is_file() and not file.is_dir())


def _find_local(name: str) -> tuple[tuple[InputFile, ...], bool]:
    if name == str(STDIN):
        return (STDIN,), False
    path = Path(name)
    if path == STDIN:  # "./-", which is a file of that name
        path = path.absolute()
    if path.is_dir():
        return tuple(_shards(path)), True
    if not has_magic(name) or path.exists():
        return (path,), False
    matching = sorted(map(Path, glob(name, recursive=True)))  # noqa: PTH207  # a pattern from the root is one too
    return tuple(file for match in matching for file in (_shards(match) if match.is_dir() else [match])), False


def _shards(folder: Path) -> Iterator[Path]:
    """The files in a folder and in those below it; hidden ones and marks of completion are none."""
    for path in sorted(folder.iterdir()):
        if _is_shard(path.name):
            yield from _shards(path) if path.is_dir() else [path]


def _is_shard(name: str) -> bool:
    return not name.startswith(".") and name not in MARKERS

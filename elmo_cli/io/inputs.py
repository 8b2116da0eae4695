"""Input resolution: local and remote files, globs, folders of shards, standard input.

A folder may be one that `save_to_disk` of Hugging Face datasets writes:
`data-00000-of-00002.arrow`, ... (Arrow streams), `dataset_info.json` and `state.json`, possibly
with caches; or, for a dataset of several splits, `dataset_dict.json` and a folder for each split.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from itertools import groupby
from pathlib import Path

from elmo_cli.errors import CorpusError
from elmo_cli.io.remote import RemoteFile, find_remote, is_uri

STDIN = Path("-")
# Files that Spark and similar programs write beside their shards
MARKERS = {"_SUCCESS", "_metadata", "_common_metadata"}
DATASET_DESCRIPTIONS = {"dataset_info.json", "state.json"}
DATASET_SPLITS = "dataset_dict.json"
DATASET_SHARD = re.compile(r"data-(\d{5})-of-(\d{5})\.arrow")

InputFile = Path | RemoteFile


@dataclass(frozen=True)
class Input:
    """An input as the user named it, and its files, in the order of their names."""

    name: str
    files: tuple[InputFile, ...]
    is_folder: bool = False


def expand_input(name: str) -> Input:
    """Find the files of an input.

    A missing file is reported only when it is opened.

    Args:
        name: A file, a folder, a glob, a URI, or `-` for standard input.

    Returns:
        The input and its files.

    Raises:
        CorpusError: A folder or glob has no files, or a remote location cannot be reached.
        OSError: A local name cannot be looked up.
    """
    if not name:
        raise CorpusError("the name of an input is empty; name a file")
    if is_uri(name):
        found, is_folder = find_remote(name, _is_shard)
        files: tuple[InputFile, ...] = tuple(_without_descriptions(found) if is_folder else found)
    else:
        files, is_folder = _find_local(name)
    if not files:
        raise CorpusError(
            f"{name}: "
            f"{'contains no files to read' if is_folder else 'no such file; nothing matches'}"
        )
    return Input(name, files, is_folder)


def display_name(file: InputFile) -> str:
    """Return the name of a file for messages."""
    return "standard input" if file == STDIN else str(file)


def is_stream(file: InputFile) -> bool:
    """Return whether a file can be read only once, such as standard input or a pipe."""
    return file == STDIN or (
        isinstance(file, Path) and file.exists() and not file.is_file() and not file.is_dir()
    )


def _find_local(name: str) -> tuple[tuple[InputFile, ...], bool]:
    if name == str(STDIN):
        return (STDIN,), False
    path = Path(name)
    if path == STDIN:  # "./-", a file of that name
        path = path.absolute()
    if path.is_dir():
        return tuple(_shards(path)), True
    if not has_magic(name) or path.exists():
        return (path,), False
    matching = sorted(map(Path, glob(name, recursive=True)))  # noqa: PTH207  # Path.glob does not take absolute patterns
    return tuple(
        file for match in matching for file in (_shards(match) if match.is_dir() else [match])
    ), False


def _shards(folder: Path) -> Iterator[Path]:
    """Iterate over the files in a folder and its subfolders.

    Hidden files, completion markers and dataset metadata are left out.
    """
    paths = sorted(path for path in folder.iterdir() if _is_shard(path.name))
    wanted = _dataset_shards(str(folder), [path.name for path in paths])
    for path in paths:
        if path.name in wanted:
            yield from _shards(path) if path.is_dir() else [path]


def _without_descriptions(files: list[RemoteFile]) -> Iterator[RemoteFile]:
    """Iterate over remote files in a folder and its subfolders, except dataset metadata."""
    for folder, of_folder in groupby(files, lambda file: file.uri.rpartition("/")[0]):
        names = {file.name: file for file in of_folder}
        yield from (names[name] for name in _dataset_shards(folder, list(names)))


def _dataset_shards(folder: str, names: Sequence[str]) -> Sequence[str]:
    """Return the names in a folder that contain sentences. In a saved dataset these are its shards.

    Raises:
        CorpusError: The folder contains the splits of a dataset, or a dataset that lacks a shard.
    """
    if DATASET_SPLITS in names:
        splits = [name for name in names if name != DATASET_SPLITS]
        fact = f"is a saved dataset of several splits{': ' * bool(splits)}{', '.join(splits)}"
        raise CorpusError(
            f"{folder}: {fact}; name the folder of one, such as "
            f"{folder.rstrip('/')}/{(splits or ['train'])[0]}"
        )
    if not DATASET_DESCRIPTIONS.issubset(names):
        return names
    shards = {name: found for name in names if (found := DATASET_SHARD.fullmatch(name))}
    n_shards = max((int(found[2]) for found in shards.values()), default=0)
    missing = [
        name
        for i in range(n_shards)
        if (name := f"data-{i:05}-of-{n_shards:05}.arrow") not in shards
    ]
    if missing or not shards:
        raise CorpusError(
            f"{folder}: is a saved dataset without {missing[0] if missing else 'data-*.arrow'}; "
            "save or copy it again"
        )
    return list(shards)


def _is_shard(name: str) -> bool:
    return not name.startswith(".") and name not in MARKERS

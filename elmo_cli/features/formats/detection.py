"""Detection of the format of a feature file by its content, and the check that it can be read."""

import os
from collections.abc import Iterator
from pathlib import Path

from elmo_cli.errors import FeaturesError
from elmo_cli.features.formats.registry import FILE_FORMATS, FORMATS, Format, load
from elmo_cli.features.formats.upload_manifest import check_remote_features
from elmo_cli.features.protocols import refusal
from elmo_cli.io.remote_path import RemotePath

HEAD_BYTES = 32


def find_format(path: Path) -> Format:
    """Return the format of a file or a folder of shards.

    Args:
        path: Path of the file or folder.

    Returns:
        Its format.

    Raises:
        FeaturesError: It does not exist, cannot be read, or has none of the formats.
    """
    if isinstance(path, RemotePath):
        check_remote_features(path)
        return _folder_format()
    if path.is_dir():
        return _find_format_of_folder(path)
    if not path.is_file():
        fact = "is not a regular file" if path.exists() else "no such file"
        raise FeaturesError(f"{path}: {fact}; name a file of features")
    start = _read_start(path)
    for form in FORMATS.values():
        if start.startswith(form.starts):
            return form
    for detect in dict.fromkeys(form.detect for form in FORMATS.values() if form.detect):
        if (name := load(detect)(path, start)) is not None:
            return FORMATS[name]
    raise FeaturesError(
        f"{path}: is none of {', '.join(FILE_FORMATS)}, or damaged at its start; name a file of "
        "features"
    )


def files_of(path: Path) -> list[Path]:
    """Return the files of a feature file or of a folder of shards, in order."""
    suffixes = {
        suffix for form in FORMATS.values() if form.makes_folders for suffix in form.suffixes
    }
    return (
        sorted(shard for shard in path.iterdir() if shard.suffix in suffixes)
        if path.is_dir()
        else [path]
    )


def _find_format_of_folder(folder: Path) -> Format:
    """Return the format of a folder.

    Its files must be readable: a glob without permission is empty.
    """
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise _unreadable(folder, error) from None
    for shard in files_of(folder):
        _read_start(shard)
    return _folder_format()


def _folder_format() -> Format:
    return next(form for form in FORMATS.values() if form.makes_folders)


def _read_start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> FeaturesError:
    return refusal(path, error) or FeaturesError(
        f"{path}: cannot be read ({(error.strerror or str(error)).lower()}); check the file and "
        "its disk"
    )


def find_problems(layout: str, path: Path) -> Iterator[str]:
    """Find what is missing or damaged that reading all sentences of a file does not show.

    Args:
        layout: Name of the format.
        path: Path of the file or folder.

    Yields:
        Problems in words.

    Raises:
        FeaturesError: A file is damaged.
    """
    if find := FORMATS[layout].find_problems:
        yield from load(find)(path)

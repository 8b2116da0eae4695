"""Files of a model in a folder or an archive, and the biLM that they contain."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from elmo_cli.errors import ModelError
from elmo_cli.io import archives
from elmo_cli.models.cache import Cache, sha256
from elmo_cli.models.formats.detect import MODEL_FORMATS, DetectedFormat, detect_format
from elmo_cli.nn.bilm import BiLM, BiLMConfig
from elmo_cli.version import __version__

MAX_DEPTH = 2  # a model is in the given folder or in one of its folders
MAX_UNPACKED_DEPTH = 20  # an unpacked archive keeps its folders


@dataclass(frozen=True)
class ModelFiles:
    """Format, files and name of a model.

    Attributes:
        name: Name of the model in messages and metadata.
        format: Format of the files, a key of `MODEL_FORMATS`.
        files: Path of each file by its role in the format.
        built_in: Whether the model is part of the package.
    """

    name: str
    format: str
    files: Mapping[str, Path]
    built_in: bool = False

    @property
    def folder(self) -> Path:
        """Folder of the files."""
        return next(iter(self.files.values())).parent

    def config(self) -> BiLMConfig:
        """Load the architecture; the weights are not read."""
        return MODEL_FORMATS[self.format].config(self.files)

    def options(self) -> Mapping[str, Any]:
        """Read the options, in the notation of the model's own project."""
        return MODEL_FORMATS[self.format].options(self.files)

    def load(self) -> BiLM:
        """Load the network.

        Returns:
            The network, in evaluation mode, without gradients.

        Raises:
            ModelError: A file cannot be used, or has changed since its hash was computed.
        """
        before = self._file_state
        bilm = MODEL_FORMATS[self.format].load(self.files)
        if _file_state(self.files) != before:
            raise ModelError(
                f"{self.folder}: its files have changed while this run read them; run the command "
                "again"
            )
        return bilm

    @cached_property
    def sha256(self) -> str:
        """Hash of the file of the weights; of several files, that of their concatenation."""
        _ = self._file_state  # recorded before the files are read
        return sha256(MODEL_FORMATS[self.format].weights(self.files))

    @cached_property
    def _file_state(self) -> list[tuple[int, ...]]:
        return _file_state(self.files)

    def metadata(self, start_state: str) -> dict[str, str]:
        """Return the metadata that features store about their model.

        Args:
            start_state: How sentences start, for example "zero".

        Returns:
            Metadata, strings by name.
        """
        return {
            "elmo_version": __version__,
            "model": self.name,
            "model_sha256": self.sha256,
            "options": json.dumps(self.options(), separators=(",", ":")),
            "start_state": start_state,
        }


def _file_state(files: Mapping[str, Path]) -> list[tuple[int, ...]]:
    """Return values that change when a file changes; reading reports a missing file."""
    states = [path.stat() for path in files.values() if path.exists()]
    return [(state.st_ino, state.st_size, state.st_mtime_ns) for state in states]


def find_in_folder(folder: Path, name: str | None = None, depth: int = MAX_DEPTH) -> ModelFiles:
    """Find the model in a folder, or in the only folder below it that contains one.

    Args:
        folder: Path of the folder.
        name: Name of the model; None: that of the folder.
        depth: Number of folder levels to search.

    Returns:
        The files of the model.

    Raises:
        ModelError: No model is found, or more than one.
    """
    found = detect_format(_names(folder, depth), str(folder))
    # A model in a folder below is named with it, so that messages and metadata say which it is
    below = "" if name else os.path.commonpath(map(os.path.dirname, found.files.values()))
    return _located("/".join(filter(None, (name or folder.resolve().name, below))), found, folder)


def find_in_archive(path: Path, cache: Cache, name: str | None = None) -> ModelFiles:
    """Find the model in a zip or tar archive, and unpack its files to the cache.

    An archive that has been unpacked is not unpacked again.

    Args:
        path: Path of the archive.
        cache: Folder of unpacked models.
        name: Name of the model; None: that of the archive.

    Returns:
        The files of the model.

    Raises:
        ModelError: The file is not an archive, or does not contain a model.
    """
    name = name or archives.stem(path)
    folder = cache.unpacked(path)
    with cache.raising_model_errors():
        if folder.is_dir():
            return find_in_folder(folder, name, MAX_UNPACKED_DEPTH)
    if not archives.is_archive(path):
        raise ModelError(
            f"{path}: is not a zip or tar archive; pass the folder of the model, or --options and "
            "--weights"
        )
    found = detect_format(archives.list_names(path), str(path))
    with cache.raising_model_errors():
        archives.unpack(path, found.files.values(), folder)
    return _located(name, found, folder)


def _located(name: str, found: DetectedFormat, folder: Path) -> ModelFiles:
    """Return the files of a detected model with their paths."""
    return ModelFiles(
        name, found.format, {role: folder / path for role, path in found.files.items()}
    )


def _names(folder: Path, depth: int = MAX_DEPTH) -> list[str]:
    """Return the paths of the files below a folder, relative, with /; hidden files are skipped."""
    names = []
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_file():
            names.append(path.name)
        elif depth > 1 and path.is_dir():
            names += [f"{path.name}/{below}" for below in _names(path, depth - 1)]
    return names

"""Where a model's files are, found in a folder or an archive; they become a loaded biLM."""

import json
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

MAX_DEPTH = 2  # a model lies in the folder that is named, or in one in it
MAX_UNPACKED_DEPTH = 20  # an archive keeps its own folders


@dataclass(frozen=True)
class ModelFiles:
    """Where a model lies, and what it is called in messages and metadata."""

    name: str
    format: str  # of CHECKPOINTS
    files: Mapping[str, Path]  # by their part in the format
    built_in: bool = False

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return next(iter(self.files.values())).parent

    def config(self) -> BiLMConfig:
        """The architecture; the weights are not touched."""
        return MODEL_FORMATS[self.format].config(self.files)

    def options(self) -> Mapping[str, Any]:
        """The architecture as the model's own project writes it."""
        return MODEL_FORMATS[self.format].options(self.files)

    def load(self) -> BiLM:
        """The network, ready to run.

        Raises:
            ModelError: A file cannot be used, or is another one than when it was hashed.
        """
        before = self._state
        bilm = MODEL_FORMATS[self.format].load(self.files)
        if _state(self.files) != before:
            raise ModelError(f"{self.folder}: its files have been changed while this run read them; run it again")
        return bilm

    @cached_property
    def sha256(self) -> str:
        """Hash of the file that the weights are loaded from, or of the several that make up a model, joined as by `cat`."""
        _ = self._state  # as it is before
        return sha256(MODEL_FORMATS[self.format].weights(self.files))

    @cached_property
    def _state(self) -> list[tuple[int, ...]]:
        return _state(self.files)

    def metadata(self, start_state: str) -> dict[str, str]:
        """What is told of features beside their values: the model that made them, and how."""
        return {
            "elmo_version": __version__,
            "model": self.name,
            "model_sha256": self.sha256,
            "options": json.dumps(self.options(), separators=(",", ":")),
            "start_state": start_state,
        }


def _state(files: Mapping[str, Path]) -> list[tuple[int, ...]]:
    """What changes when a file does; one that is missing is told of when it is read."""
    states = [path.stat() for path in files.values() if path.exists()]
    return [(state.st_ino, state.st_size, state.st_mtime_ns) for state in states]


def find_in_folder(folder: Path, name: str | None = None, depth: int = MAX_DEPTH) -> ModelFiles:
    """The model in a folder, or in the one folder below that holds one; `name` is what to call it, if not as its folder.

    Raises:
        ModelError: There is none, or more than one.
    """
    return _model(name or folder.resolve().name, detect_format(_names(folder, depth), str(folder)), folder)


def find_in_archive(path: Path, cache: Cache, name: str | None = None) -> ModelFiles:
    """The model in a zip or tar archive; the files it needs are unpacked to the cache, once.

    Raises:
        ModelError: The file is no archive, or holds no model.
    """
    name = name or archives.stem(path)
    folder = cache.unpacked(path)
    with cache.failing_as_model_error():
        if folder.is_dir():
            return find_in_folder(folder, name, MAX_UNPACKED_DEPTH)
    if not archives.is_archive(path):
        raise ModelError(f"{path}: is no zip or tar archive; pass the folder that holds the model's files, or --options and --weights")
    found = detect_format(archives.list_names(path), str(path))
    with cache.failing_as_model_error():
        archives.unpack(path, found.files.values(), folder)
    return _model(name, found, folder)


def _model(name: str, found: DetectedFormat, folder: Path) -> ModelFiles:
    """The model that was recognised among the names below a folder."""
    return ModelFiles(name, found.format, {part: folder / below for part, below in found.files.items()})


def _names(folder: Path, depth: int = MAX_DEPTH) -> list[str]:
    """The files in a folder and in those below it, relative, with /; hidden ones are passed over."""
    names = []
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_file():
            names.append(path.name)
        elif depth > 1 and path.is_dir():
            names += [f"{path.name}/{below}" for below in _names(path, depth - 1)]
    return names

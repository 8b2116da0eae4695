"""Models by name: a folder, an archive, a known name, a URL or a pair of files become a loaded biLM."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from elmo_cli import __version__, archives
from elmo_cli.bilm import BiLM, BiLMConfig
from elmo_cli.cache import Cache, sha256
from elmo_cli.checkpoints.formats import CHECKPOINTS, Recognised, recognise
from elmo_cli.errors import ModelError

MAX_DEPTH = 2  # a model lies in the folder that is named, or in one in it
MAX_UNPACKED_DEPTH = 20  # an archive keeps its own folders
BUILT_IN = "tiny"  # the default: a small English model for trying out, in the package
KNOWN = {BUILT_IN: Path(__file__).with_name("tiny")}


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
        return CHECKPOINTS[self.format].config(self.files)

    def options(self) -> Mapping[str, Any]:
        """The architecture as the model's own project writes it."""
        return CHECKPOINTS[self.format].options(self.files)

    def load(self) -> BiLM:
        """The network, ready to run."""
        return CHECKPOINTS[self.format].load(self.files)

    def weights(self) -> list[Path]:
        """The files that the model's sha256 is of: of one, or of several one after another."""
        return [self.files[part] for part in CHECKPOINTS[self.format].weights if part in self.files]

    def metadata(self, layers: str, start_state: str) -> dict[str, str]:
        """What is told of features beside their values: the model that made them, and how."""
        return {
            "elmo_version": __version__,
            "model": self.name,
            "model_sha256": sha256(self.weights()),
            "options": json.dumps(self.options(), separators=(",", ":")),
            "layers": layers,
            "dtype": "float32",
            "start_state": start_state,
        }


def find_model(name: str | None, options: Path | None = None, weights: Path | None = None, cache: Cache | None = None) -> ModelFiles:
    """The files of a model: a folder's, an archive's, a known one's, or two that are named.

    With nothing named it is the one that ELMO_MODEL names, or else the built-in one. `options` may stand beside the name of an
    AllenNLP archive that lacks them.

    Raises:
        ModelError: Too much is named, or what is named is not there.
    """
    if options is not None and weights is not None:
        if name is not None:
            raise ModelError("--model and --options/--weights name two models; give one of them")
        _check_files(options, weights)
        return ModelFiles(weights.stem, "allennlp", {"options": options, "weights": weights})
    if weights is not None or (options is not None and name is None):
        raise ModelError("--options and --weights go together; give both files, or --model FOLDER")
    if name is None:
        name = os.environ.get("ELMO_MODEL") or BUILT_IN
    model = _find_named(name, cache or Cache())
    if options is None:
        return model
    if model.format != "allennlp-archive":
        raise ModelError(f"--options stands beside --model only for an AllenNLP archive without options; {name} has its own")
    _check_files(options)
    return replace(model, files={**model.files, "options": options})


def _find_named(name: str, cache: Cache) -> ModelFiles:
    path = Path(name)
    if path.is_dir():
        return find_in_folder(path)
    if path.is_file():
        return find_in_archive(path, cache)
    if name in KNOWN:
        return replace(find_in_folder(KNOWN[name]), built_in=True)
    raise ModelError(f"{name}: no such model; pass a folder or archive that holds one, or {BUILT_IN}, the built-in model")


def _check_files(options: Path, weights: Path | None = None) -> None:
    for path, what in [(options, "options"), (weights, "weights")]:
        if path is not None and not path.is_file():
            raise ModelError(f"{path}: no such {what} file")


def find_in_folder(folder: Path, name: str | None = None, depth: int = MAX_DEPTH) -> ModelFiles:
    """The model in a folder, or in the one folder below that holds one; `name` is what to call it, if not as its folder.

    Raises:
        ModelError: There is none, or more than one.
    """
    return _model(name or folder.resolve().name, recognise(_names(folder, depth), str(folder)), folder)


def find_in_archive(path: Path, cache: Cache, name: str | None = None) -> ModelFiles:
    """The model in a zip or tar archive; the files it needs are unpacked to the cache, once.

    Raises:
        ModelError: The file is no archive, or holds no model.
    """
    name = name or archives.stem(path)
    folder = cache.unpacked(path)
    if folder.is_dir():
        return find_in_folder(folder, name, MAX_UNPACKED_DEPTH)
    if not archives.is_archive(path):
        raise ModelError(f"{path}: is no zip or tar archive; pass the folder that holds the model's files, or --options and --weights")
    found = recognise(archives.list_names(path), str(path))
    archives.unpack(path, found.files.values(), folder)
    return _model(name, found, folder)


def _model(name: str, found: Recognised, folder: Path) -> ModelFiles:
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

"""Models by name: a known name, a folder, or a pair of files become a loaded biLM."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from elmo_cli import __version__
from elmo_cli.bilm import BiLM, BiLMConfig
from elmo_cli.checkpoints.allennlp import load_bilm, load_config, read_options
from elmo_cli.errors import ModelError

HASH_BLOCK = 1 << 20
WEIGHTS_NAMES = ("weights.hdf5", "*weights*.hdf5", "*.hdf5")  # the first pattern that one file alone answers to


@dataclass(frozen=True)
class ModelFiles:
    """Where a model lies, and what it is called in messages and metadata."""

    name: str
    options: Path
    weights: Path

    def config(self) -> BiLMConfig:
        """The architecture; the weights are not touched."""
        return load_config(self.options)

    def load(self) -> BiLM:
        """The network, ready to run."""
        return load_bilm(self.options, self.weights)

    def sha256(self) -> str:
        """Hash of the weights file, hexadecimal."""
        digest = hashlib.sha256()
        with self.weights.open("rb") as file:
            while block := file.read(HASH_BLOCK):
                digest.update(block)
        return digest.hexdigest()

    def metadata(self) -> dict[str, str]:
        """What tells this model from any other, for the features made with it."""
        options = json.dumps(read_options(self.options), separators=(",", ":"))
        return {"elmo_version": __version__, "model": self.name, "model_sha256": self.sha256(), "options": options}


def find_model(name: str | None, options: Path | None, weights: Path | None) -> ModelFiles:
    """The files of a model, named by a folder or by its options and weights.

    Raises:
        ModelError: Nothing, or too much, is named, or what is named is not there.
    """
    if options is not None and weights is not None:
        if name is not None:
            raise ModelError("--model and --options/--weights name two models; give one of them")
        _check_files(options, weights)
        return ModelFiles(weights.stem, options, weights)
    if options is not None or weights is not None:
        raise ModelError("--options and --weights go together; give both files, or --model FOLDER")
    if name is None:
        raise ModelError("no model named; pass --model FOLDER, or --options FILE --weights FILE")
    return _find_in_folder(Path(name))


def _check_files(options: Path, weights: Path) -> None:
    for path, what in [(options, "options"), (weights, "weights")]:
        if not path.is_file():
            raise ModelError(f"{path}: no such {what} file")


def _find_in_folder(folder: Path) -> ModelFiles:
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such model; pass a folder that holds options.json and weights.hdf5")
    options = _only(folder, ("options.json", "*options*.json", "*.json"))
    weights = _only(folder, WEIGHTS_NAMES)
    if options is None or weights is None:
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:10]) or "nothing"
        raise ModelError(f"{folder}: no model found; looked for options.json and one *.hdf5, found {found}")
    return ModelFiles(folder.resolve().name, options, weights)


def _only(folder: Path, patterns: tuple[str, ...]) -> Path | None:
    for pattern in patterns:
        found = [path for path in folder.glob(pattern) if path.is_file()]
        if len(found) == 1:
            return found[0]
    return None

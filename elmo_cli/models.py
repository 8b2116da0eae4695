"""Models by name: a known name, a folder, or a pair of files become a loaded biLM."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

from elmo_cli import __version__
from elmo_cli.bilm import BiLM, BiLMConfig
from elmo_cli.checkpoints.allennlp import load_bilm
from elmo_cli.checkpoints.allennlp_options import load_config, read_options
from elmo_cli.errors import ModelError

HASH_BLOCK = 1 << 20
BUILT_IN = "tiny"  # the default: a small English model for trying out, in the package
KNOWN = {BUILT_IN: Path(__file__).with_name("tiny")}
WEIGHTS_NAMES = ("weights.hdf5", "*weights*.hdf5", "*.hdf5")  # the first pattern that one file alone answers to


@dataclass(frozen=True)
class ModelFiles:
    """Where a model lies, and what it is called in messages and metadata."""

    name: str
    options: Path
    weights: Path
    built_in: bool = False

    def config(self) -> BiLMConfig:
        """The architecture; the weights are not touched."""
        return load_config(self.options)

    def load(self) -> BiLM:
        """The network, ready to run."""
        return load_bilm(self.options, self.weights)

    def metadata(self, start_state: str) -> dict[str, str]:
        """What is told of features beside their values: the model that made them, and how."""
        return {
            "elmo_version": __version__,
            "model": self.name,
            "model_sha256": sha256(self.weights),
            "options": json.dumps(read_options(self.options), separators=(",", ":")),
            "start_state": start_state,
        }


def sha256(path: Path) -> str:
    """Hash of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def find_model(name: str | None, options: Path | None = None, weights: Path | None = None) -> ModelFiles:
    """The files of a model: a known one's, a folder's, or two that are named; with no name at all, the built-in model's.

    Raises:
        ModelError: Too much is named, or what is named is not there.
    """
    if options is not None and weights is not None:
        if name is not None:
            raise ModelError("--model and --options/--weights name two models; give one of them")
        _check_files(options, weights)
        return ModelFiles(weights.stem, options, weights)
    if options is not None or weights is not None:
        raise ModelError("--options and --weights go together; give both files, or --model FOLDER")
    if name is None or (name in KNOWN and not Path(name).is_dir()):
        return replace(_find_in_folder(KNOWN[name or BUILT_IN]), built_in=True)
    return _find_in_folder(Path(name))


def _check_files(options: Path, weights: Path) -> None:
    for path, what in [(options, "options"), (weights, "weights")]:
        if not path.is_file():
            raise ModelError(f"{path}: no such {what} file")


def _find_in_folder(folder: Path) -> ModelFiles:
    if not folder.is_dir():
        raise ModelError(
            f"{folder}: no such model; pass a folder that holds options.json and weights.hdf5, or {BUILT_IN}, the built-in model"
        )
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

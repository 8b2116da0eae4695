"""The formats of models, and which of them a folder or an archive holds: told by the names in it alone."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from elmo_cli.errors import ModelError
from elmo_cli.models.formats import allennlp_archive, elmoformanylangs
from elmo_cli.models.formats import bilm_tf as allennlp
from elmo_cli.models.formats import options_json as allennlp_options
from elmo_cli.nn.bilm import BiLM, BiLMConfig

Files = Mapping[str, Path]  # a model's files by their part in it
MAX_SHOWN = 10


class ModelFormat(NamedTuple):
    """How a model of one format is found among names, and read from its files."""

    looked_for: str
    find: Callable[[Collection[str]], dict[str, str] | None]  # part -> name, among the names of one folder and below
    weights: Callable[[Files], list[Path]]  # what a model's sha256 is of, one after another
    options: Callable[[Files], Mapping[str, Any]]  # as the model's own project writes them
    config: Callable[[Files], BiLMConfig]
    load: Callable[[Files], BiLM]


MODEL_FORMATS = {
    "elmoformanylangs": ModelFormat(
        elmoformanylangs.LOOKED_FOR,
        elmoformanylangs.find,
        lambda files: [files[part] for part in elmoformanylangs.WEIGHTS if part in files],
        elmoformanylangs.read_architecture,
        elmoformanylangs.load_config,
        elmoformanylangs.load_bilm,
    ),
    "allennlp-archive": ModelFormat(
        allennlp_archive.LOOKED_FOR,
        allennlp_archive.find,
        allennlp_archive.find_weights,
        allennlp_archive.read_archived_options,
        allennlp_archive.load_config,
        allennlp_archive.load_bilm,
    ),
    "allennlp": ModelFormat(
        allennlp.LOOKED_FOR,
        allennlp.find,
        lambda files: [files["weights"]],
        lambda files: allennlp_options.read_options(files["options"]),
        lambda files: allennlp_options.load_config(files["options"]),
        lambda files: allennlp.load_bilm(files["options"], files["weights"]),
    ),
}


class DetectedFormat(NamedTuple):
    """A model found among names."""

    format: str
    files: dict[str, str]  # part -> name


def detect_format(names: Collection[str], place: str) -> DetectedFormat:
    """The model among the names of a folder or archive (relative, with /): at its root, or else in the one folder that holds one.

    Raises:
        ModelError: There is none, or several; the message begins with `place`.
    """
    folders = defaultdict(list)
    for name in names:
        parts = name.split("/")
        for depth in range(len(parts)):
            folders["/".join(parts[:depth])].append("/".join(parts[depth:]))
    for depth in sorted({_depth(folder) for folder in folders}):
        found = {folder: model for folder in sorted(folders) if _depth(folder) == depth and (model := _recognise_here(folders[folder]))}
        if len(found) > 1:
            raise ModelError(f"{place}: holds several models ({', '.join(list(found)[:MAX_SHOWN])}); pass one of these folders")
        for folder, model in found.items():
            below = f"{folder}/" if folder else ""
            return DetectedFormat(model.format, {part: below + name for part, name in model.files.items()})
    looked_for = ", or ".join(checkpoint.looked_for for checkpoint in reversed(MODEL_FORMATS.values()))
    shown = sorted(names)[:MAX_SHOWN]
    more = f" and {len(names) - len(shown):,} more" if len(names) > len(shown) else ""
    raise ModelError(f"{place}: no model found; looked for {looked_for}; found {', '.join(shown) or 'nothing'}{more}")


def _depth(folder: str) -> int:
    return folder.count("/") + 1 if folder else 0


def _recognise_here(names: Collection[str]) -> DetectedFormat | None:
    for format_, checkpoint in MODEL_FORMATS.items():
        files = checkpoint.find(names)
        if files is not None:
            return DetectedFormat(format_, files)
    return None

"""Table of model formats, and their detection from the file names of a folder or archive."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from elmo_cli.errors import ModelError
from elmo_cli.models.formats import allennlp_archive, elmoformanylangs
from elmo_cli.models.formats import bilm_tf as allennlp
from elmo_cli.models.formats import options_json as allennlp_options
from elmo_cli.nn.bilm import BiLM, BiLMConfig

Files = Mapping[str, Path]  # path of each file by its role in the format
MAX_SHOWN = 10


class ModelFormat(NamedTuple):
    """Functions that find the files of one model format and read them.

    Attributes:
        looked_for: File names that identify the format, for messages.
        find: Returns the file name of each role among the names of a folder, or None.
        weights: Returns the files that the sha256 of a model covers, in order.
        options: Returns the options in the notation of the model's own project.
        config: Returns the architecture.
        load: Returns the network.
    """

    looked_for: str
    find: Callable[[Collection[str]], dict[str, str] | None]
    weights: Callable[[Files], list[Path]]
    options: Callable[[Files], Mapping[str, Any]]
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
    """Format of a model, and its files."""

    format: str
    files: dict[str, str]  # file name by role


def detect_format(names: Collection[str], place: str) -> DetectedFormat:
    """Detect the model among the file names of a folder or archive.

    The model is at the root, or else in the only folder that contains one.

    Args:
        names: Paths relative to the folder or archive, with /.
        place: Path of the folder or archive, for messages.

    Returns:
        The format and its files.

    Raises:
        ModelError: No model is found, or more than one.
    """
    folders = defaultdict(list)
    for name in names:
        parts = name.split("/")
        for depth in range(len(parts)):
            folders["/".join(parts[:depth])].append("/".join(parts[depth:]))
    for depth in sorted({_depth(folder) for folder in folders}):
        found = {
            folder: model
            for folder in sorted(folders)
            if _depth(folder) == depth and (model := _detect_here(folders[folder]))
        }
        if len(found) > 1:
            raise ModelError(
                f"{place}: contains several models ({', '.join(list(found)[:MAX_SHOWN])}); pass "
                "one of these folders"
            )
        for folder, model in found.items():
            below = f"{folder}/" if folder else ""
            return DetectedFormat(
                model.format, {part: below + name for part, name in model.files.items()}
            )
    looked_for = ", or ".join(
        model_format.looked_for for model_format in reversed(MODEL_FORMATS.values())
    )
    shown = sorted(names)[:MAX_SHOWN]
    more = f" and {len(names) - len(shown):,} more" if len(names) > len(shown) else ""
    raise ModelError(
        f"{place}: no model found; looked for {looked_for}; found "
        f"{', '.join(shown) or 'nothing'}{more}"
    )


def _depth(folder: str) -> int:
    return folder.count("/") + 1 if folder else 0


def _detect_here(names: Collection[str]) -> DetectedFormat | None:
    for format_, model_format in MODEL_FORMATS.items():
        files = model_format.find(names)
        if files is not None:
            return DetectedFormat(format_, files)
    return None

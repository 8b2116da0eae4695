"""Files of a training run: checkpoints for exact resumption, and the model folder.

Every file is written atomically.
"""

import json
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError  # the error alone: nothing is unpickled
from typing import Any, NamedTuple

import h5py
import torch
from torch import Tensor

from elmo_cli.errors import ModelError
from elmo_cli.io.atomic import atomic_write, check_disk_space, writing_errors
from elmo_cli.models.formats.bilm_tf import save_bilm
from elmo_cli.models.formats.hdf5_tensors import check_tensor, own_tensors, read_tensor
from elmo_cli.models.formats.options_json import to_options
from elmo_cli.training.language_model import LanguageModel
from elmo_cli.training.softmax import Softmax
from elmo_cli.training.vocabulary import read_vocabulary, write_vocabulary

WORK = ".training"  # in the model folder during a run: encoded corpus and checkpoint
CHECKPOINT = "checkpoint.pt"
SOFTMAX = "softmax.hdf5"
MAKE_ROOM = "free some space"  # the command appends how to continue
RESERVE = 1.1  # factor on the expected size of a file


class Checkpoint(NamedTuple):
    """State of a run at a step."""

    step: int
    seconds: float
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    hidden: Tensor
    cell: Tensor


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in place of the previous one.

    Args:
        folder: Model folder.
        checkpoint: State of the run.

    Raises:
        DiskError: The disk is full or not writable; a previous checkpoint is intact.
    """
    path = folder / WORK / CHECKPOINT
    numbers = sum(tensor.numel() for tensor in checkpoint.model.values())
    check_disk_space(path, RESERVE * 12 * numbers, MAKE_ROOM)  # weights and two moments, float32

    def write(partial: Path) -> None:
        with partial.open("wb") as file:
            torch.save(checkpoint._asdict(), file)

    replace_file(path, write)


def load_checkpoint(folder: Path) -> Checkpoint:
    """Load the checkpoint of a run.

    Args:
        folder: Model folder.

    Returns:
        State of the run.

    Raises:
        ModelError: There is no checkpoint, or it is damaged.
    """
    path = folder / WORK / CHECKPOINT
    if not path.is_file():
        is_complete = (folder / "weights.hdf5").is_file()
        hint = " (its run is complete; to train it further, use --from)" if is_complete else ""
        raise ModelError(f"{folder}: has no checkpoint to resume from{hint}")
    try:
        return Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
    except (
        OSError,
        RuntimeError,
        EOFError,
        TypeError,
        ValueError,
        KeyError,
        UnpicklingError,
    ) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"{path}: not a complete checkpoint ({reason}); start a new run") from None


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file atomically in place of a previous one.

    Args:
        path: Path of the file.
        write: Function that writes the file at the path it gets.

    Raises:
        DiskError: The file cannot be written; a previous one is intact.
    """
    kept = "the previous file is intact; " if path.exists() else ""
    # h5py and PyTorch raise RuntimeError for a full disk
    with writing_errors(path, f"{kept}{MAKE_ROOM}", also=(RuntimeError,)):
        atomic_write(path, write)


def export_model(
    folder: Path, model: LanguageModel, words: list[str], facts: dict[str, Any], dtype: str
) -> None:
    """Write options.json, weights.hdf5, vocab.txt and softmax.hdf5.

    Args:
        folder: Model folder.
        model: The model.
        words: Vocabulary of the softmax.
        facts: Further values of options.json, which describe the training.
        dtype: Type of the tensors, "float32" or "float16".

    Raises:
        OutputError: The files cannot be written.
    """
    n_bytes = {"float16": 2, "float32": 4}[dtype] * sum(
        parameter.numel() for parameter in model.parameters()
    )
    check_disk_space(folder / "weights.hdf5", RESERVE * n_bytes, MAKE_ROOM)
    replace_file(folder / "vocab.txt", lambda path: write_vocabulary(words, path))
    replace_file(folder / SOFTMAX, lambda path: _save_softmax(model.softmax, path, dtype))
    options = json.dumps({**to_options(model.bilm.config), **facts}, indent=2) + "\n"
    replace_file(
        folder / "weights.hdf5",
        lambda path: save_bilm(model.bilm, folder / WORK / "options.json", path, dtype),
    )
    replace_file(folder / "options.json", lambda path: _write_text(path, options))


def load_softmax(folder: Path, dim: int) -> tuple[Softmax, list[str]]:
    """Load the softmax of a model folder.

    Args:
        folder: Model folder.
        dim: Dimension of the softmax's input.

    Returns:
        The softmax and its vocabulary.

    Raises:
        ModelError: A file is missing or damaged, or they do not fit each other or the model.
    """
    path, words = folder / SOFTMAX, folder / "vocab.txt"
    if not path.is_file() or not words.is_file():
        raise ModelError(
            f"{folder}: lacks {path.name if words.is_file() else words.name}; perplexity needs "
            "the softmax, which elmo train writes and published models do not include"
        )
    vocabulary = read_vocabulary(words)
    shapes = {"softmax/W": (len(vocabulary), dim), "softmax/b": (len(vocabulary),)}
    try:
        with h5py.File(path, "r") as file:
            tensors = own_tensors(file)
            for name, shape in shapes.items():
                check_tensor(tensors, name, shape, path, f"the model with {words.name}")
            weight, bias = (read_tensor(tensors[name]) for name in shapes)
    except (OSError, RuntimeError, KeyError, ValueError) as error:  # h5py's for a damaged file
        raise ModelError(
            f"{path}: not a readable softmax ({error}); check that the file is complete"
        ) from None
    softmax = Softmax(*weight.shape)
    softmax.load_state_dict({"weight": weight, "bias": bias}, strict=True, assign=True)
    return softmax, vocabulary


def _save_softmax(softmax: Softmax, path: Path, dtype: str) -> None:
    with h5py.File(path, "w") as file:
        file["softmax/W"] = softmax.weight.detach().cpu().numpy().astype(dtype)
        file["softmax/b"] = softmax.bias.detach().cpu().numpy().astype(dtype)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")

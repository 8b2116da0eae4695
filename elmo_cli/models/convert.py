"""Conversion of models to the published format, which AllenNLP and bilm-tf read."""

from pathlib import Path

import torch

from elmo_cli.errors import ModelError, OutputError
from elmo_cli.io.atomic import atomic_folder, writing_errors
from elmo_cli.models.files import ModelFiles
from elmo_cli.models.formats.bilm_tf import save_bilm
from elmo_cli.nn.bilm import BiLM
from elmo_cli.nn.token_encoders import CharacterEncoder


def convert_model(model: ModelFiles, folder: Path, dtype: str = "float32") -> None:
    """Write a model into a new folder as `options.json` and `weights.hdf5`.

    The folder appears complete or not at all. The network is the same within one rounding of its
    forget biases, which the format stores less 1.

    Args:
        model: The model.
        folder: Path of the folder, which must not exist.
        dtype: Type of the tensors, "float32" or "float16".

    Raises:
        ModelError: The format cannot represent the model.
        OutputError: The folder exists, or cannot be written.
    """
    if folder.exists():
        raise OutputError(f"{folder}: exists already; choose a new folder")
    write_model(model.load(), model.name, folder, dtype)


def write_model(bilm: BiLM, name: str, folder: Path, dtype: str = "float32") -> None:
    """Write a network into a new folder in the published format, as `convert_model` does.

    Args:
        bilm: The network.
        name: Name of the model in messages.
        folder: Path of the folder, which must not exist.
        dtype: Type of the tensors, "float32" or "float16".

    Raises:
        ModelError: The format cannot represent the network.
        OutputError: The folder exists, or cannot be written.
    """
    if folder.exists():
        raise OutputError(f"{folder}: exists already; choose a new folder")
    _check_fits(bilm, name, dtype)
    with writing_errors(folder), atomic_folder(folder) as partial:
        save_bilm(bilm, partial / "options.json", partial / "weights.hdf5", dtype)


def _check_fits(bilm: BiLM, name: str, dtype: str) -> None:
    if not isinstance(bilm.character_encoder, CharacterEncoder):
        raise ModelError(
            f"{name}: a model of ELMoForManyLangs has word vectors and a table of code points, "
            "which the published format cannot represent"
        )
    largest = max(float(parameter.detach().abs().max()) for parameter in bilm.parameters())
    if largest > torch.finfo(getattr(torch, dtype)).max:
        raise ModelError(
            f"{name}: has the value {largest:g}, which is too large for {dtype}; leave out "
            "--float16"
        )

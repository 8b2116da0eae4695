"""Format of bilm-tf and AllenNLP: `options.json` beside an HDF5 file of weights.

The models of Peters et al. (2018) are published in it. Names and layouts of the tensors are those
of bilm-tf (`dump_weights`), and therefore TensorFlow's: (in, out) instead of PyTorch's (out, in),
gates in the order i, j, f, o, no forget bias of 1, and a character table without the row for masked
positions.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import h5py
import torch
from torch import Tensor

from elmo_cli.errors import ModelError
from elmo_cli.models.formats.hdf5_tensors import (
    SAME,
    TRANSPOSED,
    Layout,
    check_tensor,
    own_tensors,
    read_tensor,
)
from elmo_cli.models.formats.options_json import load_config, to_options
from elmo_cli.models.formats.state_dict import load_parameters
from elmo_cli.nn.bilm import DIRECTIONS, BiLM, BiLMConfig

LOOKED_FOR = "options.json and one *.hdf5"
# The first pattern that matches exactly one file is used; bio_embeddings stores SeqVec's files
# without a suffix.
OPTIONS_NAMES = ("options.json", "*options*.json", "options_file", "*.json")
WEIGHTS_NAMES = ("weights.hdf5", "model.hdf5", "*weights*.hdf5", "*.hdf5", "weights_file")
FORGET_BIAS = 1.0  # added by TensorFlow's LSTMCell at run time; not stored in the file


class TensorTarget(NamedTuple):
    """Destination of one tensor of the file: a parameter of the network and its layout."""

    parameter: str
    layout: Layout


CONVOLUTION = Layout(  # (1, width, in, out) in the file, (out, in, width) here
    lambda tensor: tensor[0].permute(2, 1, 0).contiguous(),
    lambda parameter: parameter.permute(2, 1, 0)[None],
)
CHARACTER_TABLE = Layout(
    lambda tensor: torch.cat([tensor.new_zeros(1, tensor.shape[1]), tensor]),
    lambda parameter: parameter[1:],
)
LSTM_BIAS = Layout(
    lambda tensor: _add_to_forget_gate(tensor, FORGET_BIAS),
    lambda parameter: _add_to_forget_gate(parameter, -FORGET_BIAS),
)


def find(names: Collection[str]) -> dict[str, str] | None:
    """Return the options and weights files among file names, or None.

    Args:
        names: Paths relative to the folder or archive, with /.

    Returns:
        Path of each file by its role ("options", "weights"), or None if one is not found.
    """
    options, weights = _unique_match(names, OPTIONS_NAMES), _unique_match(names, WEIGHTS_NAMES)
    return {"options": options, "weights": weights} if options and weights else None


def _unique_match(names: Collection[str], patterns: tuple[str, ...]) -> str | None:
    for pattern in patterns:
        found = [name for name in names if "/" not in name and fnmatchcase(name, pattern)]
        if len(found) == 1:
            return found[0]
    return None


def load_bilm(options: Path, weights: Path) -> BiLM:
    """Load the network that `options` describes from `weights`; float16 and float64 become float32.

    Args:
        options: Path of the options file.
        weights: Path of the HDF5 file.

    Returns:
        The network, float32, in evaluation mode, without gradients.

    Raises:
        ModelError: A file cannot be read, or a tensor is missing, unexpected or of another shape
            than the options require.
    """
    config = load_config(options)
    try:
        with h5py.File(weights, "r") as file:
            tensors = own_tensors(file)
            config = _with_stored_projections(config, tensors)
            with torch.device("meta"):  # shapes only: no memory is allocated or initialized
                bilm = BiLM(config)
            targets = tensor_targets(config, one_cell=_has_one_cell(tensors))
            _check(bilm, targets, tensors, options, weights)
            parameters = {
                target.parameter: read_tensor(tensors[name], target.layout)
                for name, target in targets.items()
            }
    except FileNotFoundError:
        raise ModelError(f"{weights}: no such weights file; check its path") from None
    except (OSError, RuntimeError, KeyError, ValueError) as error:  # h5py's for a damaged file
        raise ModelError(
            f"{weights}: not a readable HDF5 file of weights ({error}); check that it is complete"
        ) from None
    return load_parameters(bilm, parameters)


def save_bilm(bilm: BiLM, options: Path, weights: Path, dtype: str = "float32") -> None:
    """Write a network in this format.

    Biases of the LSTMs are always float32: AllenNLP adds 1 to the forget gate's bias in the
    precision of the file, which changes its vectors by 1e-4 if that is float16.

    Args:
        bilm: The network.
        options: Path of the options file to write.
        weights: Path of the HDF5 file to write.
        dtype: Type of the other tensors, "float32" or "float16".
    """
    options.write_text(json.dumps(to_options(bilm.config), indent=2) + "\n", encoding="utf-8")
    parameters = bilm.state_dict()
    with h5py.File(weights, "w") as file:
        for name, (parameter, layout) in tensor_targets(bilm.config).items():
            values = layout.to_file(parameters[parameter].float().cpu()).numpy()
            file[name] = values if layout is LSTM_BIAS else values.astype(dtype)


def tensor_targets(config: BiLMConfig, *, one_cell: bool = False) -> dict[str, TensorTarget]:
    """Return the destination of every tensor of the file, by its name there.

    Args:
        config: Architecture of the network.
        one_cell: Whether the LSTMs are named as TensorFlow names those of a network with one layer.

    Returns:
        Parameter and layout of each tensor.
    """
    targets = {"char_embed": TensorTarget("character_encoder.characters.weight", CHARACTER_TABLE)}
    for i in range(len(config.filters)):
        targets[f"CNN/W_cnn_{i}"] = TensorTarget(
            f"character_encoder.convolutions.{i}.weight", CONVOLUTION
        )
        targets[f"CNN/b_cnn_{i}"] = TensorTarget(f"character_encoder.convolutions.{i}.bias", SAME)
    for k in range(config.n_highway):
        for ours, theirs in [("gate", "carry"), ("transform", "transform")]:
            targets[f"CNN_high_{k}/W_{theirs}"] = TensorTarget(
                f"character_encoder.highways.{k}.{ours}.weight", TRANSPOSED
            )
            targets[f"CNN_high_{k}/b_{theirs}"] = TensorTarget(
                f"character_encoder.highways.{k}.{ours}.bias", SAME
            )
    if config.project_characters:
        targets["CNN_proj/W_proj"] = TensorTarget("character_encoder.projection.weight", TRANSPOSED)
        targets["CNN_proj/b_proj"] = TensorTarget("character_encoder.projection.bias", SAME)
    for direction in range(DIRECTIONS):
        for layer in range(config.n_layers):
            cell = f"RNN_{direction}/RNN/" + (
                "LSTMCell" if one_cell else f"MultiRNNCell/Cell{layer}/LSTMCell"
            )
            targets[f"{cell}/W_0"] = TensorTarget(
                f"directions.{direction}.{layer}.weight", TRANSPOSED
            )
            targets[f"{cell}/B"] = TensorTarget(f"directions.{direction}.{layer}.bias", LSTM_BIAS)
            if config.project_cell:
                targets[f"{cell}/W_P_0"] = TensorTarget(
                    f"directions.{direction}.{layer}.projection", TRANSPOSED
                )
    return targets


def _with_stored_projections(config: BiLMConfig, tensors: Mapping[str, h5py.Dataset]) -> BiLMConfig:
    """Return the config with the projections that the file has.

    If a projection would keep the width, bilm-tf writes none and AllenNLP requires one.
    """
    return replace(
        config,
        project_characters=config.project_characters or "CNN_proj/W_proj" in tensors,
        project_cell=config.project_cell or any(name.endswith("/W_P_0") for name in tensors),
    )


def _has_one_cell(tensors: Mapping[str, h5py.Dataset]) -> bool:
    return "RNN_0/RNN/LSTMCell/W_0" in tensors  # bilm-tf, n_layers 1


def _check(
    bilm: BiLM,
    targets: Mapping[str, TensorTarget],
    tensors: Mapping[str, h5py.Dataset],
    options: Path,
    weights: Path,
) -> None:
    parameters = dict(bilm.named_parameters())
    zero = torch.zeros(1)  # operations on the "meta" device import modules for about a second
    for name, (parameter, layout) in targets.items():
        expected = tuple(layout.to_file(zero.expand(parameters[parameter].shape)).shape)
        check_tensor(tensors, name, expected, weights, str(options))
    unexpected = sorted(tensors.keys() - targets.keys())
    if unexpected:
        name = unexpected[0]
        more = f" (and {len(unexpected) - 1} more)" if len(unexpected) > 1 else ""
        raise ModelError(
            f"{weights}: has a tensor {name} of shape {tensors[name].shape}{more}, which {options} "
            "does not describe"
        )


def _add_to_forget_gate(bias: Tensor, amount: float) -> Tensor:
    i, j, f, o = bias.chunk(4)
    return torch.cat([i, j, f + amount, o])

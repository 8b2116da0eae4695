"""The format of bilm-tf and AllenNLP: `options.json` beside an HDF5 file of weights (Peters et al. 2018's published models).

Names and layouts of the tensors are bilm-tf's (`dump_weights`): TensorFlow's, so (in, out) where PyTorch has (out, in), gates in
the order i, j, f, o, no forget bias of 1, and a table of characters without the row that masks.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch
from torch import Tensor

from elmo_cli.errors import ModelError
from elmo_cli.io.hdf5 import find_unstored
from elmo_cli.models.formats.options_json import load_config, to_options
from elmo_cli.nn.bilm import DIRECTIONS, BiLM, BiLMConfig

LOOKED_FOR = "options.json and one *.hdf5"
# The first pattern that one file alone answers to; bio_embeddings keeps SeqVec's without a suffix.
OPTIONS_NAMES = ("options.json", "*options*.json", "options_file", "*.json")
WEIGHTS_NAMES = ("weights.hdf5", "model.hdf5", "*weights*.hdf5", "*.hdf5", "weights_file")
ROWS_TURNED = 16  # together: their part of a column is a cache line
FORGET_BIAS = 1.0  # TensorFlow's LSTMCell adds it when it runs; it is not in the file


class Layout(NamedTuple):
    """How a tensor of the file and a parameter of the network hold the same numbers."""

    to_parameter: Callable[[Tensor], Tensor]
    to_file: Callable[[Tensor], Tensor]


class Entry(NamedTuple):
    """One tensor of the file: the parameter it fills, and how."""

    parameter: str
    layout: Layout


SAME = Layout(lambda tensor: tensor, lambda parameter: parameter)
TRANSPOSED = Layout(lambda tensor: tensor.T.contiguous(), lambda parameter: parameter.T)
CONVOLUTION = Layout(  # (1, width, in, out) in the file, (out, in, width) here
    lambda tensor: tensor[0].permute(2, 1, 0).contiguous(), lambda parameter: parameter.permute(2, 1, 0)[None]
)
CHARACTER_TABLE = Layout(lambda tensor: torch.cat([tensor.new_zeros(1, tensor.shape[1]), tensor]), lambda parameter: parameter[1:])
LSTM_BIAS = Layout(lambda tensor: _add_to_forget_gate(tensor, FORGET_BIAS), lambda parameter: _add_to_forget_gate(parameter, -FORGET_BIAS))


def find(names: Collection[str]) -> dict[str, str] | None:
    """The files of such a model among these names, or None."""
    options, weights = _only(names, OPTIONS_NAMES), _only(names, WEIGHTS_NAMES)
    return {"options": options, "weights": weights} if options and weights else None


def _only(names: Collection[str], patterns: tuple[str, ...]) -> str | None:
    for pattern in patterns:
        found = [name for name in names if "/" not in name and fnmatchcase(name, pattern)]
        if len(found) == 1:
            return found[0]
    return None


def load_bilm(options: Path, weights: Path) -> BiLM:
    """Build the network that `options` describes and fill it from `weights`, strictly; float16 and float64 files become float32.

    Raises:
        ModelError: Either file cannot be read, or a tensor is missing, left over or of another shape than the options ask for.
    """
    config = load_config(options)
    try:
        with h5py.File(weights, "r") as file:
            tensors = own_tensors(file)
            config = _settle_projections(config, tensors)
            with torch.device("meta"):  # shapes only: nothing is allocated, let alone initialised
                bilm = BiLM(config)
            entries = tensor_names(config, one_cell=_is_one_cell(tensors))
            _check(bilm, entries, tensors, options, weights)
            parameters = {entry.parameter: read_tensor(tensors[name], entry.layout) for name, entry in entries.items()}
    except FileNotFoundError:
        raise ModelError(f"{weights}: no such weights file; check its path") from None
    except (OSError, RuntimeError, KeyError, ValueError) as error:  # h5py's for a damaged file
        raise ModelError(f"{weights}: not a readable HDF5 file of weights ({error}); check that it is whole") from None
    bilm.load_state_dict(parameters, strict=True, assign=True)
    return bilm.eval().requires_grad_(False)


def save_bilm(bilm: BiLM, options: Path, weights: Path, dtype: str = "float32") -> None:
    """Write the network in this format, its tensors as `dtype` ("float32" or "float16").

    The LSTMs' biases are float32 always: AllenNLP adds 1 to the forget gate's in the file's own precision, which moved its vectors by 1e-4.
    """
    options.write_text(json.dumps(to_options(bilm.config), indent=2) + "\n", encoding="utf-8")
    parameters = bilm.state_dict()
    with h5py.File(weights, "w") as file:
        for name, (parameter, layout) in tensor_names(bilm.config).items():
            values = layout.to_file(parameters[parameter].float().cpu()).numpy()
            file[name] = values if layout is LSTM_BIAS else values.astype(dtype)


def tensor_names(config: BiLMConfig, *, one_cell: bool = False) -> dict[str, Entry]:
    """Every tensor of the file. `one_cell`: the LSTMs are named as TensorFlow names a single layer's."""
    entries = {"char_embed": Entry("character_encoder.characters.weight", CHARACTER_TABLE)}
    for i in range(len(config.filters)):
        entries[f"CNN/W_cnn_{i}"] = Entry(f"character_encoder.convolutions.{i}.weight", CONVOLUTION)
        entries[f"CNN/b_cnn_{i}"] = Entry(f"character_encoder.convolutions.{i}.bias", SAME)
    for k in range(config.n_highway):
        for ours, theirs in [("gate", "carry"), ("transform", "transform")]:
            entries[f"CNN_high_{k}/W_{theirs}"] = Entry(f"character_encoder.highways.{k}.{ours}.weight", TRANSPOSED)
            entries[f"CNN_high_{k}/b_{theirs}"] = Entry(f"character_encoder.highways.{k}.{ours}.bias", SAME)
    if config.project_characters:
        entries["CNN_proj/W_proj"] = Entry("character_encoder.projection.weight", TRANSPOSED)
        entries["CNN_proj/b_proj"] = Entry("character_encoder.projection.bias", SAME)
    for direction in range(DIRECTIONS):
        for layer in range(config.n_layers):
            cell = f"RNN_{direction}/RNN/" + ("LSTMCell" if one_cell else f"MultiRNNCell/Cell{layer}/LSTMCell")
            entries[f"{cell}/W_0"] = Entry(f"directions.{direction}.{layer}.weight", TRANSPOSED)
            entries[f"{cell}/B"] = Entry(f"directions.{direction}.{layer}.bias", LSTM_BIAS)
            if config.project_cell:
                entries[f"{cell}/W_P_0"] = Entry(f"directions.{direction}.{layer}.projection", TRANSPOSED)
    return entries


def own_tensors(file: h5py.File) -> dict[str, h5py.Dataset]:
    """The file's own data sets by name; links that lead elsewhere are not followed."""
    found: dict[str, h5py.Dataset] = {}
    file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    return found


def _settle_projections(config: BiLMConfig, tensors: Mapping[str, h5py.Dataset]) -> BiLMConfig:
    """Where a projection would change no width, bilm-tf writes none and AllenNLP wants one: the file decides."""
    return replace(
        config,
        project_characters=config.project_characters or "CNN_proj/W_proj" in tensors,
        project_cell=config.project_cell or any(name.endswith("/W_P_0") for name in tensors),
    )


def _is_one_cell(tensors: Mapping[str, h5py.Dataset]) -> bool:
    return "RNN_0/RNN/LSTMCell/W_0" in tensors  # bilm-tf, n_layers 1


def _check(bilm: BiLM, entries: Mapping[str, Entry], tensors: Mapping[str, h5py.Dataset], options: Path, weights: Path) -> None:
    parameters, nothing = dict(bilm.named_parameters()), torch.zeros(1)  # arithmetic on "meta" would import a second's worth of torch
    for name, (parameter, layout) in entries.items():
        expected = tuple(layout.to_file(nothing.expand(parameters[parameter].shape)).shape)
        check_tensor(tensors, name, expected, weights, str(options))
    left_over = sorted(tensors.keys() - entries.keys())
    if left_over:
        name = left_over[0]
        more = f" (and {len(left_over) - 1} more)" if len(left_over) > 1 else ""
        raise ModelError(f"{weights}: has a tensor {name} of shape {tensors[name].shape}{more} that {options} does not describe")


def check_tensor(tensors: Mapping[str, h5py.Dataset], name: str, expected: tuple[int, ...], weights: Path, asked_by: str) -> None:
    """Make sure that a file stores a tensor of this shape, before any of it is read.

    Raises:
        ModelError: It does not.
    """
    if name not in tensors:
        raise ModelError(f"{weights}: lacks the tensor {name} of shape {expected} that {asked_by} asks for")
    tensor = tensors[name]
    if tensor.shape != expected:
        raise ModelError(f"{weights}: {name} has shape {tensor.shape}, but {asked_by} asks for {expected}")
    if tensor.dtype.kind != "f":
        raise ModelError(f"{weights}: {name} holds {tensor.dtype}, not floating-point numbers")
    problem = find_unstored(tensor, weights.stat().st_size)
    if problem:
        raise ModelError(f"{weights}: {name} {problem}")


def read_tensor(tensor: h5py.Dataset, layout: Layout = SAME) -> Tensor:
    """The numbers of a checked data set, float32.

    Raises:
        ModelError: Some are NaN or infinite.
    """
    values = _read_transposed(tensor) if layout is TRANSPOSED and tensor.chunks is None else layout.to_parameter(_read_rows(tensor))
    lowest, highest = torch.aminmax(values)  # of what is no number, both are none
    if not torch.isfinite(lowest + highest):
        raise ModelError(f"{tensor.file.filename}: {tensor.name.lstrip('/')} holds values that are no numbers (NaN or infinite)")
    return values


def _read_rows(tensor: h5py.Dataset, rows: slice = slice(None)) -> Tensor:
    values = np.empty((len(range(*rows.indices(len(tensor)))), *tensor.shape[1:]), dtype=np.float32)
    tensor.read_direct(values, rows)
    return torch.from_numpy(values)


def _read_transposed(tensor: h5py.Dataset) -> Tensor:
    """A matrix turned while it is read: no second copy, and hardly slower."""
    n_rows, n_columns = tensor.shape
    values = torch.empty(n_columns, n_rows)
    for start in range(0, n_rows, ROWS_TURNED):
        rows = slice(start, start + ROWS_TURNED)
        values[:, rows] = _read_rows(tensor, rows).T
    return values


def _add_to_forget_gate(bias: Tensor, amount: float) -> Tensor:
    i, j, f, o = bias.chunk(4)
    return torch.cat([i, j, f + amount, o])

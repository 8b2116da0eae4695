"""The format of bilm-tf and AllenNLP: `options.json` beside an HDF5 file of weights (Peters et al. 2018's published models).

Names and layouts of the tensors are bilm-tf's (`dump_weights`): TensorFlow's, so (in, out) where PyTorch has (out, in), gates in
the order i, j, f, o, no forget bias of 1, and a table of characters without the row that masks.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
from torch import Tensor

from elmo_cli.bilm import ACTIVATIONS, DIRECTIONS, BiLM, BiLMConfig
from elmo_cli.characters import DEFAULT_MAX_CHARACTERS
from elmo_cli.errors import ModelError

MAX_SIZE, MAX_DEPTH, MAX_CLIP = 1 << 20, 64, 1e30  # above them an options file is nonsense, or hostile
MAX_COMPRESSION = 1100  # deflate reaches 1032 : 1
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


def load_config(options: Path) -> BiLMConfig:
    """Read the architecture from an options file.

    Raises:
        ModelError: The file is missing, is no JSON, lacks a key, or describes a network that cannot be built.
    """
    return parse_options(read_options(options), options)


def load_bilm(options: Path, weights: Path) -> BiLM:
    """Build the network that `options` describes and fill it from `weights`, strictly; float16 and float64 files become float32.

    Raises:
        ModelError: Either file cannot be read, or a tensor is missing, left over or of another shape than the options ask for.
    """
    config = load_config(options)
    try:
        with h5py.File(weights, "r") as file:
            tensors = _tensors(file)
            config = _settle_projections(config, tensors)
            with torch.device("meta"):  # shapes only: nothing is allocated, let alone initialised
                bilm = BiLM(config)
            entries = tensor_names(config, one_cell=_is_one_cell(tensors))
            _check(bilm, entries, tensors, options, weights)
            parameters = {entry.parameter: entry.layout.to_parameter(_read(tensors[name])) for name, entry in entries.items()}
    except FileNotFoundError:
        raise ModelError(f"{weights}: no such weights file") from None
    except (OSError, RuntimeError, KeyError, ValueError) as error:  # h5py's for a damaged file
        raise ModelError(f"{weights}: not a readable HDF5 file of weights ({error}); check that it is whole") from None
    bilm.load_state_dict(parameters, strict=True, assign=True)
    return bilm.eval().requires_grad_(False)


def save_bilm(bilm: BiLM, options: Path, weights: Path, dtype: str = "float32") -> None:
    """Write the network in this format, its tensors as `dtype` ("float32" or "float16")."""
    options.write_text(json.dumps(to_options(bilm.config), indent=2) + "\n", encoding="utf-8")
    parameters = bilm.state_dict()
    with h5py.File(weights, "w") as file:
        for name, (parameter, layout) in tensor_names(bilm.config).items():
            file[name] = layout.to_file(parameters[parameter].float()).numpy().astype(dtype)


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


def read_options(path: Path) -> Mapping[str, Any]:
    """The JSON object in an options file.

    Raises:
        ModelError: The file is missing, unreadable, or holds no JSON object.
    """
    try:
        options = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ModelError(f"{path}: no such options file") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not a JSON file of options ({error})") from None
    if not isinstance(options, dict):
        raise ModelError(f"{path}: holds a JSON {type(options).__name__}; an options file is an object with 'lstm' and 'char_cnn'")
    return options


def parse_options(options: Mapping[str, Any], path: Path) -> BiLMConfig:
    """The architecture that bilm-tf's options describe; what concerns training alone is passed over.

    Raises:
        ModelError: A key is missing or its value makes no network; the message names `path`.
    """
    if "char_cnn" not in options:
        raise ModelError(f"{path}: lacks 'char_cnn'; a model without a character CNN (word inputs) cannot be used")
    lstm, characters = _Section(options, "lstm", path), _Section(options, "char_cnn", path)
    if characters.optional_whole("n_characters", 262) not in (261, 262):  # 261 in training, 262 with the masking row
        raise ModelError(f"{path}: char_cnn.n_characters is {characters.values['n_characters']}; the format's table has 261 or 262 rows")
    activation = characters.required("activation")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise ModelError(f"{path}: char_cnn.activation is {activation!r}; known are {' and '.join(ACTIVATIONS)}")
    projection_dim, lstm_dim = lstm.whole("projection_dim"), lstm.whole("dim")
    filters = characters.filters()
    if sum(number for _, number in filters) > MAX_SIZE:
        raise ModelError(f"{path}: char_cnn.filters has more than {MAX_SIZE} filters in all")
    max_characters = characters.optional_whole("max_characters_per_token", DEFAULT_MAX_CHARACTERS, at_least=3)
    if max_characters < max(width for width, _ in filters):
        raise ModelError(f"{path}: a filter of char_cnn.filters is wider than max_characters_per_token, {max_characters}")
    return BiLMConfig(
        filters=filters,
        character_dim=_Section(characters.values, "embedding", path, "char_cnn.").whole("dim"),
        n_highway=characters.optional_whole("n_highway", 0, at_least=0, at_most=MAX_DEPTH),
        activation=activation,
        max_characters=max_characters,
        projection_dim=projection_dim,
        lstm_dim=lstm_dim,
        n_layers=lstm.whole("n_layers", at_most=MAX_DEPTH),
        cell_clip=lstm.clip("cell_clip"),
        projection_clip=lstm.clip("proj_clip"),
        use_skip_connections=lstm.flag("use_skip_connections"),
        project_characters=sum(number for _, number in filters) != projection_dim,
        project_cell=projection_dim != lstm_dim,
    )


def to_options(config: BiLMConfig) -> dict[str, Any]:
    """The options that describe this architecture: what `parse_options` reads, and no more."""
    return {
        "lstm": {
            "use_skip_connections": config.use_skip_connections,
            "projection_dim": config.projection_dim,
            "cell_clip": config.cell_clip,
            "proj_clip": config.projection_clip,
            "dim": config.lstm_dim,
            "n_layers": config.n_layers,
        },
        "char_cnn": {
            "activation": config.activation,
            "filters": [list(filter_) for filter_ in config.filters],
            "n_highway": config.n_highway,
            "embedding": {"dim": config.character_dim},
            "n_characters": 262,
            "max_characters_per_token": config.max_characters,
        },
    }


class _Section:
    """One object of an options file, whose values are checked as they are taken."""

    def __init__(self, options: Mapping[str, Any], name: str, path: Path, prefix: str = "") -> None:
        self.path = path
        self.name = prefix + name
        values = options.get(name)
        if not isinstance(values, dict):
            raise ModelError(f"{path}: lacks the object '{self.name}'")
        self.values: dict[str, Any] = values

    def required(self, key: str) -> Any:  # noqa: ANN401  # a JSON value
        if key not in self.values:
            raise ModelError(f"{self.path}: lacks '{self.name}.{key}'")
        return self.values[key]

    def whole(self, key: str, at_least: int = 1, at_most: int = MAX_SIZE) -> int:
        value = self.required(key)
        if not _is_whole(value) or not at_least <= value <= at_most:
            raise ModelError(f"{self.path}: {self.name}.{key} is {value!r}; it takes a whole number from {at_least} to {at_most}")
        return int(value)

    def optional_whole(self, key: str, default: int, at_least: int = 1, at_most: int = MAX_SIZE) -> int:
        return default if self.values.get(key) is None else self.whole(key, at_least, at_most)

    def flag(self, key: str) -> bool:
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            raise ModelError(f"{self.path}: {self.name}.{key} is {value!r}; it takes true or false")
        return value

    def clip(self, key: str) -> float | None:
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_CLIP:
            raise ModelError(f"{self.path}: {self.name}.{key} is {value!r}; it takes a positive number, or null for no clipping")
        return float(value) or None  # AllenNLP does not clip at 0 either

    def filters(self) -> tuple[tuple[int, int], ...]:
        value = self.required("filters")
        pairs = value if isinstance(value, list) else []
        if not pairs or not all(
            isinstance(pair, list) and len(pair) == 2 and all(_is_whole(n) and 0 < n <= MAX_SIZE for n in pair) for pair in pairs
        ):
            raise ModelError(
                f"{self.path}: {self.name}.filters is not a list of [width, number] pairs of whole numbers from 1 to {MAX_SIZE}"
            )
        return tuple((width, number) for width, number in pairs)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _tensors(file: h5py.File) -> dict[str, h5py.Dataset]:
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
    parameters = dict(bilm.named_parameters())
    for name, (parameter, layout) in entries.items():
        expected = tuple(layout.to_file(parameters[parameter]).shape)
        if name not in tensors:
            raise ModelError(f"{weights}: lacks the tensor {name} of shape {expected} that {options} asks for")
        if tensors[name].shape != expected:
            raise ModelError(f"{weights}: {name} has shape {tensors[name].shape}, but {options} asks for {expected}")
        problem = _unreadable(tensors[name])
        if problem:
            raise ModelError(f"{weights}: {name} {problem}")
    left_over = sorted(tensors.keys() - entries.keys())
    if left_over:
        name = left_over[0]
        more = f" (and {len(left_over) - 1} more)" if len(left_over) > 1 else ""
        raise ModelError(f"{weights}: has a tensor {name} of shape {tensors[name].shape}{more} that {options} does not describe")


def _unreadable(tensor: h5py.Dataset) -> str | None:
    """Why a tensor of the right shape is not to be read: HDF5 can have its values made up, or taken from other files."""
    if tensor.dtype.kind != "f":
        return f"holds {tensor.dtype}, not floating-point numbers"
    if tensor.is_virtual or tensor.external:
        return "takes its values from another file; copy them into this one"
    if tensor.nbytes > MAX_COMPRESSION * tensor.id.get_storage_size():
        return "was never filled with values"
    return None


def _read(tensor: h5py.Dataset) -> Tensor:
    values = np.empty(tensor.shape, dtype=np.float32)
    tensor.read_direct(values)
    if not np.isfinite(values).all():
        raise ModelError(f"{tensor.file.filename}: {tensor.name.lstrip('/')} holds values that are no numbers (NaN or infinite)")
    return torch.from_numpy(values)


def _add_to_forget_gate(bias: Tensor, amount: float) -> Tensor:
    i, j, f, o = bias.chunk(4)
    return torch.cat([i, j, f + amount, o])

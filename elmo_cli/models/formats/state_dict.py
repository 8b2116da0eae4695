"""A PyTorch file of tensors, taken strictly by name and shape; and the parts that AllenNLP's modules and their descendants share."""

import re
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from zipfile import BadZipFile

import torch
from torch import Tensor

from elmo_cli.errors import ModelError
from elmo_cli.io.limits import ResourceLimitError
from elmo_cli.io.torch_files import check_file
from elmo_cli.nn.bilm import DIRECTIONS, BiLMConfig

DIRECTION_NAMES = ("forward", "backward")
DAMAGED = (  # what torch raises for a file that is not whole
    *(RuntimeError, BadZipFile, EOFError, LookupError, ValueError, TypeError, AttributeError, AssertionError),
    *(OverflowError, MemoryError, struct.error),
)


def read_tensors(path: Path) -> "StateDict":
    """The tensors of a file made by `torch.save`; nothing but tensors is ever unpickled.

    Raises:
        ModelError: The file is missing, is no such file, or holds something else.
    """
    try:
        check_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unusual pickles
            state = torch.load(path, map_location="cpu", weights_only=True)
    except ResourceLimitError as problem:
        raise ModelError(f"{path}: {problem}") from None
    except FileNotFoundError:
        raise ModelError(f"{path}: no such weights file; check its path") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnpicklingError:  # whose message tells how to run the code in it
        raise ModelError(f"{path}: not a readable PyTorch file of weights (it is damaged, or holds more than tensors)") from None
    except DAMAGED as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"{path}: not a readable PyTorch file of weights ({reason}); check that it is whole") from None
    if not isinstance(state, Mapping) or not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()):
        raise ModelError(f"{path}: holds no named tensors; a file of weights is a saved state_dict")
    _check_size(path, state)
    return StateDict(path, dict(state))


def _check_size(path: Path, state: Mapping[str, Tensor]) -> None:
    """A tensor may be larger than its values, and torch then makes room for what was never there."""
    storages = [tensor.untyped_storage() for tensor in state.values() if tensor.layout is torch.strided]
    size, stored = sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values()), path.stat().st_size
    if size > stored:
        raise ModelError(f"{path}: its tensors take {size:,} bytes, of which {stored:,} are stored; check that the file is whole")


class StateDict:
    """Named tensors of a file; each is taken once, and none may be left over."""

    def __init__(self, path: Path, tensors: dict[str, Tensor]) -> None:
        self.path = path
        self._left = tensors

    def names(self) -> list[str]:
        """Those not taken yet."""
        return list(self._left)

    def below(self, prefix: str) -> "StateDict":
        """The tensors whose names begin so, without that beginning."""
        return StateDict(self.path, {name.removeprefix(prefix): value for name, value in self._left.items() if name.startswith(prefix)})

    def without(self, pattern: re.Pattern[str]) -> "StateDict":
        """The tensors whose whole names do not match."""
        return StateDict(self.path, {name: value for name, value in self._left.items() if not pattern.fullmatch(name)})

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor.

        Raises:
            ModelError: It is not there.
        """
        if name not in self._left:
            raise ModelError(f"{self.path}: lacks the tensor {name}")
        return tuple(self._left[name].shape)

    def take(self, name: str, *shape: int) -> Tensor:
        """A tensor as float32, which must have this shape.

        Raises:
            ModelError: It is not there, has another shape, or holds values that are no finite numbers.
        """
        found = self.shape(name)
        if found != shape:
            raise ModelError(f"{self.path}: {name} has shape {found}, but the model's options ask for {shape}")
        tensor = self._left.pop(name)
        problem = _unreadable(tensor)
        if problem:
            raise ModelError(f"{self.path}: {name} {problem}")
        values = tensor.detach().float()
        if not bool(torch.isfinite(values).all()):
            raise ModelError(f"{self.path}: {name} holds values that are no numbers (NaN or infinite)")
        return values

    def check_none_left(self) -> None:
        """Make sure that every tensor has been taken.

        Raises:
            ModelError: One has not.
        """
        for name, value in self._left.items():
            raise ModelError(f"{self.path}: has a tensor {name} of shape {tuple(value.shape)} that the model's options do not describe")


def _unreadable(tensor: Tensor) -> str | None:
    """Why a tensor of the right shape is not to be used: a file can claim more values than it holds."""
    if not tensor.is_floating_point():
        return f"holds {tensor.dtype}, not floating-point numbers"
    if tensor.layout is not torch.strided or tensor.device.type != "cpu":
        return "is not a plain tensor"
    if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        return "was never filled with values"
    return None


def lstm_parameters(tensors: StateDict, config: BiLMConfig) -> dict[str, Tensor]:
    """Parameters of `BiLM` from those of AllenNLP's `ElmoLstm`: gates in the order i, f, j, o, the forget bias already in the bias."""
    parameters: dict[str, Tensor] = {}
    gates, out = 4 * config.lstm_dim, config.projection_dim
    for direction in range(DIRECTIONS):
        for layer in range(config.n_layers):
            theirs, ours = f"{DIRECTION_NAMES[direction]}_layer_{layer}", f"directions.{direction}.{layer}"
            from_input = tensors.take(f"{theirs}.input_linearity.weight", gates, out)
            from_hidden = tensors.take(f"{theirs}.state_linearity.weight", gates, out)
            parameters[f"{ours}.weight"] = _reorder_gates(torch.cat([from_input, from_hidden], dim=1))
            parameters[f"{ours}.bias"] = _reorder_gates(tensors.take(f"{theirs}.state_linearity.bias", gates))
            parameters[f"{ours}.projection"] = tensors.take(f"{theirs}.state_projection.weight", out, config.lstm_dim)
    return parameters


def char_cnn_parameters(tensors: StateDict, config: BiLMConfig, ours: str, convolutions: str, highways: str) -> dict[str, Tensor]:
    """Parameters of `CharacterEncoder`'s convolutions and highways, under the name `ours`.

    AllenNLP's gate multiplies what is passed by and ours what is transformed, which is sigmoid(-x) in place of sigmoid(x).
    """
    parameters: dict[str, Tensor] = {}
    for i, (width, number) in enumerate(config.filters):
        parameters[f"{ours}.convolutions.{i}.weight"] = tensors.take(f"{convolutions}{i}.weight", number, config.character_dim, width)
        parameters[f"{ours}.convolutions.{i}.bias"] = tensors.take(f"{convolutions}{i}.bias", number)
    n = config.n_filters
    for k in range(config.n_highway):
        for kind, shape in [("weight", (2 * n, n)), ("bias", (2 * n,))]:
            transform, gate = tensors.take(f"{highways}{k}.{kind}", *shape).chunk(2)
            parameters[f"{ours}.highways.{k}.transform.{kind}"] = transform.clone()
            parameters[f"{ours}.highways.{k}.gate.{kind}"] = -gate
    return parameters


def _reorder_gates(values: Tensor) -> Tensor:
    i, f, j, o = values.chunk(4)
    return torch.cat([i, j, f, o])

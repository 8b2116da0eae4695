"""PyTorch files of tensors, read strictly by name and shape; parameters of AllenNLP models."""

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
from elmo_cli.nn.bilm import DIRECTIONS, BiLM, BiLMConfig

DIRECTION_NAMES = ("forward", "backward")
DAMAGED = (  # errors of torch for a file that is not complete
    *(
        RuntimeError,
        BadZipFile,
        EOFError,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        AssertionError,
    ),
    *(OverflowError, MemoryError, struct.error),
)


def read_tensors(path: Path) -> "StateDict":
    """Read a file made by `torch.save`; only tensors are unpickled.

    Args:
        path: Path of the file.

    Returns:
        The named tensors.

    Raises:
        ModelError: The file is missing or not readable, or contains something other than tensors.
    """
    try:
        check_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about unusual pickles
            state = torch.load(path, map_location="cpu", weights_only=True)
    except ResourceLimitError as problem:
        raise ModelError(f"{path}: {problem}") from None
    except FileNotFoundError:
        raise ModelError(f"{path}: no such weights file; check its path") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnpicklingError:  # its message explains how to run the code in the file
        raise ModelError(
            f"{path}: not a readable PyTorch file of weights (it is damaged, or contains more than "
            "tensors)"
        ) from None
    except DAMAGED as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(
            f"{path}: not a readable PyTorch file of weights ({reason}); check that it is complete"
        ) from None
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise ModelError(
            f"{path}: does not contain named tensors; a file of weights is a saved state_dict"
        )
    _check_size(path, state)
    return StateDict(path, dict(state))


def _check_size(path: Path, state: Mapping[str, Tensor]) -> None:
    """Refuse tensors larger than the file: torch would allocate memory for absent values."""
    storages = [
        tensor.untyped_storage() for tensor in state.values() if tensor.layout is torch.strided
    ]
    size, stored = (
        sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values()),
        path.stat().st_size,
    )
    if size > stored:
        raise ModelError(
            f"{path}: its tensors take {size:,} bytes, of which {stored:,} are stored; check that "
            "the file is complete"
        )


class StateDict:
    """Named tensors of a file, each of which is used exactly once.

    Args:
        path: Path of the file, for messages.
        tensors: Tensors by name.
    """

    def __init__(self, path: Path, tensors: dict[str, Tensor]) -> None:
        self.path = path
        self._unused = tensors

    def names(self) -> list[str]:
        """Return the names that have not been taken."""
        return list(self._unused)

    def below(self, prefix: str) -> "StateDict":
        """Return the tensors whose names begin with a prefix, without the prefix."""
        return StateDict(
            self.path,
            {
                name.removeprefix(prefix): value
                for name, value in self._unused.items()
                if name.startswith(prefix)
            },
        )

    def without(self, pattern: re.Pattern[str]) -> "StateDict":
        """Return the tensors whose complete names do not match a pattern."""
        return StateDict(
            self.path,
            {name: value for name, value in self._unused.items() if not pattern.fullmatch(name)},
        )

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor.

        Raises:
            ModelError: The tensor is missing.
        """
        if name not in self._unused:
            raise ModelError(f"{self.path}: lacks the tensor {name}")
        return tuple(self._unused[name].shape)

    def take(self, name: str, *shape: int) -> Tensor:
        """Return a tensor as float32 and mark it as used.

        Args:
            name: Name of the tensor.
            *shape: Required shape.

        Returns:
            The tensor, of this shape, float32.

        Raises:
            ModelError: The tensor is missing, has another shape, or has values that are NaN or
                infinite.
        """
        found = self.shape(name)
        if found != shape:
            raise ModelError(
                f"{self.path}: {name} has shape {found}, but the model's options require {shape}"
            )
        tensor = self._unused.pop(name)
        problem = _storage_problem(tensor)
        if problem:
            raise ModelError(f"{self.path}: {name} {problem}")
        values = tensor.detach().float()
        if not bool(torch.isfinite(values).all()):
            raise ModelError(
                f"{self.path}: {name} has values that are NaN or infinite; use another file of "
                "weights"
            )
        return values

    def check_all_used(self) -> None:
        """Check that every tensor has been taken.

        Raises:
            ModelError: A tensor has not been taken.
        """
        for name, value in self._unused.items():
            raise ModelError(
                f"{self.path}: has a tensor {name} of shape {tuple(value.shape)}, which the "
                "model's options do not describe"
            )


def _storage_problem(tensor: Tensor) -> str | None:
    """Return why a tensor of the right shape cannot be used, such as values that are not stored."""
    if not tensor.is_floating_point():
        return f"has type {tensor.dtype}, not a floating-point type"
    if tensor.layout is not torch.strided or tensor.device.type != "cpu":
        return "is not a plain tensor"
    if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        return "has fewer stored values than its shape requires"
    return None


def lstm_parameters(tensors: StateDict, config: BiLMConfig) -> dict[str, Tensor]:
    """Convert the parameters of AllenNLP's `ElmoLstm` to those of `BiLM`.

    AllenNLP stores gates in the order i, f, j, o, and the forget bias as part of the bias.

    Args:
        tensors: Parameters of AllenNLP's module, by their names in it, and no others.
        config: Architecture of the network.

    Returns:
        Parameters of `BiLM` by name, float32.

    Raises:
        ModelError: A tensor is missing, unexpected or of another shape.
    """
    parameters: dict[str, Tensor] = {}
    gates, out = 4 * config.lstm_dim, config.projection_dim
    for direction in range(DIRECTIONS):
        for layer in range(config.n_layers):
            theirs, ours = (
                f"{DIRECTION_NAMES[direction]}_layer_{layer}",
                f"directions.{direction}.{layer}",
            )
            from_input = tensors.take(f"{theirs}.input_linearity.weight", gates, out)
            from_hidden = tensors.take(f"{theirs}.state_linearity.weight", gates, out)
            parameters[f"{ours}.weight"] = _reorder_gates(
                torch.cat([from_input, from_hidden], dim=1)
            )
            parameters[f"{ours}.bias"] = _reorder_gates(
                tensors.take(f"{theirs}.state_linearity.bias", gates)
            )
            parameters[f"{ours}.projection"] = tensors.take(
                f"{theirs}.state_projection.weight", out, config.lstm_dim
            )
    tensors.check_all_used()
    return parameters


def char_cnn_parameters(
    tensors: StateDict, config: BiLMConfig, ours: str, convolutions: str, highways: str
) -> dict[str, Tensor]:
    """Convert AllenNLP's convolutions and highway layers to those of `CharacterEncoder`.

    The gate of AllenNLP multiplies the input and that of `Highway` the transformed input:
    sigmoid(-x) instead of sigmoid(x).

    Args:
        tensors: Parameters of AllenNLP's module, by their names in it.
        config: Architecture of the network.
        ours: Name of the encoder in `BiLM`.
        convolutions: Prefix of the names of the convolutions.
        highways: Prefix of the names of the highway layers.

    Returns:
        Parameters by name, float32.

    Raises:
        ModelError: A tensor is missing or of another shape.
    """
    parameters: dict[str, Tensor] = {}
    for i, (width, number) in enumerate(config.filters):
        parameters[f"{ours}.convolutions.{i}.weight"] = tensors.take(
            f"{convolutions}{i}.weight", number, config.character_dim, width
        )
        parameters[f"{ours}.convolutions.{i}.bias"] = tensors.take(
            f"{convolutions}{i}.bias", number
        )
    n = config.n_filters
    for k in range(config.n_highway):
        for kind, shape in [("weight", (2 * n, n)), ("bias", (2 * n,))]:
            transform, gate = tensors.take(f"{highways}{k}.{kind}", *shape).chunk(2)
            parameters[f"{ours}.highways.{k}.transform.{kind}"] = transform.clone()
            parameters[f"{ours}.highways.{k}.gate.{kind}"] = -gate
    return parameters


def projection_parameters(
    tensors: StateDict, config: BiLMConfig, theirs: str, width: int
) -> dict[str, Tensor]:
    """Return the parameters of the projection of a token vector.

    Args:
        tensors: Parameters of the module, by their names in it.
        config: Architecture of the network.
        theirs: Name of the projection in the module.
        width: Dimension of the vector that is projected.

    Returns:
        Parameters of `BiLM` by name, float32.

    Raises:
        ModelError: A tensor is missing or of another shape.
    """
    return {
        "character_encoder.projection.weight": tensors.take(
            f"{theirs}.weight", config.projection_dim, width
        ),
        "character_encoder.projection.bias": tensors.take(f"{theirs}.bias", config.projection_dim),
    }


def load_parameters(bilm: BiLM, parameters: Mapping[str, Tensor]) -> BiLM:
    """Give a network its parameters, without a copy.

    Args:
        bilm: The network, on the "meta" device.
        parameters: All of its parameters by name.

    Returns:
        The same network, in evaluation mode, without gradients.
    """
    bilm.load_state_dict(parameters, strict=True, assign=True)
    return bilm.eval().requires_grad_(False)


def _reorder_gates(values: Tensor) -> Tensor:
    i, f, j, o = values.chunk(4)
    return torch.cat([i, j, f, o])

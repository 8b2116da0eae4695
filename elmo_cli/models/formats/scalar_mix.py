"""Scalar mixes given as numbers, as JSON, or by the weights of a trained AllenNLP model."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from elmo_cli.errors import ElmoError
from elmo_cli.models.formats.state_dict import read_tensors
from elmo_cli.nn.scalar_mix import FixedMix

MAX_BYTES = 1 << 20
TORCH_SUFFIXES = (".th", ".pt", ".pth")
_NUMBER = r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
_FIELDS = {"weights", "gamma", "layer_norm"}


def read_mix(given: str, n_layers: int, *, layer_norm: bool = False) -> FixedMix:
    """Read a scalar mix.

    Args:
        given: Weights "w0,w1,...", one for each layer and optionally gamma; or the path of a file.
            A JSON file contains {"weights": [...], "gamma": 1.0, "layer_norm": false}; a PyTorch
            file (.th, .pt, .pth) contains the tensors `...scalar_parameters.0`, ... and `...gamma`
            of AllenNLP.
        n_layers: Number of layers of the model.
        layer_norm: Whether to normalise the layers, in addition to the file's own setting.

    Returns:
        The mix.

    Raises:
        ElmoError: `given` is not a valid mix.
    """
    mix = (
        _parse_numbers(given, n_layers)
        if re.fullmatch(rf"{_NUMBER}(,{_NUMBER})*", given)
        else _read_file(Path(given))
    )
    return replace(mix, layer_norm=mix.layer_norm or layer_norm)


def _parse_numbers(given: str, n_layers: int) -> FixedMix:
    numbers = [float(number) for number in given.split(",")]
    weights, gamma = (numbers[:-1], numbers[-1]) if len(numbers) == n_layers + 1 else (numbers, 1.0)
    return _make_mix(weights, gamma, "--mix", layer_norm=False)


def _read_file(path: Path) -> FixedMix:
    if not path.is_file():
        raise ElmoError(
            f"--mix {path}: no such file; pass a file or a list of numbers such as 0.5,1,-0.2"
        )
    if path.suffix.lower() in TORCH_SUFFIXES:
        return _read_torch(path)
    if path.stat().st_size > MAX_BYTES:
        raise ElmoError(
            f"--mix {path}: is larger than {MAX_BYTES:,} bytes; a PyTorch file ends in "
            f"{' or '.join(TORCH_SUFFIXES)}"
        )
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ElmoError(f"--mix {path}: is not JSON ({error}); check the file") from None
    if (
        not isinstance(content, dict)
        or not isinstance(content.get("weights"), list)
        or set(content) - _FIELDS
    ):
        raise ElmoError(
            f'--mix {path}: takes {{"weights": [0.5, 1.0, -0.2], "gamma": 1.0, "layer_norm": '
            f"false}}"
        )
    return _make_mix(
        content["weights"],
        content.get("gamma", 1.0),
        f"--mix {path}",
        layer_norm=content.get("layer_norm", False),
    )


def _read_torch(path: Path) -> FixedMix:
    tensors = read_tensors(path)
    scalars: dict[str, dict[int, str]] = {}
    for name in tensors.names():
        if found := re.fullmatch(r"(.*)scalar_parameters\.(\d{1,3})", name):
            scalars.setdefault(found[1], {})[int(found[2])] = name
    if len(scalars) != 1:
        raise ElmoError(
            f"--mix {path}: contains {len(scalars) or 'no'} scalar mixes; write the intended one "
            "as JSON"
        )
    ((prefix, names),) = scalars.items()
    weights = [float(tensors.take(names[layer], 1)) for layer in sorted(names)]
    gamma = float(tensors.take(f"{prefix}gamma", 1)) if f"{prefix}gamma" in tensors.names() else 1.0
    return _make_mix(weights, gamma, f"--mix {path}", layer_norm=False)


def _make_mix(weights: list[Any], gamma: Any, where: str, *, layer_norm: Any) -> FixedMix:  # noqa: ANN401  # a user's
    if not weights or not all(map(_is_finite, [*weights, gamma])):
        raise ElmoError(
            f"{where}: takes finite numbers only; give each weight, and gamma, as a number such as "
            "0.5"
        )
    if not isinstance(layer_norm, bool):
        raise ElmoError(f"{where}: layer_norm is not a boolean; it takes true or false")
    return FixedMix(tuple(map(float, weights)), float(gamma), layer_norm)


def _is_finite(value: object) -> bool:
    """Return whether a value is a float or an integer within the range of floats."""
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max
    )

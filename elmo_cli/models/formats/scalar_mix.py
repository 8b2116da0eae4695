"""A scalar mix from the command line or a file: numbers, JSON, or the weights of an AllenNLP model that was trained with one."""

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
    """The mix that is given as "w0,w1,...", gamma behind a weight for each layer or left out, or in a file.

    A JSON file holds {"weights": [...], "gamma": 1.0, "layer_norm": false}; a PyTorch file (.th, .pt) is searched for AllenNLP's
    `...scalar_parameters.0`, ... and `...gamma`.

    Raises:
        ElmoError: It is none of these.
    """
    mix = _parse_numbers(given, n_layers) if re.fullmatch(rf"{_NUMBER}(,{_NUMBER})*", given) else _read_file(Path(given))
    return replace(mix, layer_norm=mix.layer_norm or layer_norm)


def _parse_numbers(given: str, n_layers: int) -> FixedMix:
    numbers = [float(number) for number in given.split(",")]
    weights, gamma = (numbers[:-1], numbers[-1]) if len(numbers) == n_layers + 1 else (numbers, 1.0)
    return _checked(weights, gamma, "--mix", layer_norm=False)


def _read_file(path: Path) -> FixedMix:
    if not path.is_file():
        raise ElmoError(f"--mix {path}: no such file, and no list of numbers such as 0.5,1,-0.2")
    if path.suffix.lower() in TORCH_SUFFIXES:
        return _read_torch(path)
    if path.stat().st_size > MAX_BYTES:
        raise ElmoError(f"--mix {path}: is too large for a mix; a PyTorch file ends in {' or '.join(TORCH_SUFFIXES)}")
    try:
        told = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ElmoError(f"--mix {path}: is no JSON ({error})") from None
    if not isinstance(told, dict) or not isinstance(told.get("weights"), list) or set(told) - _FIELDS:
        raise ElmoError(f'--mix {path}: takes {{"weights": [0.5, 1.0, -0.2], "gamma": 1.0, "layer_norm": false}}')
    return _checked(told["weights"], told.get("gamma", 1.0), f"--mix {path}", layer_norm=told.get("layer_norm", False))


def _read_torch(path: Path) -> FixedMix:
    tensors = read_tensors(path)
    scalars: dict[str, dict[int, str]] = {}
    for name in tensors.names():
        if found := re.fullmatch(r"(.*)scalar_parameters\.(\d{1,3})", name):
            scalars.setdefault(found[1], {})[int(found[2])] = name
    if len(scalars) != 1:
        raise ElmoError(f"--mix {path}: holds {len(scalars) or 'no'} scalar mixes; write the one that is meant as JSON")
    ((prefix, names),) = scalars.items()
    weights = [float(tensors.take(names[layer], 1)) for layer in sorted(names)]
    gamma = float(tensors.take(f"{prefix}gamma", 1)) if f"{prefix}gamma" in tensors.names() else 1.0
    return _checked(weights, gamma, f"--mix {path}", layer_norm=False)


def _checked(weights: list[Any], gamma: Any, where: str, *, layer_norm: Any) -> FixedMix:  # noqa: ANN401  # a user's
    if not weights or not all(map(_is_finite, [*weights, gamma])):
        raise ElmoError(f"{where}: takes finite numbers only; give each weight, and gamma, as one such as 0.5")
    if not isinstance(layer_norm, bool):
        raise ElmoError(f"{where}: layer_norm is true or false")
    return FixedMix(tuple(map(float, weights)), float(gamma), layer_norm)


def _is_finite(value: object) -> bool:
    """A float, or a whole number that fits one."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max

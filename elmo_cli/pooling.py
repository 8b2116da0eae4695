"""Which layers are written: the choices of `allennlp elmo`, and lists of layers."""

import re
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from elmo_cli.errors import ElmoError

Array = npt.NDArray[np.float32]
Select = Callable[[Array], Array]


def select_layers(choice: str, n_layers: int) -> Select:
    """A function from (layer, token, dim) to what `choice` asks for.

    "all" keeps every layer, "top" and "average" give (token, dim) as AllenNLP does, and a list ("0,2", negative from the end) gives
    those layers, (chosen, token, dim).

    Raises:
        ElmoError: The choice is none of these, or names a layer that the model does not have.
    """
    if choice == "all":
        return lambda layers: layers
    if choice == "top":
        return lambda layers: layers[-1]
    if choice == "average":
        return lambda layers: np.mean(layers, axis=0)
    chosen = parse_layers(choice)
    if not all(-n_layers <= layer < n_layers for layer in chosen):
        raise ElmoError(f"layers {choice!r}: the model has layers 0 to {n_layers - 1}")
    return lambda layers: layers[chosen]


def parse_layers(choice: str) -> list[int]:
    """The numbers of a list such as "0,2".

    Raises:
        ElmoError: It is no list of whole numbers.
    """
    if not re.fullmatch(r"-?[0-9]+(,-?[0-9]+)*", choice):
        raise ElmoError(f"layers {choice!r}: takes all, top, average, or a list such as 0,2")
    return [int(layer) for layer in choice.split(",")]

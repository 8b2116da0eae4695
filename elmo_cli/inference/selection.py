"""Selection of layers: choice or weighted sum, pooling over tokens, data type."""

import re
from dataclasses import dataclass

import numpy as np

from elmo_cli.errors import ElmoError
from elmo_cli.features.values import cast
from elmo_cli.nn.scalar_mix import FixedMix
from elmo_cli.types import Array, Select

UNLAYERED = ("top", "average", "concat")  # choices without a layer axis


@dataclass(frozen=True)
class Selection:
    """Choice of the vectors that are written.

    Args:
        layers: "all", "top", "average", "concat", or a list such as "0,2".
        mix: Weighted sum of the layers, instead of `layers`.
        pool: One of POOLS.
        dtype: "float32" or "float16".
    """

    layers: str = "all"
    mix: FixedMix | None = None
    pool: str = "none"
    dtype: str = "float32"

    def names(self, n_layers: int) -> tuple[str, ...]:
        """Return the names of the written layers.

        Returns:
            "layer_0", ..., or one of "top", "average", "concat" and "mix" if there is no layer
            axis.

        Raises:
            ElmoError: The choice is invalid, or does not fit a model of `n_layers` layers.
        """
        if self.mix:
            if len(self.mix.weights) != n_layers:
                raise ElmoError(
                    f"--mix: has {len(self.mix.weights)} weights, and the model {n_layers} layers; "
                    "give one for each"
                )
            return ("mix",)
        if self.layers in UNLAYERED:
            return (self.layers,)
        return tuple(f"layer_{layer}" for layer in self._chosen(n_layers))

    def dim(self, n_layers: int, dim: int) -> int:
        """Return the dimension of the written vectors, for layers of dimension `dim`."""
        side_by_side = n_layers if self.layers == "concat" and not self.mix else 1
        return dim * side_by_side * (2 if self.pool == "mean+max" else 1)

    def function(self, n_layers: int) -> Select:
        """Return the function from (layer, token, dim) float32 to the written vectors.

        The function raises ElmoError for a value that exceeds float16.

        Raises:
            ElmoError: As `names`.
        """
        choose, finish = self.steps(n_layers)
        return lambda layers: finish(choose(layers))

    def steps(self, n_layers: int) -> tuple[Select, Select]:
        """Return the function in two steps.

        The first may be applied to any part of a sentence's tokens and dimensions, so that the
        layers of a long sentence that are not needed are never stored.

        Raises:
            ElmoError: As `function`.
        """
        self.names(n_layers)
        pool = POOLS[self.pool]
        if self.mix and self.mix.layer_norm:  # over all tokens
            mix = self.mix
            return select_layers("all", n_layers), lambda layers: cast(
                pool(mix(layers)), self.dtype
            )
        return self.mix or select_layers(self.layers, n_layers), lambda chosen: cast(
            pool(chosen), self.dtype
        )

    def metadata(self) -> dict[str, str]:
        """Return a description for the metadata."""
        mix = (
            self.mix
            and f"softmax of {', '.join(map(str, self.mix.weights))}, times {self.mix.gamma}"
        )
        told = (
            {"mix": f"{mix}, layers normalised" if self.mix and self.mix.layer_norm else mix}
            if mix
            else {}
        )
        return {"layers": "mix" if mix else self.layers, "pool": self.pool, **told}

    def _chosen(self, n_layers: int) -> list[int]:
        return (
            list(range(n_layers))
            if self.layers == "all"
            else _layers_of_model(self.layers, n_layers)
        )


def select_layers(choice: str, n_layers: int) -> Select:
    """Return the function from (layer, token, dim) to the chosen layers.

    Args:
        choice: "all" for every layer; "top" or "average" for (token, dim), as in AllenNLP;
            "concat" for the concatenated layers (token, layer * dim); or a list ("0,2", negative
            from the end) for (chosen, token, dim).
        n_layers: Number of layers of the model.

    Raises:
        ElmoError: The choice is invalid, or names a layer twice or one that the model does not
            have.
    """
    if choice == "all":
        return lambda layers: layers
    if choice == "top":
        return lambda layers: layers[-1]
    if choice == "average":
        return lambda layers: np.mean(layers, axis=0)
    if choice == "concat":
        return lambda layers: layers.transpose(1, 0, 2).reshape(
            layers.shape[1], layers.shape[0] * layers.shape[2]
        )
    chosen = _layers_of_model(choice, n_layers)
    return lambda layers: layers[chosen]


def parse_layers(choice: str) -> list[int]:
    """Return the numbers of a list such as "0,2".

    Raises:
        ElmoError: `choice` is not a list of integers.
    """
    if not re.fullmatch(r"-?[0-9]{1,9}(,-?[0-9]{1,9})*", choice):
        raise ElmoError(
            f"layers {choice[:60]!r}: takes all, top, average, concat, or a list such as 0,2"
        )
    return [int(layer) for layer in choice.split(",")]


def _layers_of_model(choice: str, n_layers: int) -> list[int]:
    layers = parse_layers(choice)
    if not all(-n_layers <= layer < n_layers for layer in layers):
        raise ElmoError(
            f"layers {choice!r}: the model has layers 0 to {n_layers - 1}; choose among them, or "
            f"from the end by -1 to -{n_layers}"
        )
    chosen = [layer % n_layers for layer in layers]
    if len(set(chosen)) < len(chosen):
        raise ElmoError(f"layers {choice!r}: names a layer twice; name each once")
    return chosen


def _mean(array: Array) -> Array:
    mean: Array = array.mean(axis=-2, dtype=np.float64).astype(array.dtype)
    return mean


def _mean_and_max(array: Array) -> Array:
    both: Array = np.concatenate([_mean(array), array.max(axis=-2)], axis=-1)
    return both


def _of_tokens(pool: Select) -> Select:
    """Return the pooling function, extended to sentences without tokens, which give zeros."""
    return lambda array: (
        pool(array)
        if array.shape[-2]
        else np.zeros_like(pool(np.zeros((*array.shape[:-2], 1, array.shape[-1]), array.dtype)))
    )


POOLS: dict[str, Select] = {  # (..., token, dim) to (..., dim), over the tokens of one sentence
    "none": lambda array: array,
    "mean": _of_tokens(_mean),
    "max": _of_tokens(lambda array: array.max(axis=-2)),
    "mean+max": _of_tokens(_mean_and_max),  # (..., 2 * dim)
    "first": _of_tokens(lambda array: array[..., 0, :]),
    "last": _of_tokens(lambda array: array[..., -1, :]),
}

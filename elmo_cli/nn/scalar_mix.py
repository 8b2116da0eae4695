"""The scalar mix of a model's layers: equation 1 of Peters et al. (2018)."""

from dataclasses import dataclass

import numpy as np

from elmo_cli.types import Array

VARIANCE_FLOOR = 1e-12  # AllenNLP's


@dataclass(frozen=True)
class ScalarMix:
    """Equation 1 of Peters et al. 2018: gamma * sum_j s_j h_j, where s = softmax(weights).

    With `layer_norm` each layer is normalised first, as AllenNLP's `do_layer_norm` does (Ba et al. 2016, without gain and bias): by
    the mean and variance of all values of its real tokens. Here those are of one sentence, so that its vectors depend on it alone.
    """

    weights: tuple[float, ...]
    gamma: float = 1.0
    layer_norm: bool = False

    def __call__(self, layers: Array) -> Array:
        """(layer, token, dim) → (token, dim) float32."""
        values = layers.astype(np.float64)
        if self.layer_norm and values.size:
            mean, variance = values.mean(axis=(1, 2), keepdims=True), values.var(axis=(1, 2), keepdims=True)
            values = (values - mean) / np.sqrt(variance + VARIANCE_FLOOR)
        shares = np.exp(np.array(self.weights) - max(self.weights))
        mixed: Array = (self.gamma * np.einsum("l,ltd->td", shares / shares.sum(), values)).astype(np.float32)
        return mixed

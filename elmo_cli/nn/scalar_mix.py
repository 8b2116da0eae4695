"""Scalar mix, equation 1 of Peters et al. (2018): trainable as in AllenNLP, or of fixed weights."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from elmo_cli.types import Array

VARIANCE_FLOOR = 1e-12  # AllenNLP's


class ScalarMix(nn.Module):
    """Trainable weighted sum of layers, gamma * sum_j s_j h_j with s = softmax(scalar_parameters).

    Parameters are `gamma` (1,) and `scalar_parameters`, a list of one tensor (1,) per layer, as in
    AllenNLP's state dicts. With `do_layer_norm`, each layer is first normalised by the mean and
    variance of all of its values in the batch that the mask selects (Ba et al. 2016, without gain
    and bias). `elmo embed --mix-layer-norm` uses the values of one sentence without its boundaries
    instead, so that vectors do not depend on the batch.

    Args:
        mixture_size: Number of layers.
        do_layer_norm: Whether to normalise layers.
        initial_scalar_parameters: One number per layer, before the softmax; None: zeros, which is
            the average.
        trainable: Whether the parameters require gradients.

    Raises:
        ValueError: The number of initial parameters differs from the number of layers.
    """

    def __init__(
        self,
        mixture_size: int,
        do_layer_norm: bool = False,
        initial_scalar_parameters: Sequence[float] | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__()
        initial = (
            [0.0] * mixture_size
            if initial_scalar_parameters is None
            else list(map(float, initial_scalar_parameters))
        )
        if len(initial) != mixture_size:
            raise ValueError(
                f"initial_scalar_parameters has {len(initial)} numbers for {mixture_size} layers; "
                "give one for each"
            )
        self.mixture_size = mixture_size
        self.do_layer_norm = do_layer_norm
        self.scalar_parameters = nn.ParameterList(
            nn.Parameter(torch.tensor([value]), requires_grad=trainable) for value in initial
        )
        self.gamma = nn.Parameter(torch.ones(1), requires_grad=trainable)

    def forward(self, tensors: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """Mix layers.

        Args:
            tensors: One tensor (..., dim) per layer, all of the same shape.
            mask: Positions to normalise over, (...) bool or numbers; None: all. Used with
                `do_layer_norm` only.

        Returns:
            (..., dim)

        Raises:
            ValueError: The number of tensors differs from the number of layers.
        """
        if len(tensors) != self.mixture_size:
            raise ValueError(
                f"got {len(tensors)} tensors for a mix of {self.mixture_size} layers; pass one for "
                "each layer"
            )
        if self.do_layer_norm:
            tensors = [_normalise(tensor, mask) for tensor in tensors]
        weights = torch.softmax(torch.cat(list(self.scalar_parameters)), dim=0)
        mixed = weights[0] * tensors[0]
        for weight, tensor in zip(weights[1:], tensors[1:], strict=True):
            mixed = mixed + weight * tensor
        return self.gamma * mixed


def _normalise(tensor: Tensor, mask: Tensor | None) -> Tensor:
    """Standardise by mean and standard deviation of the values that the mask selects."""
    if mask is None:
        mask = tensor.new_ones(tensor.shape[:-1])
    real = mask.to(tensor.dtype).unsqueeze(-1)
    n_values = (mask.sum() * tensor.shape[-1]).to(
        torch.float32 if tensor.dtype != torch.float64 else torch.float64
    )
    mean = ((tensor * real).sum(dtype=n_values.dtype) / n_values).to(tensor.dtype)
    variance = ((((tensor - mean) * real) ** 2).sum(dtype=n_values.dtype) / n_values).to(
        tensor.dtype
    )
    return (tensor - mean) / torch.sqrt(variance + VARIANCE_FLOOR)


@dataclass(frozen=True)
class FixedMix:
    """Scalar mix with given weights: gamma * sum_j s_j h_j, where s = softmax(weights).

    With `layer_norm`, each layer is first normalised as by AllenNLP's `do_layer_norm` (Ba et al.
    2016, without gain and bias): by the mean and variance of all values of its tokens. Here these
    are the tokens of one sentence, so that its vectors do not depend on others.

    Attributes:
        weights: One number per layer, before the softmax.
        gamma: Factor of the sum.
        layer_norm: Whether to normalise layers.
    """

    weights: tuple[float, ...]
    gamma: float = 1.0
    layer_norm: bool = False

    def __call__(self, layers: Array) -> Array:
        """Mix the layers of one sentence.

        Args:
            layers: (layer, token, dim), floating point.

        Returns:
            (token, dim) float32.
        """
        values = layers.astype(np.float64)
        if self.layer_norm and values.size:
            mean, variance = (
                values.mean(axis=(1, 2), keepdims=True),
                values.var(axis=(1, 2), keepdims=True),
            )
            values = (values - mean) / np.sqrt(variance + VARIANCE_FLOOR)
        shares = np.exp(np.array(self.weights) - max(self.weights))
        mixed: Array = (self.gamma * np.einsum("l,ltd->td", shares / shares.sum(), values)).astype(
            np.float32
        )
        return mixed

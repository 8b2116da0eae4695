"""Soft whitening, fitted on a corpus block by block.

Vectors are centred and multiplied by (C + 0.1 mean eigenvalue)^(-1/4).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from elmo_cli.downstream.occurrences import Floats, unit

Doubles = npt.NDArray[np.float64]
# Of the mean eigenvalue, added to each: with fewer sentences than dimensions most are zero
DAMPING = 0.1
POWER = -0.25


@dataclass(frozen=True)
class Transform:
    """A map of sentence vectors: each layer centred, multiplied by a matrix, of length 1.

    The layers side by side.
    """

    means: Floats  # (layer, dim)
    matrices: Floats | None  # (layer, dim, dim); None: no whitening

    def __call__(self, block: Floats) -> Floats:
        """(layer, vector, dim) → (vector, layer * dim), of length 1; a cosine is then a product."""
        moved = block - self.means[:, None]
        whitened = moved if self.matrices is None else np.matmul(moved, self.matrices)
        beside: Floats = np.concatenate(list(unit(whitened)), axis=-1) / np.float32(
            np.sqrt(len(block))
        )
        return beside


def no_transform(n_layers: int, dim: int) -> Transform:
    """Return the transform that only normalizes each layer to length 1."""
    return Transform(np.zeros((n_layers, dim), np.float32), None)


def centring(means: Floats) -> Transform:
    """Return the transform that centres and normalizes each layer to length 1."""
    return Transform(means, None)


def fit_transform(blocks: Iterable[Floats], n_layers: int, dim: int) -> Transform:
    """Fit centres and whitening matrices on blocks of vectors. The memory depends on `dim` alone.

    Args:
        blocks: Arrays (layer, vector, dim) float32.
        n_layers: Number of layers.
        dim: Of each vector.
    """
    n, shift = 0, np.zeros((n_layers, 1, dim), np.float32)
    sums, products = np.zeros((n_layers, dim)), np.zeros((n_layers, dim, dim))
    for block in blocks:
        if n == 0 and block.shape[1]:
            # Near the mean: products of what is left lose no digits
            shift = block.mean(axis=1, keepdims=True)
        moved = block - shift
        sums += moved.sum(axis=1, dtype=np.float64)
        products += np.matmul(moved.transpose(0, 2, 1), moved)
        n += block.shape[1]
    if n < 2:
        return no_transform(n_layers, dim)
    means = sums / n
    matrices = np.stack(
        [
            _soft_inverse(product / n - np.outer(mean, mean))
            for product, mean in zip(products, means, strict=True)
        ]
    )
    return Transform((means + shift[:, 0]).astype(np.float32), matrices.astype(np.float32))


def _soft_inverse(covariance: Doubles) -> Doubles:
    values, vectors = np.linalg.eigh(covariance)
    mean = values.mean()
    if mean <= np.finfo(np.float32).tiny:  # equal vectors
        return np.eye(len(covariance))
    matrix: Doubles = (vectors * (np.maximum(values, 0) + DAMPING * mean) ** POWER) @ vectors.T
    return matrix

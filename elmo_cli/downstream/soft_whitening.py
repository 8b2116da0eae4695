"""Soft whitening of sentence vectors for a linear classifier: scaled principal components.

A component of standardised vectors is multiplied by (e + 0.1)^(-1/4), where e is its variance,
whose mean is 1. The l2 penalty then weighs directions of small variance less than without it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

DAMPING = 0.1
POWER = -0.25
LEAST_VARIANCE = 0.01  # of a component; those below are left out
BLOCK_ROWS = 4096


@dataclass(frozen=True)
class SoftWhitening:
    """The map of standardised vectors to scaled principal components.

    Args:
        matrix: (dim, component) float32.
    """

    matrix: Tensor

    def apply_in_place(self, rows: Tensor) -> Tensor:
        """Replace the first columns of (row, dim) by the components, and return these."""
        n_components = self.matrix.shape[1]
        for block in torch.split(rows, BLOCK_ROWS):
            block[:, :n_components] = block @ self.matrix
        return rows[:, :n_components]

    def unfold(self, weight: Tensor) -> Tensor:
        """Return weights of standardised vectors, (label, dim), for (label, component)."""
        return weight @ self.matrix.T


def fit_soft_whitening(rows: Tensor) -> SoftWhitening:
    """Fit the map on standardised vectors, (row, dim)."""
    values, vectors = _principal_components(rows)
    chosen = values > LEAST_VARIANCE
    if not chosen.any():  # all vectors are equal
        return SoftWhitening(torch.eye(rows.shape[1])[:, :1])
    values, vectors = values[chosen], vectors[:, chosen]
    scales = (values + DAMPING) ** POWER
    scales /= ((scales.square() * values).sum() / rows.shape[1]).sqrt()
    return SoftWhitening(vectors * scales)


def _principal_components(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return variances (component,) and directions (dim, component)."""
    n_rows, dim = rows.shape
    if n_rows >= dim:
        values, vectors = torch.linalg.eigh(rows.T @ rows / n_rows)
        return values, vectors
    values, left = torch.linalg.eigh(rows @ rows.T / n_rows)
    values = values.clamp(min=torch.finfo(torch.float32).tiny)
    return values, rows.T @ left / (values * n_rows).sqrt()

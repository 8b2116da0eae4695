"""Running mean and variance of vectors."""

from dataclasses import dataclass

import torch

CHUNK_ROWS = 2048  # summed in float32, then added in float64


@dataclass(frozen=True)
class Scales:
    """Mean and standard deviations of the layers of a training part.

    Of what is constant, the deviation is 1.

    mean: (layer, dim). layer: (layer,), over all values of a layer. dim: (layer, dim). average:
    (dim,), of the layers' average.
    """

    mean: torch.Tensor
    layer: torch.Tensor
    dim: torch.Tensor
    average: torch.Tensor


class Moments:
    """Running moments of each layer and of the layers' average (Chan et al. 1979)."""

    def __init__(self) -> None:
        self.count = 0
        self._mean = torch.zeros(1, 1, dtype=torch.float64)
        # Sums of squared differences from the mean
        self._squares = torch.zeros(1, 1, dtype=torch.float64)

    def add(self, rows: torch.Tensor) -> None:
        """Add rows (layer, row, dim)."""
        for chunk in torch.split(rows, CHUNK_ROWS, dim=1):
            if n := chunk.shape[1]:
                values = chunk.float()
                variance, mean = torch.var_mean(
                    torch.cat([values, values.mean(dim=0, keepdim=True)]), dim=1, correction=0
                )
                self._merge(n, mean.double(), variance.double() * n)

    def _merge(self, n: int, mean: torch.Tensor, squares: torch.Tensor) -> None:
        total = self.count + n
        difference = mean - self._mean
        self._squares = self._squares + squares + difference**2 * (self.count * n / total)
        self._mean = self._mean + difference * (n / total)
        self.count = total

    def scales(self) -> Scales:
        """Return the mean and the standard deviations, float32."""
        variance = self._squares / self.count
        mean = self._mean[:-1]
        return Scales(
            mean.float(),
            _deviation(variance[:-1].mean(dim=1)),
            _deviation(variance[:-1]),
            _deviation(variance[-1]),
        )


def _deviation(variance: torch.Tensor) -> torch.Tensor:
    deviation = variance.sqrt().float()
    return torch.where(deviation > 0, deviation, torch.ones_like(deviation))

"""Learned scalar mixes (Peters et al. 2018, equation 1), exported for `elmo embed --mix`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from elmo_cli.downstream.linear import LinearProbes


@dataclass(frozen=True)
class LearnedMix:
    """The shares of the layers in a mix of layers of equal scale, and the scale of each layer."""

    layers: tuple[int, ...]
    shares: tuple[float, ...]
    scales: tuple[float, ...]

    @property
    def center_of_gravity(self) -> float:
        """The mean layer, weighted by the shares (Tenney et al. 2019)."""
        return sum(layer * share for layer, share in zip(self.layers, self.shares, strict=True))

    def to_json(self) -> dict[str, Any]:
        """Return the mix of the layers as they are in the file.

        It equals sum_j share_j (h_j - mean_j) / scale_j, which was trained, up to the same vector
        for all tokens.
        """
        factors = torch.tensor(self.shares, dtype=torch.float64) / torch.tensor(
            self.scales, dtype=torch.float64
        )
        return {
            "weights": factors.log().tolist(),
            "gamma": float(factors.sum()),
            "layer_norm": False,
        }


def learned_mix(probes: LinearProbes, layers: Sequence[int]) -> LearnedMix:
    """Return the learned mix of the first labelling."""
    shares = probes.shares[0].detach().double()
    return LearnedMix(tuple(layers), tuple(shares.tolist()), tuple(probes.scales.layer.tolist()))

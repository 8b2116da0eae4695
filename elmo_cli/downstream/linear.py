"""Softmax regressions on the layers of features, trained together on the same batches."""

from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.nn import functional

from elmo_cli.downstream.moments import Scales

LEARNING_RATE = 5e-3
START_DEVIATION = 0.01
LAYER, AVERAGE, MIX, ALL = "layer", "average", "mix", "all layers"  # kinds of classifiers
KINDS = (LAYER, AVERAGE, MIX, ALL)


class LinearProbes(nn.Module):
    """Classifiers of each layer and of their average, learned mix and concatenation.

    Their losses are added and no parameters are shared, so that Adam trains each independently.
    Inputs are the centred layers; the division by the deviation is folded into the weights: by
    dimension for a layer, the average and all layers, and by layer for the mix, whose shares are
    then those of layers of equal scale.

    Args:
        scales: Mean and deviations of the training part.
        n_classes: Number of labels.
        n_targets: Number of labellings that are learned from the same rows.
        kinds: Kinds of classifiers, of KINDS.
        seed: Seed of the initial weights.
        even_mix: Whether the mix starts with equal instead of random shares.
    """

    def __init__(
        self,
        scales: Scales,
        n_classes: int,
        n_targets: int = 1,
        kinds: Sequence[str] = KINDS,
        seed: int = 0,
        *,
        even_mix: bool = True,
    ) -> None:
        super().__init__()
        self.n_layers, self.dim = scales.mean.shape
        self.kinds = [kind for kind in KINDS if kind in kinds]
        self.n_targets, self.n_classes = n_targets, n_classes
        random = torch.Generator().manual_seed(seed)
        width = n_targets * n_classes

        def normal(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=random) * START_DEVIATION)

        shapes = {
            kind: (self.n_layers, self.dim, width) if kind in (LAYER, ALL) else (self.dim, width)
            for kind in self.kinds
        }
        self.weights = nn.ParameterDict({kind: normal(*shape) for kind, shape in shapes.items()})
        self.biases = nn.Parameter(torch.zeros(self.n_heads, 1, n_targets, n_classes))
        start = (
            torch.zeros(n_targets, self.n_layers)
            if even_mix
            else torch.randn(n_targets, self.n_layers, generator=random)
        )
        self.mix = nn.Parameter(start)  # in shares: their logarithms
        self.scales = scales
        spread = (scales.dim / scales.layer[:, None]).square().mean(dim=0).sqrt()
        self._mix_scale = torch.where(spread > 0, spread, torch.ones_like(spread))  # (dim,)

    @property
    def n_heads(self) -> int:
        """Number of classifiers."""
        return sum(self.n_layers if kind == LAYER else 1 for kind in self.kinds)

    @property
    def shares(self) -> torch.Tensor:
        """Shares of the scaled layers in each labelling's mix, (target, layer), sum 1."""
        return torch.softmax(self.mix, dim=-1)

    def forward(self, layers: torch.Tensor) -> torch.Tensor:
        """Map (layer, row, dim) of any float dtype to logits (classifier, row, target, class)."""
        rows = layers.float() - self.scales.mean[:, None]
        # Products of all kinds, (layer, row, kinds * targets * classes)
        products = torch.bmm(rows, torch.cat(list(self._effective()), dim=-1))
        parts = torch.split(products, self.n_targets * self.n_classes, dim=-1)
        logits = torch.cat(
            [
                part if kind == LAYER else part.sum(dim=0, keepdim=True)
                for kind, part in zip(self.kinds, parts, strict=True)
            ]
        )
        return logits.reshape(self.n_heads, -1, self.n_targets, self.n_classes) + self.biases

    def _effective(self) -> Iterator[torch.Tensor]:
        """Iterate over each kind's weights for centred layers, (layer, dim, target * class)."""
        for kind in self.kinds:
            weights = self.weights[kind]
            if kind in (LAYER, ALL):
                yield weights / self.scales.dim[:, :, None]
            elif kind == AVERAGE:
                yield (weights / self.scales.average[:, None] / self.n_layers).expand(
                    self.n_layers, -1, -1
                )
            else:
                # The share of each layer, (layer, target * class)
                shares = (self.shares / self.scales.layer).T.repeat_interleave(
                    self.n_classes, dim=1
                )
                yield shares[:, None] * (weights / self._mix_scale[:, None])


class Trainer:
    """Training with Adam, whose learning rate falls to 0."""

    def __init__(self, probes: LinearProbes) -> None:
        self.probes = probes
        self._adam = torch.optim.Adam(probes.parameters(), lr=LEARNING_RATE)

    def step(self, layers: torch.Tensor, labels: torch.Tensor, share_done: float) -> None:
        """Update the classifiers on a batch.

        Args:
            layers: (layer, row, dim).
            labels: (row, target) int64, of which the first targets are learned.
            share_done: Completed share of the training, from 0 to 1.
        """
        for group in self._adam.param_groups:
            group["lr"] = LEARNING_RATE * (1 - share_done)
        logits = self.probes(layers)
        n_heads, n_rows = logits.shape[:2]
        targets = labels[:, : self.probes.n_targets].expand(n_heads, -1, -1)
        loss = (
            functional.cross_entropy(logits.flatten(0, 2), targets.flatten(), reduction="sum")
            / n_rows
        )
        self._adam.zero_grad(set_to_none=True)
        loss.backward()
        self._adam.step()


@torch.no_grad()
def predict(probes: LinearProbes, layers: torch.Tensor) -> torch.Tensor:
    """Return the classes (classifier, target, row) int64 for (layer, row, dim)."""
    logits: torch.Tensor = probes(layers)
    return logits.argmax(dim=-1).transpose(1, 2)

"""Linear models of sentence vectors: classes, sets of labels, numbers."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from elmo_cli.downstream.examples import LABEL_SETS, NUMBERS, SENTENCES

EVEN = 0.5


class SentenceHead(nn.Module):
    """A linear model of pooled vectors.

    Args:
        task: SENTENCES, LABEL_SETS or NUMBERS.
        dim: Width of the vectors.
        n_labels: Number of labels; 1 for numbers.
        norm: "standard" for the mean and deviation of each dimension in the training part, "layer"
            for those of each vector.
    """

    def __init__(self, task: str, dim: int, n_labels: int, norm: str = "standard") -> None:
        super().__init__()
        self.task = task
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("deviation", torch.ones(dim))
        self.norm = nn.LayerNorm(dim) if norm == "layer" else None
        self.linear = nn.Linear(dim, n_labels)

    def forward(self, rows: Tensor) -> Tensor:
        """(sentence, dim) → logits or numbers, (sentence, label)."""
        output: Tensor = self.linear(self.normalise(rows))
        return output

    def normalise(self, rows: Tensor) -> Tensor:
        """(sentence, dim) → the same, normalised."""
        if self.norm is not None:
            normalised: Tensor = self.norm(rows)
            return normalised
        return (rows - self.mean) / self.deviation  # type: ignore[operator]  # buffers are untyped

    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits → probabilities, (sentence, label); numbers stay as they are."""
        if self.task == NUMBERS:
            return logits
        return torch.softmax(logits, -1) if self.task == SENTENCES else torch.sigmoid(logits)


def target_loss(
    task: str, logits: Tensor, targets: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Return the mean loss of a batch.

    Args:
        task: SENTENCES, LABEL_SETS or NUMBERS.
        logits: (sentence, label).
        targets: (sentence,) int64, (sentence, label) float of 0 and 1, or (sentence, 1) float.
        weights: Of the labels, (label,); None: all 1.
    """
    if task == SENTENCES:
        return functional.cross_entropy(logits, targets, weights)
    if task == LABEL_SETS:
        return functional.binary_cross_entropy_with_logits(
            logits, targets, pos_weight=weights, reduction="sum"
        ) / len(targets)
    return functional.mse_loss(logits, targets) / 2


def encode_targets(task: str, targets: Sequence[object], labels: Sequence[str]) -> Tensor:
    """Return targets as `target_loss` takes them.

    Labels that are not listed are -1, or left out of sets.
    """
    if task == NUMBERS:
        return torch.tensor(targets, dtype=torch.float32)[:, None]
    places = {label: i for i, label in enumerate(labels)}
    if task == SENTENCES:
        return torch.tensor([places.get(str(one), -1) for one in targets])
    found = torch.zeros(len(targets), len(labels))
    for row, one in enumerate(targets):
        found[row, [places[label] for label in one if label in places]] = 1  # type: ignore[attr-defined]  # a tuple of labels
    return found

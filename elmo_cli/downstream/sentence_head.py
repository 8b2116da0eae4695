"""Linear models of sentence vectors (classes, sets of labels, numbers), trained with L-BFGS."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from elmo_cli.downstream.examples import LABEL_SETS, NUMBERS, SENTENCES
from elmo_cli.downstream.training_steps import TrainingStep
from elmo_cli.errors import ElmoError

# Tried in this order, each from the weights of the one before
PENALTIES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
DEFAULT_PENALTY = 0.1  # without held-out sentences
PATIENCE = 2  # penalties that are worse than the best before the search ends
ITERATIONS = 60
LEAST_DEVIATION = 1e-12
EVEN = 0.5

Score = Callable[[Tensor], float]


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


@dataclass
class PenaltySearch:
    """Training of a linear model with the l2 penalty that is best on held-out sentences.

    Args:
        head: The model, trained in place.
        rows: Vectors of all sentences, (sentence, dim).
        targets: As `target_loss` takes them.
        train: Sentences to learn from.
        held_out: Sentences by which the penalty is chosen; none: DEFAULT_PENALTY.
        score: The score of logits of the held-out sentences.
        weights: Weights of the labels; None: all 1.
        final: Training sentences of the final model.
    """

    head: SentenceHead
    rows: Tensor
    targets: Tensor
    train: Sequence[int]
    held_out: Sequence[int]
    score: Score
    weights: Tensor | None
    final: Sequence[int]
    penalty: float = DEFAULT_PENALTY
    history: list[TrainingStep] = field(default_factory=list)

    def run(self) -> Iterator[TrainingStep]:
        """Search, then train the final model, yielding after each penalty.

        Raises:
            ElmoError: The loss is not finite.
        """
        deviation, mean = torch.std_mean(self.rows[list(self.train)], dim=0, correction=0)
        self.head.mean.copy_(mean)  # type: ignore[operator]  # buffers are untyped
        self.head.deviation.copy_(
            torch.where(deviation > LEAST_DEVIATION, deviation, torch.ones_like(deviation))
        )  # type: ignore[operator]
        nn.init.zeros_(self.head.linear.weight)
        nn.init.zeros_(self.head.linear.bias)
        with torch.no_grad():
            normalised = self.head.normalise(self.rows)
        best, worse = -np.inf, 0
        chosen = [value.detach().clone() for value in self.head.linear.parameters()]
        for penalty in PENALTIES if len(self.held_out) else ():
            loss = self._minimise(normalised, self.train, penalty)
            with torch.no_grad():
                score = self.score(self.head.linear(normalised[list(self.held_out)]))
            is_best = score > best
            worse = 0 if is_best else worse + 1
            if is_best:
                best, self.penalty = score, penalty
                chosen = [value.detach().clone() for value in self.head.linear.parameters()]
            self.history.append(TrainingStep(f"l2 {penalty:g}", loss, score, is_best))
            yield self.history[-1]
            if worse == PATIENCE:
                break
        with torch.no_grad():
            for parameter, value in zip(self.head.linear.parameters(), chosen, strict=True):
                parameter.copy_(value)
        if not self.history or list(self.final) != list(self.train):
            self._minimise(normalised, self.final, self.penalty)

    def _minimise(self, normalised: Tensor, chosen: Sequence[int], penalty: float) -> float:
        rows, targets = normalised[list(chosen)], self.targets[list(chosen)]
        linear = self.head.linear
        optimizer = torch.optim.LBFGS(
            linear.parameters(), max_iter=ITERATIONS, history_size=8, line_search_fn="strong_wolfe"
        )
        loss = torch.zeros(())

        def closure() -> Tensor:
            nonlocal loss
            optimizer.zero_grad()
            loss = target_loss(self.head.task, linear(rows), targets, self.weights)
            penalised = loss + penalty / 2 * linear.weight.square().sum()
            penalised.backward()  # type: ignore[no-untyped-call]  # torch's
            return penalised

        optimizer.step(closure)  # type: ignore[no-untyped-call]  # torch's
        if not loss.isfinite() or not linear.weight.isfinite().all():
            raise ElmoError(
                f"the loss is {loss.item()} with the penalty {penalty:g}; check the model and its "
                "vectors"
            )
        return loss.item()


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

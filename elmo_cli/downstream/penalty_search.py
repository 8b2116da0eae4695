"""Training of a linear model of sentence vectors, with the l2 penalty chosen on held-out ones."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from elmo_cli.downstream.examples import LABEL_SETS, NUMBERS, SENTENCES
from elmo_cli.downstream.sentence_head import SentenceHead, target_loss
from elmo_cli.downstream.soft_whitening import fit_soft_whitening
from elmo_cli.downstream.training_steps import (
    TrainingStep,
    best_score,
    n_worse,
    plain,
)
from elmo_cli.errors import DivergenceError

# Tried in this order, each from the weights of the one before.
PENALTIES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
DEFAULT_PENALTY = 0.1  # without held-out sentences
PATIENCE = 2  # penalties that are worse than the best before the search ends
# Of L-BFGS for each penalty. From there on the held-out score of classes changes little.
ITERATIONS = {SENTENCES: 10, LABEL_SETS: 10, NUMBERS: 60}
FINAL_ITERATIONS = 30  # at least, on all sentences
HISTORY = 8  # gradients from which L-BFGS estimates the curvature
LEAST_DEVIATION = 1e-12

Score = Callable[[Tensor], float]


@dataclass
class PenaltySearch:
    """Training of a linear model with the l2 penalty that is best on held-out sentences.

    Args:
        head: The model, trained in place.
        rows: Vectors, (sentence, dim): of the training sentences first, then of the held-out
            ones. They are replaced by their softly whitened components.
        targets: As `target_loss` takes them, in the same order.
        n_train: Number of training sentences. Without held-out ones, the penalty is
            DEFAULT_PENALTY.
        score: The score of logits of the held-out sentences.
        weights: Weights of the labels; None: all 1.
        n_final: Number of sentences that the final model is trained on: `n_train`, or all.
    """

    head: SentenceHead
    rows: Tensor
    targets: Tensor
    n_train: int
    score: Score
    weights: Tensor | None
    n_final: int
    penalty: float = DEFAULT_PENALTY
    history: list[TrainingStep] = field(default_factory=list)

    def __post_init__(self) -> None:
        deviation, mean = torch.std_mean(self.rows[: self.n_train], dim=0, correction=0)
        deviation = torch.where(deviation > LEAST_DEVIATION, deviation, torch.ones_like(deviation))
        self.head.mean.copy_(mean)  # type: ignore[operator]  # buffers are untyped
        self.head.deviation.copy_(deviation)  # type: ignore[operator]
        self.rows.sub_(mean).div_(deviation)
        self._whitening = fit_soft_whitening(self.rows[: self.n_train])
        self._components = self._whitening.apply_in_place(self.rows)
        self._linear = nn.Linear(self._components.shape[1], self.head.linear.out_features)
        nn.init.zeros_(self._linear.weight)
        nn.init.zeros_(self._linear.bias)
        self._scale, self._shift = 1.0, 0.0
        if self.head.task == NUMBERS:
            self._scale, self._shift = self._standardise_numbers()
        self._best = self._copy()

    def _standardise_numbers(self) -> tuple[float, float]:
        """Standardise the targets; return their deviation and mean in the training part."""
        exact = self.targets.double()
        deviation, mean = torch.std_mean(exact[: self.n_train], correction=0)
        scale = float(deviation) or 1.0
        self.targets = ((exact - mean) / scale).float()
        return scale, float(mean)

    def run(self) -> Iterator[TrainingStep]:
        """Search, then train the final model, yielding after each penalty.

        Raises:
            DivergenceError: The loss is not finite.
        """
        penalties = PENALTIES[len(self.history) :] if self.n_train < len(self.rows) else ()
        for penalty in penalties:
            if n_worse(self.history) == PATIENCE:
                break
            self.history.append(self._try(penalty))
            yield self.history[-1]
        self.restore_best()
        if not self.history or self.n_final > self.n_train:
            self._load(self._best)
            iterations = max(FINAL_ITERATIONS, ITERATIONS[self.head.task])
            self._minimise(self.n_final, self.penalty, iterations)
            self._best = self._copy()
            self.restore_best()

    def restore_best(self) -> None:
        """Load the weights of the best penalty into the model."""
        weight, bias = self._best
        with torch.no_grad():
            self.head.linear.weight.copy_(self._whitening.unfold(weight) * self._scale)
            self.head.linear.bias.copy_(bias * self._scale + self._shift)

    def state(self) -> dict[str, Any]:
        """Return what a later run needs to continue after the last step."""
        return {
            "history": plain(self.history),
            "penalty": self.penalty,
            "current": self._copy(),
            "best": self._best,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.history = [TrainingStep(*step) for step in state["history"]]
        self.penalty = state["penalty"]
        self._best = state["best"]
        self._load(state["current"])

    def _load(self, values: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self._linear.parameters(), values, strict=True):
                parameter.copy_(value)

    def _copy(self) -> list[Tensor]:
        return [value.detach().clone() for value in self._linear.parameters()]

    def _try(self, penalty: float) -> TrainingStep:
        loss = self._minimise(self.n_train, penalty, ITERATIONS[self.head.task])
        with torch.no_grad():
            outputs = self._linear(self._components[self.n_train :])
            score = self.score(outputs * self._scale + self._shift)
        is_best = score > best_score(self.history)
        if is_best:
            self.penalty, self._best = penalty, self._copy()
        return TrainingStep(f"l2 {penalty:g}", loss, score, is_best)

    def _minimise(self, n_rows: int, penalty: float, iterations: int) -> float:
        """Minimise the penalised loss of the first rows from the present weights; return it."""
        rows, targets, linear = self._components[:n_rows], self.targets[:n_rows], self._linear
        optimizer = torch.optim.LBFGS(
            linear.parameters(),
            max_iter=iterations,
            history_size=HISTORY,
            line_search_fn="strong_wolfe",
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
            fact = f"the loss is {loss.item()} with the penalty {penalty:g}"
            raise DivergenceError(f"{fact}; check the model and its vectors")
        return loss.item()

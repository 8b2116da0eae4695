"""Reported steps of a training: epochs or penalties."""

from collections.abc import Sequence
from typing import Any, NamedTuple


class TrainingStep(NamedTuple):
    """The state of a training after a step."""

    name: str  # such as "epoch 3 of 18", or "l2 0.03"
    loss: float
    score: float  # on the held-out sentences
    is_best: bool

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return self._asdict()


def best_score(history: Sequence[TrainingStep]) -> float:
    """Return the best score so far; minus infinity before the first step."""
    return max((step.score for step in history), default=float("-inf"))


def n_worse(history: Sequence[TrainingStep]) -> int:
    """Return the number of steps since the best one."""
    return next((i for i, step in enumerate(reversed(history)) if step.is_best), len(history))


def plain(history: Sequence[TrainingStep]) -> list[tuple[Any, ...]]:
    """Return steps as plain tuples, which torch loads without pickle's classes."""
    return [tuple(step) for step in history]

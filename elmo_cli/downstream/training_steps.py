"""Reported steps of a training: epochs or penalties."""

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

"""Numerical results of a probe."""

from dataclasses import dataclass
from typing import Any

from elmo_cli.downstream.mix import LearnedMix
from elmo_cli.downstream.statistics import Interval


@dataclass(frozen=True)
class ControlRow:
    """Accuracy in the control task, and selectivity."""

    score: float
    selectivity: float


@dataclass(frozen=True)
class Row:
    """Scores of one classifier."""

    name: str
    interval: Interval
    accuracy: float
    unseen: float | None  # score on words that the training part does not have
    difference: Interval | None  # to the best layer; None for that layer itself
    control: ControlRow | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        found: dict[str, Any] = {
            "name": self.name,
            **self.interval._asdict(),
            "accuracy": self.accuracy,
            "unseen": self.unseen,
        }
        found["difference"] = self.difference and self.difference._asdict()
        if self.control:
            found |= {"control": self.control.score, "selectivity": self.control.selectivity}
        return found


@dataclass(frozen=True)
class MixReport:
    """The learned mix of each seed with its score.

    The first is the one of the row and of --mix-output.
    """

    mixes: list[LearnedMix]
    scores: list[float]

    def spread(self, layer: int) -> tuple[float, float]:
        """Return the lowest and the highest share of a layer, by its place."""
        shares = [mix.shares[layer] for mix in self.mixes]
        return min(shares), max(shares)

    @property
    def centers(self) -> list[float]:
        """Center of gravity for each seed."""
        return [mix.center_of_gravity for mix in self.mixes]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        first = self.mixes[0]
        return {
            "layers": list(first.layers),
            "shares": list(first.shares),
            "shares_spread": [list(self.spread(i)) for i in range(len(first.layers))],
            "center_of_gravity": first.center_of_gravity,
            "center_of_gravity_spread": [min(self.centers), max(self.centers)],
            "seeds": [
                {
                    "score": score,
                    "shares": list(mix.shares),
                    "center_of_gravity": mix.center_of_gravity,
                }
                for score, mix in zip(self.scores, self.mixes, strict=True)
            ],
            "file": first.to_json(),
        }


@dataclass(frozen=True)
class PartReport:
    """The size of a part."""

    features: str
    sentences: int
    rows: int
    new_words: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {key: value for key, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Report:
    """The result of a probe."""

    metric: str
    unit: str  # of a row: "token" or "sentence"
    train: PartReport
    test: PartReport
    n_classes: int
    best_layer: str
    rows: list[Row]
    mix: MixReport | None
    ceiling: float | None  # of the control task
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        found: dict[str, Any] = {
            "metric": self.metric,
            "unit": self.unit,
            "train": self.train.to_json(),
            "test": self.test.to_json(),
            "labels": self.n_classes,
            "best_layer": self.best_layer,
            "rows": [row.to_json() for row in self.rows],
            "mix": self.mix and self.mix.to_json(),
        }
        if self.ceiling is not None:
            found["control_ceiling"] = self.ceiling
        return {**found, "notes": self.notes}

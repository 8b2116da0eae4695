"""Settings that determine the result of a training run, stored with its checkpoints."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

LEARNING_RATES = {"adagrad": 0.2, "adamw": 2e-3}
# For bilm-tf's summed loss of a window's steps, and our mean
GRADIENT_CLIPS = {"adagrad": 10.0, "adamw": 1.0}
FLOOR = 0.05  # last learning rate of the cosine, as a share of the peak


@dataclass(frozen=True)
class Settings:
    """Settings of a run; None means no limit, or a value that is determined at the start.

    Attributes:
        streams: Number of streams.
        unroll: Steps of a window.
        reset_share: Share of the sentences that start from the zero state.
        softmax: "sampled" or "full".
        samples: Draws of the sampled softmax.
        optimizer: "adamw" or "adagrad".
        learning_rate: Peak learning rate.
        warm_up: Steps of the warm-up.
        gradient_clip: Largest norm of a gradient.
        dropout: Share of the values that become 0.
        steps: Length of the run in steps.
        tokens: Length of the run in words predicted in each direction.
        epochs: Length of the run in passes over the corpus.
        minutes: Limit of the training time.
        softmax_first: Share of the run in which only the softmax is trained.
        precision: Precision of the products.
        seed: Seed of all random numbers.
    """

    streams: int = 128
    unroll: int = 20
    reset_share: float = 0.0
    softmax: str = "sampled"
    samples: int = 4096
    optimizer: str = "adamw"
    learning_rate: float = LEARNING_RATES["adamw"]
    warm_up: int = 200
    gradient_clip: float = GRADIENT_CLIPS["adamw"]
    dropout: float = 0.1
    steps: int | None = None
    tokens: int | None = None
    epochs: float | None = None
    minutes: float | None = None
    softmax_first: float | None = None
    precision: str = "fp32"
    seed: int = 1

    def is_sampled(self, n_words: int) -> bool:
        """Return whether the softmax is sampled: it is full if it has at most `samples` words."""
        return self.softmax == "sampled" and self.samples < n_words

    def total_steps(self, windows: int, streams: int, unroll: int) -> int | None:
        """Return the steps of the run, or None if only time limits it.

        Args:
            windows: Windows of an epoch.
            streams: Number of streams.
            unroll: Steps of a window.
        """
        if self.steps is not None:
            return self.steps
        if self.tokens is not None:
            return max(1, math.ceil(self.tokens / (streams * unroll)))
        return None if self.epochs is None else max(1, round(self.epochs * windows))

    def share_done(self, step: int, total: int | None, seconds: float) -> float:
        """Return the complete share of the run, the larger of those by steps and by time.

        Args:
            step: Number of steps.
            total: Steps of the run; None: no limit.
            seconds: Training time.
        """
        by_steps = step / total if total else 0.0
        return min(1.0, max(by_steps, seconds / (60 * self.minutes) if self.minutes else 0.0))

    def rate(self, step: int, share_done: float) -> float:
        """Return the learning rate of a step: warm-up and cosine for AdamW, constant for Adagrad.

        Args:
            step: Step from 0.
            share_done: Share of the run that is complete.
        """
        if self.optimizer == "adagrad":
            return self.learning_rate
        cosine = 0.5 * (1 + math.cos(math.pi * share_done))
        return (
            self.learning_rate
            * min(1.0, (step + 1) / max(1, self.warm_up))
            * (FLOOR + (1 - FLOOR) * cosine)
        )


@dataclass(frozen=True)
class Run:
    """Description of a training run.

    Attributes:
        corpora: Paths of the training text.
        options: Architecture as in options.json; None: that of `start`.
        start: Model to continue from; None: random weights.
        vocabulary: "new", or "old" for that of `start`.
        vocabulary_size: Largest number of words of the softmax.
        min_count: Smallest number of occurrences of a word of the softmax.
        held_out: Paths of the held-out text.
        separator: Separator of the tokens.
        encoding_errors: Treatment of bytes that are not UTF-8.
        storage: Type of the stored weights.
        licence: Licence for the model card.
        command: Command of the run.
        settings: Settings of the run.
    """

    corpora: tuple[str, ...]
    options: Mapping[str, Any] | None
    start: str | None = None
    vocabulary: str = "new"
    vocabulary_size: int | None = 30_000
    min_count: int = 1
    held_out: tuple[str, ...] = ()
    separator: str = "whitespace"
    encoding_errors: str = "strict"
    storage: str = "float32"
    licence: str | None = None
    command: str = "elmo train"
    settings: Settings = field(default_factory=Settings)

    def to_json(self) -> dict[str, Any]:
        """Return the description as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Run":
        """Return the description of JSON values."""
        tuples = {name: tuple(values[name]) for name in ("corpora", "held_out")}
        return cls(**{**values, **tuples, "settings": Settings(**values["settings"])})

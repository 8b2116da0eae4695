"""What decides the result of a training run: kept in its checkpoints, so that a resumed run is the same run."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

LEARNING_RATES = {"adagrad": 0.2, "adamw": 2e-3}
GRADIENT_CLIPS = {"adagrad": 10.0, "adamw": 1.0}  # bilm-tf's with its loss summed over the steps of a window, ours with the mean
FLOOR = 0.05  # of the peak: where the cosine ends


@dataclass(frozen=True)
class Settings:
    """The settings of a run; what is None is not limited, or settled when the run starts."""

    streams: int = 128
    unroll: int = 20
    reset_share: float = 0.0  # of the sentences start from the zero state
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
    softmax_first: float | None = None  # share of the run in which the softmax alone learns; None: settled by the start
    precision: str = "fp32"
    seed: int = 1

    def is_sampled(self, n_words: int) -> bool:
        """Whether the softmax is sampled: it is full where it has no more words than would be drawn."""
        return self.softmax == "sampled" and self.samples < n_words

    def total_steps(self, windows: int, streams: int, unroll: int) -> int | None:
        """Steps of the whole run over a corpus of that many windows; None if time alone ends it."""
        if self.steps is not None:
            return self.steps
        if self.tokens is not None:
            return max(1, math.ceil(self.tokens / (streams * unroll)))
        return None if self.epochs is None else max(1, round(self.epochs * windows))

    def share_done(self, step: int, total: int | None, seconds: float) -> float:
        """How much of the run is over, by steps or by time, whichever is nearer to its end."""
        by_steps = step / total if total else 0.0
        return min(1.0, max(by_steps, seconds / (60 * self.minutes) if self.minutes else 0.0))

    def rate(self, step: int, share_done: float) -> float:
        """The learning rate of a step, from 0: linear warm-up and cosine for AdamW, constant for Adagrad."""
        if self.optimizer == "adagrad":
            return self.learning_rate
        cosine = 0.5 * (1 + math.cos(math.pi * share_done))
        return self.learning_rate * min(1.0, (step + 1) / max(1, self.warm_up)) * (FLOOR + (1 - FLOOR) * cosine)


@dataclass(frozen=True)
class Run:
    """A whole run: what is trained, on what, and how."""

    corpora: tuple[str, ...]
    options: Mapping[str, Any] | None  # of the architecture, as in options.json; None: the start's
    start: str | None = None  # the model to go on from; None: random weights
    vocabulary: str = "new"  # or "old": the start's
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
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Run":
        """From plain values."""
        tuples = {name: tuple(values[name]) for name in ("corpora", "held_out")}
        return cls(**{**values, **tuples, "settings": Settings(**values["settings"])})

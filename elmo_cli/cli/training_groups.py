"""Option groups of `elmo train`, with checks and conversion to the settings of a run."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elmo_cli.errors import UsageError
from elmo_cli.nn.presets import PRESETS
from elmo_cli.training.settings import GRADIENT_CLIPS, LEARNING_RATES

DEFAULT_EPOCHS = 10.0


@dataclass(frozen=True)
class ArchitectureOptions:
    """Options of the architecture, and of the model whose weights are the start."""

    preset: str | None
    options: Path | None
    start: str | None
    vocabulary: str

    def __post_init__(self) -> None:
        if self.options and self.preset:
            raise UsageError("--options and --preset set the same value; pass one of them.")
        if self.vocabulary == "old" and not self.start:
            raise UsageError("--vocabulary old needs --from MODEL.")

    def read(self) -> dict[str, Any] | None:
        """Return the architecture as in options.json; None: that of the start model.

        Raises:
            ModelError: The file is not an architecture.
        """
        if self.options is None:
            preset = self.preset or (None if self.start else "tiny")
            return PRESETS[preset] if preset else None
        from elmo_cli.models.formats.options_json import parse_options, read_options

        architecture = read_options(self.options)
        parse_options(architecture, self.options)
        return json.loads(json.dumps(architecture))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class TextOptions:
    """Paths of the corpus and of the model's folder; options of the text."""

    paths: tuple[Path, ...]
    vocabulary_size: int
    min_count: int
    held_out: tuple[Path, ...]
    separator: str
    encoding_errors: str

    @property
    def corpora(self) -> tuple[str, ...]:
        """Paths of the training text."""
        return tuple(map(str, self.paths[:-1]))

    @property
    def folder(self) -> Path:
        """Folder of the model."""
        return self.paths[-1]


@dataclass(frozen=True)
class LengthOptions:
    """Options of the length of a run."""

    epochs: float | None
    steps: int | None
    tokens: int | None
    minutes: float | None

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.steps, self.tokens, self.epochs)) > 1:
            raise UsageError("--steps, --tokens and --epochs set the same value; pass one of them.")

    def settings(self) -> dict[str, Any]:
        """Return the values of the fields of Settings."""
        is_limited = any((self.steps, self.tokens, self.epochs, self.minutes))
        epochs = self.epochs if is_limited else DEFAULT_EPOCHS
        return {
            "steps": self.steps,
            "tokens": self.tokens,
            "epochs": epochs,
            "minutes": self.minutes,
        }


@dataclass(frozen=True)
class TrainingOptions:
    """Options of the optimizer, the softmax and the batches."""

    optimizer: str
    learning_rate: float | None
    warm_up: int
    gradient_clip: float | None
    dropout: float
    softmax: str
    softmax_first: float | None
    samples: int
    streams: int
    unroll: int
    sentences: bool
    reset: float | None
    precision: str
    seed: int

    def settings(self) -> dict[str, Any]:
        """Return the values of the fields of Settings."""
        values = dict(vars(self))
        reset, sentences = values.pop("reset"), values.pop("sentences")
        return {
            **values,
            "learning_rate": self.learning_rate or LEARNING_RATES[self.optimizer],
            "gradient_clip": self.gradient_clip or GRADIENT_CLIPS[self.optimizer],
            "reset_share": float(sentences) if reset is None else reset,
        }


@dataclass(frozen=True)
class CheckpointOptions:
    """Options of a run's checkpoints, and of the devices, which may change when it is resumed."""

    resume: bool
    checkpoint_minutes: float
    device: str
    threads: int | None


@dataclass(frozen=True)
class WeightsOptions:
    """Options of the model that is written."""

    float16: bool
    licence: str | None

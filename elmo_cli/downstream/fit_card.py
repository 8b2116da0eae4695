"""The card of a trained classifier (Markdown) and its figures (JSON)."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from elmo_cli.downstream.evaluation import Evaluation
from elmo_cli.downstream.examples import NUMBERS, OF_TOKENS
from elmo_cli.downstream.fit_data import FitData, FitSources
from elmo_cli.downstream.predictor_folder import PredictorSettings
from elmo_cli.downstream.training_steps import TrainingStep
from elmo_cli.errors import printable
from elmo_cli.io.inputs import expand_input
from elmo_cli.models.cache import sha256
from elmo_cli.version import __version__

SHOWN_LABELS = 30
JOB_SHA256 = "job_sha256"  # in the figures: identifies data, options and biLM


@dataclass(frozen=True)
class FitFacts:
    """Record of a training run."""

    sources: FitSources
    data: FitData
    settings: PredictorSettings
    history: list[TrainingStep]
    test: Evaluation | None
    seconds: dict[str, float]
    peak_mib: float
    seed: int
    command: str
    stopped: bool
    notes: list[str]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def best(self) -> TrainingStep | None:
        """The step with the best held-out score."""
        return max(
            (step for step in self.history if step.is_best),
            key=lambda step: step.score,
            default=None,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        data = self.data
        return {
            "task": data.task,
            "labels": len(data.labels),
            "scheme": data.scheme,
            "train": {
                "source": self.sources.train,
                "sentences": len(data.train),
                "sha256": _hashes(self.sources.train),
            },
            "held_out": {
                "source": self.sources.dev or self.sources.train,
                "sentences": len(data.held_out),
                "own_file": data.own_dev,
            },
            "settings": {
                name: value for name, value in asdict(self.settings).items() if name != "labels"
            },
            "held_out_score": self.best and self.best.score,
            "test": self.test
            and {
                **self.test.to_json(),
                "source": self.sources.test,
                "sha256": _hashes(str(self.sources.test)),
            },
            "history": [step.to_json() for step in self.history],
            **self.facts,
            "seed": self.seed,
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
            "peak_mib": round(self.peak_mib),
            "stopped": self.stopped,
            "notes": self.notes,
            "command": self.command,
            "elmo_version": __version__,
        }


def write_metrics(path: Path, facts: FitFacts) -> None:
    """Write the figures as JSON.

    Raises:
        OSError: They cannot be written.
    """
    path.write_text(
        json.dumps(facts.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def write_card(name: str, facts: FitFacts) -> str:
    """Return the card of a classifier."""
    data, settings = facts.data, facts.settings
    unit = "tokens" if data.task in OF_TOKENS else "sentences"
    what = "numbers" if data.task == NUMBERS else f"{len(data.labels):,} labels"
    lines = [
        f"# {name}",
        "",
        (
            f"A classifier of {unit} ({what}) on the vectors of an ELMo biLM, trained with elmo "
            f"{__version__}."
        ),
        (
            f"Apply it with `elmo predict {name} INPUT OUTPUT`, or in Python with "
            f"`elmo_cli.load_predictor({name!r})`."
        ),
        "",
        "| | |",
        "|---|---|",
        *_rows(facts),
        "",
    ]
    if facts.stopped:
        lines += ["The training was interrupted; the weights are the best up to then.", ""]
    if facts.test and facts.test.by_label:
        lines += ["| label | precision | recall | F1 | in the test part |", "|---|---|---|---|---|"]
        lines += [
            f"| {_cell(r.label)} | {r.precision:.3f} | {r.recall:.3f} | {r.f1:.3f} | {r.support:,} "
            "|"
            for r in facts.test.by_label
        ]
        lines.append("")
    lines += [*(f"- {note}" for note in facts.notes), *([""] if facts.notes else [])]
    lines.append(
        f"Licence: not stated; those of the training data and of the biLM {settings.model!r} apply."
    )
    return "\n".join(lines) + "\n"


def _rows(facts: FitFacts) -> Iterator[str]:
    data, settings, sources = facts.data, facts.settings, facts.sources
    labels = ", ".join(map(_cell, data.labels[:SHOWN_LABELS])) + ", ..." * (
        len(data.labels) > SHOWN_LABELS
    )
    yield f"| labels | {labels or 'numbers'} (`--label {_cell(sources.label)}`) |"
    for part, source in (
        ("training part", sources.train),
        ("held-out part", sources.dev),
        ("test part", sources.test),
    ):
        if source:
            yield (
                f"| {part} | {_cell(source)}, sha256 "
                f"{', '.join(_hashes(source)) or 'not computed'} |"
            )
    own = "" if data.own_dev else " of the training part"
    yield f"| sentences | {len(data.train):,} to learn from, {len(data.held_out):,} held out{own} |"
    vectors = f"layers {settings.layers}" + (
        f", pooled by {settings.pool}" if settings.pool != "none" else ""
    )
    yield (
        f"| vectors | {vectors} of the biLM {_cell(settings.model)}, sha256 "
        f"{settings.model_sha256} |"
    )
    yield (
        f"| classifier | {settings.head}"
        + (f", layers {settings.mix}" if settings.of_tokens else "")
        + " |"
    )
    if settings.scheme:
        yield (
            f"| tags | {str(settings.output_scheme).upper()}; predicted as "
            f"{settings.scheme.upper()} |"
        )
    if facts.best:
        yield (
            f"| held-out score | {facts.best.score:.4f} ({facts.best.name}), by which the weights "
            "were chosen |"
        )
    if facts.test:
        score, low, high = facts.test.interval
        interval = f"95 % interval {low:.4f} to {high:.4f}, bootstrap over sentences"
        yield f"| test: {facts.test.metric} | {score:.4f} ({interval}) |"
    yield f"| time, memory | {facts.seconds['all']:.0f} s, {facts.peak_mib:,.0f} MiB |"
    yield f"| seed | {facts.seed} |"
    yield f"| command | `{_cell(facts.command)}` |"


def _hashes(source: str) -> list[str]:
    """Return the sha256 of the local files of an input."""
    return [
        sha256(file)
        for file in expand_input(source).files
        if isinstance(file, Path) and file.is_file()
    ]


def _cell(text: str) -> str:
    return printable(" ".join(text.replace("|", "\\|").replace("`", "'").split()))

"""Options of `elmo fit`, in groups that become the settings of a training."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from elmo_cli.cli.headings import INPUT, OUTPUT, RESUME, TRAINING, headed
from elmo_cli.cli.parameter_types import FILE, Integer, Number
from elmo_cli.errors import UsageError
from elmo_cli.readers.options import ReadOptions

if TYPE_CHECKING:
    from elmo_cli.downstream.fit_data import FitSources
    from elmo_cli.downstream.fit_options import FitOptions

# As in token_head.py, which imports torch
HEADS, MIXES = ("linear", "crf", "lstm-crf"), ("learned", "concat")
POOLS = ("mean+max", "mean", "max", "first", "last")

data_options = headed(
    INPUT,
    click.option(
        "--dev",
        metavar="FILE",
        help="Held-out data, used to choose the weights.  [default: a tenth of TRAIN]",
    ),
    click.option("--test", metavar="FILE", help="Test data, used after training."),
    click.option(
        "--multi-label",
        is_flag=True,
        help="Learn a set of labels for each sentence: a list, or labels separated by |.",
    ),
    click.option("--regression", is_flag=True, help="Learn a number for each sentence."),
    click.option(
        "--repair", is_flag=True, help="Read a tag I-X that does not continue a span as B-X."
    ),
    click.option(
        "--tag-scheme",
        type=click.Choice(["iob2", "iobes"]),
        help="Tag scheme of the classifier.  [default: that of TRAIN]",
    ),
)
classifier_options = headed(
    TRAINING,
    click.option(
        "--head",
        type=click.Choice(HEADS),
        help="Classifier of tokens.  [default: lstm-crf for tags of spans, else linear]",
    ),
    click.option(
        "--layers",
        metavar="CHOICE",
        default="all",
        show_default=True,
        help="Layers to use: all, top, average, or a list such as 0,2.",
    ),
    click.option(
        "--mix",
        type=click.Choice(MIXES),
        help=(
            "Combination of the layers for labels of tokens: a learned mix, or concatenated.  "
            "[default: by --head]"
        ),
    ),
    click.option(
        "--pool",
        type=click.Choice(POOLS),
        help="Pooling over the tokens for labels of sentences.  [default: mean+max]",
    ),
    click.option(
        "--balanced", is_flag=True, help="Weight the labels by inverse frequency in the loss."
    ),
    click.option(
        "--fine-tune",
        is_flag=True,
        help="Train the biLM and a mix of its layers too; the biLM is written to MODEL_DIR/bilm.",
    ),
    click.option(
        "--learning-rate",
        type=Number(above=0, most=1),
        help="Learning rate of the biLM, with --fine-tune.  [default: 0.001]",
    ),
    click.option(
        "--epochs",
        type=Integer(1, 1000),
        help=(
            "Number of epochs, for labels of tokens or with --fine-tune.  [default: by the size of "
            "TRAIN; with --fine-tune 4]"
        ),
    ),
    click.option(
        "--seed", type=Integer(0, 1 << 31), default=0, show_default=True, help="Random seed."
    ),
)
report_options = headed(
    OUTPUT,
    click.option(
        "--include-model/--no-include-model",
        default=None,
        help="Copy the biLM into MODEL_DIR.  [default: unless it is built in or in elmo models]",
    ),
    click.option(
        "--plot",
        type=FILE,
        metavar="FILE",
        help="Draw the learning curve and the confusion matrix: .png, .svg or .pdf.",
    ),
    click.option(
        "--overwrite", is_flag=True, help="Replace a MODEL_DIR that elmo fit has written."
    ),
)
resuming_option = headed(
    RESUME,
    click.option(
        "--resume",
        is_flag=True,
        help="Continue an interrupted training, to the same weights.  [default: start over]",
    ),
)


@dataclass(frozen=True)
class DataOptions:
    """Options of the labelled data."""

    train: str
    label: str
    dev: str | None
    test: str | None
    multi_label: bool
    regression: bool
    repair: bool
    tag_scheme: str | None
    reading: ReadOptions

    def __post_init__(self) -> None:
        if self.multi_label and self.regression:
            raise UsageError(
                "--multi-label and --regression contradict each other; pass one of them."
            )

    def sources(self, seed: int) -> "FitSources":
        """Return the sources; `seed` is that of the split."""
        from elmo_cli.downstream.examples import LABEL_SETS, NUMBERS
        from elmo_cli.downstream.fit_data import FitSources

        task = LABEL_SETS if self.multi_label else NUMBERS if self.regression else None
        return FitSources(
            self.train,
            self.label,
            self.dev,
            self.test,
            self.reading,
            task,
            self.repair,
            self.tag_scheme,
            seed,
        )


@dataclass(frozen=True)
class ClassifierOptions:
    """Options of the classifier and its training, named as in FitOptions."""

    head: str | None
    layers: str
    mix: str | None
    pool: str | None
    balanced: bool
    fine_tune: bool
    learning_rate: float | None
    epochs: int | None
    seed: int

    def for_job(self, *, include_model: bool) -> "FitOptions":
        """Return the options of the job."""
        from elmo_cli.downstream.fit_options import FitOptions

        return FitOptions(**vars(self), include_model=include_model)


@dataclass(frozen=True)
class ReportOptions:
    """Options of the output."""

    include_model: bool | None
    as_json: bool
    plot: Path | None
    overwrite: bool
    resume: bool

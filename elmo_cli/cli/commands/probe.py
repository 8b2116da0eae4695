"""`elmo probe`: prediction of labels from each layer of features, and from their learned mix."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from elmo_cli.cli.headings import (
    INPUT,
    OUTPUT,
    TRAINING,
    HeadedCommand,
    grouped,
    headed,
    options,
    usage_errors,
)
from elmo_cli.cli.options import json_option, quiet_option, threads_option
from elmo_cli.cli.parameter_types import COUNT, FILE, Integer
from elmo_cli.cli.reading_options import label_option, labelled_reading_options
from elmo_cli.errors import UsageError
from elmo_cli.readers.options import ReadOptions

if TYPE_CHECKING:
    from elmo_cli.cli.console import UserConsole
    from elmo_cli.downstream.probe import Probe, ProbeOptions
    from elmo_cli.downstream.probe_data import LabelledFile
    from elmo_cli.downstream.report import Report

EPILOG = """\b
Examples:
  elmo embed train.conllu train.h5 --layout packed
  elmo embed dev.conllu dev.h5 --layout packed
  elmo probe train.h5 train.conllu --label upos --test dev.h5 dev.conllu
  elmo probe ner.h5 ner.conll --label 2 --mix-output mix.json --plot ner.png
  elmo probe train.parquet --label sense --json   (a column copied by --keep)
  elmo embed new.txt new.h5 --mix mix.json
"""
METRICS = ("accuracy", "f1", "macro-f1")


class ProbeCommand(HeadedCommand):
    """Command whose --test takes a feature file and optionally the file of its labels."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Return the arguments, with the second value of --test as a separate option."""
        for at, arg in enumerate(args):
            last = at + (arg == "--test")
            if (
                (arg == "--test" or arg.startswith("--test="))
                and last + 1 < len(args)
                and not args[last + 1].startswith("-")
            ):
                return super().parse_args(
                    ctx, [*args[: last + 1], "--test-labels", *args[last + 1 :]]
                )
        return super().parse_args(ctx, args)


@dataclass(frozen=True)
class DataOptions:
    """Features and labels of the training and the test part.

    `test_labels` without `features` are the features: --test stood before FEATURES.
    """

    features: Path | None
    labels: str | None
    label: str
    test: Path | None
    test_labels: str | None

    def __post_init__(self) -> None:
        if self.features is None and self.test_labels is None:
            raise UsageError("Missing argument 'FEATURES'.")

    def files(self) -> tuple["LabelledFile", "LabelledFile | None"]:
        """Return the training part, and the test part if there is a separate one."""
        from elmo_cli.downstream.probe_data import LabelledFile

        features, test_labels = self.features, self.test_labels
        if features is None:
            features, test_labels = Path(self.test_labels or ""), None
        return LabelledFile(features, self.labels), LabelledFile(
            self.test, test_labels
        ) if self.test else None


@dataclass(frozen=True)
class ClassifierOptions:
    """Options of the classifiers and their evaluation."""

    metric: str | None
    control: bool
    max_tokens: int | None
    seeds: int
    seed: int
    threads: int | None

    def for_probe(self) -> "ProbeOptions":
        """Return the options of the probe."""
        from elmo_cli.downstream.probe import ProbeOptions

        return ProbeOptions(self.metric, self.control, self.seeds, self.seed)


@dataclass(frozen=True)
class ReportOptions:
    """Options of the output."""

    as_json: bool
    output: Path | None
    mix_output: Path | None
    plot: Path | None
    overwrite: bool

    def files(self) -> dict[str, Path | None]:
        """Return the file of each option."""
        return {"--output": self.output, "--mix-output": self.mix_output, "--plot": self.plot}


_test_options = headed(
    INPUT,
    click.option(
        "--test",
        metavar="FEATURES [LABELS]",
        type=FILE,
        help=(
            "Test features and their labels.  [default: a fifth of the sentences of FEATURES, by a "
            "hash of their tokens]"
        ),
    ),
    click.option("--test-labels", hidden=True),
)
_classifier_options = headed(
    TRAINING,
    click.option(
        "--metric",
        type=click.Choice(METRICS),
        help=(
            "Score; f1 is that of entities in strict IOB2.  [default: f1 where all labels are O, "
            "B-X and I-X, else accuracy]"
        ),
    ),
    click.option(
        "--control", is_flag=True, help="Add the control task: random labels of the words."
    ),
    click.option(
        "--max-tokens",
        type=COUNT,
        help="Learn from the first N tokens (sentences, if these have labels).  [default: all]",
    ),
    click.option(
        "--seeds",
        type=Integer(1, 100),
        default=3,
        show_default=True,
        help="Number of trainings of the mix, to show its spread.",
    ),
    click.option(
        "--seed", type=Integer(0, 1 << 31), default=0, show_default=True, help="Random seed."
    ),
)
_report_options = options(
    json_option("Print one JSON object instead of a table."),
    headed(
        OUTPUT,
        click.option(
            "-o",
            "--output",
            type=FILE,
            metavar="FILE",
            help="Write the result as a JSON object to FILE.",
        ),
        click.option(
            "--mix-output",
            type=FILE,
            metavar="FILE",
            help="Write the learned mix, for elmo embed --mix FILE.",
        ),
        click.option(
            "--plot",
            type=FILE,
            metavar="FILE",
            help="Draw the scores and the mix: .png, .svg or .pdf.",
        ),
        click.option("--overwrite", is_flag=True, help="Replace files that exist."),
    ),
)


@click.command(cls=ProbeCommand, epilog=EPILOG)
@click.argument("features", metavar="FEATURES", type=FILE, required=False)
@click.argument("labels", metavar="[LABELS]", required=False)
@grouped("data", DataOptions, label_option, _test_options)
@labelled_reading_options("LABELS")
@grouped("learning", ClassifierOptions, _classifier_options, threads_option)
@grouped("written", ReportOptions, _report_options)
@quiet_option
def command(
    data: DataOptions,
    reading: ReadOptions,
    learning: ClassifierOptions,
    written: ReportOptions,
    quiet: bool,
) -> None:
    """Train linear classifiers of labels on each layer of FEATURES, and on mixes of the layers.

    FEATURES is an output of elmo embed in any format. LABELS is the embedded corpus with labels:
    CoNLL-U, another column file, Parquet, Arrow, JSON Lines, CSV or TSV. Without LABELS, the labels
    are a column of FEATURES that elmo embed --keep has copied. A list of values labels the tokens,
    a single value the sentence; use --pool mean for the latter. elmo guide probe explains the
    table.
    """
    import torch

    from elmo_cli.cli.console import UserConsole
    from elmo_cli.downstream.probe_output import check_outputs, write_outputs

    if learning.threads:
        torch.set_num_threads(learning.threads)
    console = UserConsole(quiet=quiet)
    with usage_errors():
        check_outputs(written.files(), overwrite=written.overwrite)
        probe, report = _run(data, reading, learning, console)
    told = {
        "label": data.label,
        "seed": learning.seed,
        "max_tokens": learning.max_tokens,
        **report.to_json(),
    }
    for path in write_outputs(
        told,
        probe.mixes()[:1],
        report,
        written.output,
        written.mix_output,
        written.plot,
        overwrite=written.overwrite,
    ):
        console.info(f"{path}: written")
    click.echo(json.dumps(told, indent=2)) if written.as_json else _print(report)
    for note in report.notes:
        console.warning(note)


def _run(
    given: DataOptions,
    reading: ReadOptions,
    learning: ClassifierOptions,
    console: "UserConsole",
) -> tuple["Probe", "Report"]:
    from elmo_cli.downstream.column_labels import describe_labels
    from elmo_cli.downstream.probe import Probe
    from elmo_cli.downstream.probe_data import DataReader

    with DataReader(*given.files(), given.label, reading) as reader:
        console.track(reader.read(learning.max_tokens), None)
        data = reader.data(learning.max_tokens)
        probe = Probe(data, learning.for_probe())
        console.info(
            f"{describe_labels(given.label)}: {data.n_classes} labels; learning from "
            f"{len(data.train.labels):,} {data.unit}s, testing on {len(data.test.labels):,}"
        )
        console.track_epochs(probe.train(), probe.epochs)
        with console.status("testing"):
            return probe, probe.report()


def _print(report: "Report") -> None:
    from elmo_cli.cli.tables import print_table
    from elmo_cli.downstream.probe_output import summary, table

    header, rows = table(report)
    print_table(header, rows)
    click.echo("\n".join(["", *summary(report)]))

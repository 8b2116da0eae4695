"""`elmo probe`: prediction of labels from each layer of features, and from their learned mix."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from elmo_cli.cli.options import (
    COUNT,
    FILE,
    encoding_option,
    options,
    quiet_option,
    separator_option,
)
from elmo_cli.readers import READERS
from elmo_cli.readers.options import PLAIN, ReadOptions

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
  elmo probe ner.h5 ner.conll --label 2 --test t.h5 t.conll --mix-output mix.json --plot ner.png
  elmo probe train.parquet --label sense --json   (a column copied by --keep)
  elmo embed new.txt new.h5 --mix mix.json
"""
METRICS = ("accuracy", "f1", "macro-f1")


class ProbeCommand(click.Command):
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


_label_options = options(
    click.option(
        *("--label", "label"),
        metavar="NAME|N",
        required=True,
        help="Labels: upos, xpos, deprel, feats:NAME or misc:NAME of CoNLL-U, the number of a "
        "column of a column file, or a column of a table.",
    ),
    click.option(
        "--input-format",
        "format",
        type=click.Choice(list(READERS)),
        help="Format of LABELS.  [default: by their suffix]",
    ),
    click.option(
        "--column",
        metavar="NAME",
        default=PLAIN.column[0],
        show_default=True,
        help="Column of the tokens in a table.",
    ),
    click.option(
        "--field",
        metavar="NAME",
        default=PLAIN.field[0],
        show_default=True,
        help="Field of the tokens in JSON Lines.",
    ),
    click.option(
        "--token-column",
        type=click.IntRange(1, 1000),
        help="Column of the tokens, from 1.  [default: 1; in CoNLL-2012 4]",
    ),
    separator_option,
    encoding_option,
)
_test_options = options(
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
)
_training_options = options(
    click.option(
        "--max-tokens",
        type=COUNT,
        help="Learn from the first N tokens (sentences, if these have labels).  [default: all]",
    ),
    click.option(
        "--seeds",
        type=click.IntRange(1, 100),
        default=3,
        show_default=True,
        help="Number of trainings of the mix, to show its spread.",
    ),
    click.option(
        "--seed", type=click.IntRange(0, 1 << 31), default=0, show_default=True, help="Random seed."
    ),
    click.option(
        "--threads",
        type=click.IntRange(1, 1024),
        help="Number of CPU threads.  [default: one for each core]",
    ),
)
_output_options = options(
    click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object instead of a table."
    ),
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
        "--plot", type=FILE, metavar="FILE", help="Draw the scores and the mix: .png, .svg or .pdf."
    ),
    click.option("--overwrite", is_flag=True, help="Replace files that exist."),
)


@click.command(cls=ProbeCommand, epilog=EPILOG)
@click.argument("features", metavar="FEATURES", type=FILE, required=False)
@click.argument("labels", metavar="[LABELS]", required=False)
@_label_options
@_test_options
@_training_options
@_output_options
@quiet_option
def command(
    features: Path | None,
    labels: str | None,
    label: str,
    test: Path | None,
    test_labels: str | None,
    metric: str | None,
    control: bool,
    max_tokens: int | None,
    seeds: int,
    seed: int,
    threads: int | None,
    as_json: bool,
    output: Path | None,
    mix_output: Path | None,
    plot: Path | None,
    overwrite: bool,
    quiet: bool,
    **reading: Any,  # noqa: ANN401  # the fields of ReadOptions
) -> None:
    """Train linear classifiers of labels on each layer of FEATURES, and on mixes of the layers.

    FEATURES is an output of elmo embed in any format. LABELS is the embedded corpus with labels:
    CoNLL-U, another column file, Parquet, Arrow, JSON Lines, CSV or TSV. Without LABELS, the labels
    are a column of FEATURES that elmo embed --keep has copied. A list of values labels the tokens,
    a single value the sentence; use --pool mean for the latter. elmo guide probe explains the
    table.
    """
    if features is None and test_labels is not None:  # --test stood before FEATURES and took it
        features, test_labels = Path(test_labels), None
    if features is None:
        raise click.UsageError("Missing argument 'FEATURES'.")

    import torch

    from elmo_cli.cli.console import UserConsole
    from elmo_cli.cli.options import usage_errors
    from elmo_cli.downstream.probe import ProbeOptions
    from elmo_cli.downstream.probe_data import LabelledFile
    from elmo_cli.downstream.probe_output import check_outputs, write_outputs

    if threads:
        torch.set_num_threads(threads)
    words = UserConsole(quiet=quiet)
    with usage_errors():
        check_outputs(
            {"--output": output, "--mix-output": mix_output, "--plot": plot}, overwrite=overwrite
        )
        train = LabelledFile(features, labels)
        tested = LabelledFile(test, test_labels) if test else None
        probe, report = _run(
            train,
            tested,
            label,
            _read_options(reading),
            max_tokens,
            ProbeOptions(metric, control, seeds, seed),
            words,
        )
    told = {"label": label, "seed": seed, "max_tokens": max_tokens, **report.to_json()}
    for path in write_outputs(
        told, probe.mixes()[:1], report, output, mix_output, plot, overwrite=overwrite
    ):
        words.info(f"{path}: written")
    click.echo(json.dumps(told, indent=2)) if as_json else _print(report)
    for note in report.notes:
        words.warning(note)


def _run(
    train: "LabelledFile",
    test: "LabelledFile | None",
    label: str,
    reading: ReadOptions,
    max_rows: int | None,
    chosen: "ProbeOptions",
    words: "UserConsole",
) -> tuple["Probe", "Report"]:
    from elmo_cli.downstream.probe import Probe
    from elmo_cli.downstream.probe_data import DataReader

    with DataReader(train, test, label, reading) as reader:
        words.track(reader.read(max_rows), None)
        data = reader.data(max_rows)
        probe = Probe(data, chosen)
        words.info(
            f"{label}: {data.n_classes} labels; learning from {len(data.train.labels):,} "
            f"{data.unit}s, testing on {len(data.test.labels):,}"
        )
        words.track(probe.train(), probe.total_rows)
        with words.status("testing"):
            return probe, probe.report()


def _print(report: "Report") -> None:
    from elmo_cli.cli.console import print_table
    from elmo_cli.downstream.probe_output import summary, table

    header, rows = table(report)
    print_table(header, rows)
    click.echo("\n".join(["", *summary(report)]))


def _read_options(given: dict[str, Any]) -> ReadOptions:
    return ReadOptions(**{**given, "column": (given["column"],), "field": (given["field"],)})

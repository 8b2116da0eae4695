"""`elmo fit`: training of a classifier of tokens or sentences on the vectors of a biLM."""

import json
import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from elmo_cli.cli.command_line import command_line
from elmo_cli.cli.headings import (
    INPUT,
    OUTPUT,
    RESUME,
    TRAINING,
    HeadedCommand,
    grouped,
    headed,
    usage_errors,
)
from elmo_cli.cli.option_groups import ComputeOptions, ModelOptions
from elmo_cli.cli.options import (
    cache_options,
    json_option,
    machine_options,
    model_options,
    precision_option,
    quiet_option,
)
from elmo_cli.cli.parameter_types import FILE, Integer, Number
from elmo_cli.cli.reading_options import label_option, labelled_reading_options
from elmo_cli.errors import DiskError, UsageError, printable
from elmo_cli.readers.options import ReadOptions

if TYPE_CHECKING:
    from elmo_cli.cli.console import UserConsole
    from elmo_cli.downstream.fit_card import FitFacts
    from elmo_cli.downstream.fit_data import FitSources
    from elmo_cli.downstream.fit_job import FitJob
    from elmo_cli.downstream.fit_options import FitOptions
    from elmo_cli.models.files import ModelFiles

EPILOG = """\b
Examples:
  elmo fit ner/ train.conll --label 2 --test test.conll
  elmo fit pos/ train.conllu --label upos --dev dev.conllu --test test.conllu
  elmo fit intents/ train.tsv --column text --label label --test test.tsv
  elmo fit intents/ train.tsv --column text --label label --fine-tune
  elmo fit topics/ train.jsonl --field text --label topics --multi-label
  elmo fit stars/ train.parquet --column text --label stars --regression
  elmo predict ner/ new.txt tagged.conll
"""
# As in token_head.py, which imports torch
HEADS, MIXES = ("linear", "crf", "lstm-crf"), ("learned", "concat")
POOLS = ("mean+max", "mean", "max", "first", "last")

_data_options = headed(
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
_classifier_options = headed(
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
_report_options = headed(
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
_resume_option = headed(
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


@click.command(cls=HeadedCommand, epilog=EPILOG)
@click.argument("folder", metavar="MODEL_DIR", type=FILE)
@click.argument("train", metavar="TRAIN")
@label_option
@labelled_reading_options("all files")
@grouped("data", DataOptions, _data_options)
@grouped("classifier", ClassifierOptions, _classifier_options)
@grouped("model", ModelOptions, model_options(), cache_options)
@grouped("compute", ComputeOptions, machine_options, precision_option)
@grouped(
    "written",
    ReportOptions,
    _report_options,
    _resume_option,
    json_option("Print one JSON object instead of tables."),
)
@quiet_option
def command(
    folder: Path,
    data: DataOptions,
    classifier: ClassifierOptions,
    model: ModelOptions,
    compute: ComputeOptions,
    written: ReportOptions,
    quiet: bool,
) -> None:
    """Train a classifier on TRAIN and write it to the new folder MODEL_DIR, for elmo predict.

    TRAIN is a file with labels: CoNLL-U, another column file, Parquet, Arrow, JSON Lines, CSV or
    TSV. A list of values labels the tokens, a single value the sentence. The default classifier is
    a BiLSTM with a CRF for tags of spans (IOB1, IOB2, IOBES), a linear classifier for other labels
    of tokens, and a linear classifier of pooled vectors for labels of sentences. Without
    --fine-tune the biLM is not trained. After Ctrl-C the best classifier so far is written, and
    --resume continues.
    """
    import torch

    from elmo_cli.cli.console import UserConsole
    from elmo_cli.downstream.fit_job import FitJob
    from elmo_cli.downstream.fit_plot import check_plot
    from elmo_cli.downstream.predictor_folder import METRICS
    from elmo_cli.inference.embedder_spec import EmbedderSpec

    if compute.threads:
        torch.set_num_threads(compute.threads)
    words = UserConsole(quiet=quiet)
    with usage_errors():
        check_plot(written.plot, overwrite=written.overwrite)
        files = model.find(words)
        spec = EmbedderSpec(
            files, device=compute.device, precision=compute.precision, threads=compute.threads
        )
        is_known = _is_known(files, model.model or model.weights or os.environ.get("ELMO_MODEL"))
        chosen = classifier.for_job(
            include_model=not is_known if written.include_model is None else written.include_model
        )
        job = FitJob(
            data.sources(classifier.seed),
            folder,
            spec,
            chosen,
            command_line(),
            written.overwrite,
            written.resume,
        )
        facts = _run(job, written.plot, words)
    if facts:
        _report(facts, written.plot, words, as_json=written.as_json)
    elif written.as_json:
        click.echo((folder / METRICS).read_text(encoding="utf-8"), nl=False)


def _is_known(files: "ModelFiles", named: str | None) -> bool:
    """Return whether a biLM is found by its name on every machine."""
    from elmo_cli.models.catalogue import load_catalogue

    return files.built_in or (
        files.name in load_catalogue() and not Path(named or files.name).exists()
    )


def _run(job: "FitJob", plot: Path | None, words: "UserConsole") -> "FitFacts | None":
    """Return the facts of the training; None if a resumed run finds it complete."""
    from elmo_cli.cli.console import count

    with closing(job):
        with words.status("reading"):
            data = job.check()
        if job.is_complete:
            _check_nothing_is_left_out(job, plot)
            words.info(f"{job.folder}: is already complete, written by the same job; nothing to do")
            return None
        kinds = {"numbers": "numbers"}.get(data.task, count(len(data.labels), "label"))
        words.info(
            f"{job.sources.label}: {kinds}; {len(data.train):,} sentences to learn from, "
            f"{len(data.held_out):,} held out"
        )
        try:
            return _train(job, words)
        except KeyboardInterrupt as stopped:
            raise KeyboardInterrupt(*(stopped.args or (2,)), job.interrupt()) from None
        except DiskError as error:
            raise DiskError("; ".join(filter(None, [str(error), job.how_to_go_on()]))) from None


def _train(job: "FitJob", words: "UserConsole") -> "FitFacts":
    if not job.options.fine_tune:
        words.track(job.embed(), sum(len(example.tokens) for example in job.data.examples))
    for step in job.train():
        words.info(
            f"{step.name}: loss {step.loss:.4f}, held-out score "
            f"{step.score:.4f}{' (best so far)' if step.is_best else ''}"
        )
    with words.status("testing"):
        return job.finish()


def _check_nothing_is_left_out(job: "FitJob", plot: Path | None) -> None:
    """Check that a complete classifier has all that is asked for.

    Raises:
        click.UsageError: It has not been tested or drawn, which is done after a training.
    """
    from elmo_cli.downstream.fit_output import read_metrics

    untested = bool(job.data.test) and not read_metrics(job.folder).get("test")
    for option, is_left_out in {"--test": untested, "--plot": plot and not plot.exists()}.items():
        if is_left_out:
            raise click.UsageError(
                f"{job.folder} is already complete, trained without {option}; leave out {option}, "
                "or pass --overwrite instead of --resume to train again."
            )


def _report(facts: "FitFacts", plot: Path | None, words: "UserConsole", *, as_json: bool) -> None:
    from elmo_cli.downstream.fit_plot import write_plot

    if plot:
        for note in write_plot(plot, facts):
            words.warning(note)
    for note in facts.notes:
        words.warning(note)
    if as_json:
        click.echo(json.dumps(facts.to_json(), indent=2, ensure_ascii=False))
    else:
        _print(facts)


def _print(facts: "FitFacts") -> None:
    from elmo_cli.cli.console import print_table

    if facts.test is None:
        if facts.best:
            click.echo(
                f"held-out score {facts.best.score:.4f} ({facts.best.name}), by which the weights "
                "were chosen; --test measures"
            )
        return
    if facts.test.by_label:
        rows = [
            [
                row.label,
                f"{row.precision:.4f}",
                f"{row.recall:.4f}",
                f"{row.f1:.4f}",
                f"{row.support:,}",
            ]
            for row in facts.test.by_label
        ]
        print_table(["label", "precision", "recall", "F1", "number"], rows)
        click.echo()
    for true, predicted, number in facts.test.worst_confusions():
        click.echo(printable(f"{true} taken for {predicted}: {number:,}"))
    others = "".join(
        f", {name.replace('_', ' ')} {value:.4f}" for name, value in facts.test.others.items()
    )
    score, low, high = facts.test.interval
    click.echo(f"{facts.test.metric} {score:.4f}, 95 % interval {low:.4f} to {high:.4f}{others}")

"""`elmo fit`: training of a classifier of tokens or sentences on the vectors of a biLM."""

import json
import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from elmo_cli.cli.command_line import command_line
from elmo_cli.cli.fitting_options import (
    ClassifierOptions,
    DataOptions,
    ReportOptions,
    classifier_options,
    data_options,
    report_options,
    resuming_option,
)
from elmo_cli.cli.headings import (
    HeadedCommand,
    grouped,
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
from elmo_cli.cli.parameter_types import FILE
from elmo_cli.cli.reading_options import label_option, labelled_reading_options
from elmo_cli.errors import DiskError, printable

if TYPE_CHECKING:
    from elmo_cli.cli.console import UserConsole
    from elmo_cli.downstream.fit_card import FitFacts
    from elmo_cli.downstream.fit_job import FitJob
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


@click.command(cls=HeadedCommand, epilog=EPILOG)
@click.argument("folder", metavar="MODEL_DIR", type=FILE)
@click.argument("train", metavar="TRAIN")
@label_option
@labelled_reading_options("all files")
@grouped("data", DataOptions, data_options)
@grouped("classifier", ClassifierOptions, classifier_options)
@grouped("model", ModelOptions, model_options(), cache_options)
@grouped("compute", ComputeOptions, machine_options, precision_option)
@grouped(
    "written",
    ReportOptions,
    report_options,
    resuming_option,
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
    from elmo_cli.downstream.column_labels import describe_labels

    with closing(job):
        with words.status("reading"):
            data = job.check()
        if job.is_complete:
            _check_nothing_is_left_out(job, plot)
            words.info(f"{job.folder}: is already complete, written by the same job; nothing to do")
            return None
        kinds = {"numbers": "numbers"}.get(data.task, count(len(data.labels), "label"))
        words.info(
            f"{describe_labels(job.sources.label)}: {kinds}; {len(data.train):,} sentences to "
            f"learn from, {len(data.held_out):,} held out"
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
    from elmo_cli.cli.tables import print_table

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

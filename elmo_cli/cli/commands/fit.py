"""`elmo fit`: training of a classifier of tokens or sentences on the vectors of a biLM."""

import json
import os
import shlex
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from elmo_cli.cli.options import (
    FILE,
    PRECISIONS,
    cache_options,
    encoding_option,
    machine_options,
    model_options,
    options,
    quiet_option,
    separator_option,
    usage_errors,
)
from elmo_cli.errors import printable
from elmo_cli.io.remote import redact_url
from elmo_cli.readers import READERS
from elmo_cli.readers.options import PLAIN, ReadOptions

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
# As in token_head.py, which imports torch
HEADS, MIXES = ("linear", "crf", "lstm-crf"), ("learned", "concat")
POOLS = ("mean+max", "mean", "max", "first", "last")

_data_options = options(
    click.option(
        *("--label", "label"),
        metavar="NAME|N",
        required=True,
        help="Labels: upos, xpos, deprel, feats:NAME or misc:NAME of CoNLL-U, the number of a "
        "column of a column file, or a column of a table.",
    ),
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
    click.option(
        "--input-format",
        "format",
        type=click.Choice(list(READERS)),
        help="Format of all files.  [default: by their suffix]",
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
_classifier_options = options(
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
        help="Combination of the layers for labels of tokens: a learned mix, or concatenated.",
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
        type=click.FloatRange(0, 1, min_open=True),
        help="Learning rate of the biLM, with --fine-tune.  [default: 0.001]",
    ),
    click.option(
        "--epochs",
        type=click.IntRange(1, 1000),
        help=(
            "Number of epochs, for labels of tokens or with --fine-tune.  [default: by its size; 4]"
        ),
    ),
    click.option(
        "--seed", type=click.IntRange(0, 1 << 31), default=0, show_default=True, help="Random seed."
    ),
    click.option(
        "--include-model/--no-include-model",
        default=None,
        help="Copy the biLM into MODEL_DIR.  [default: unless it is built in or in elmo models]",
    ),
)
_report_options = options(
    click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object instead of tables."
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
    click.option(
        "--resume",
        is_flag=True,
        help="Continue an interrupted training, to the same weights.  [default: start over]",
    ),
)


@click.command(epilog=EPILOG, short_help="Train a classifier of tokens or sentences.")
@click.argument("folder", metavar="MODEL_DIR", type=FILE)
@click.argument("train", metavar="TRAIN")
@_data_options
@_classifier_options
@model_options
@cache_options
@machine_options
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="fp32",
    show_default=True,
    help="Precision of matrix products.",
)
@_report_options
@quiet_option
def command(
    folder: Path,
    train: str,
    model: str | None,
    options: str | None,
    weights: str | None,
    cache_dir: Path | None,
    offline: bool,
    device: str,
    threads: int | None,
    precision: str,
    as_json: bool,
    plot: Path | None,
    overwrite: bool,
    quiet: bool,
    **given: Any,  # noqa: ANN401  # the fields of FitSources, FitOptions and ReadOptions
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
    from elmo_cli.models.resolve import find_model

    if given["multi_label"] and given["regression"]:
        raise click.UsageError(
            "--multi-label and --regression contradict each other; pass one of them."
        )
    if threads:
        torch.set_num_threads(threads)
    words = UserConsole(quiet=quiet)
    with usage_errors():
        check_plot(plot, overwrite=overwrite)
        with words.cache(cache_dir, offline=offline) as cache:
            files = find_model(model, options, weights, cache)
        spec = EmbedderSpec(files, device=device, precision=precision, threads=threads)
        command_line = shlex.join(map(redact_url, ["elmo", *sys.argv[1:]]))
        if given["include_model"] is None:
            given["include_model"] = not _is_known(
                files, model or weights or os.environ.get("ELMO_MODEL")
            )
        job = FitJob(
            _sources(train, given),
            folder,
            spec,
            _fit_options(given),
            command_line,
            overwrite,
            given["resume"],
        )
        facts = _run(job, words)
    if facts:
        _report(facts, plot, words, as_json=as_json)
    elif as_json:
        click.echo((folder / METRICS).read_text(encoding="utf-8"), nl=False)


def _is_known(files: "ModelFiles", named: str | None) -> bool:
    """Return whether a biLM is found by its name on every machine."""
    from elmo_cli.models.catalogue import load_catalogue

    return files.built_in or (
        files.name in load_catalogue() and not Path(named or files.name).exists()
    )


def _sources(train: str, given: dict[str, Any]) -> Any:  # noqa: ANN401  # FitSources, imported late
    from elmo_cli.downstream.examples import LABEL_SETS, NUMBERS
    from elmo_cli.downstream.fit_data import FitSources

    names = ("format", "separator", "encoding_errors", "token_column")
    reading = ReadOptions(
        **{name: given[name] for name in names}, column=(given["column"],), field=(given["field"],)
    )
    task = LABEL_SETS if given["multi_label"] else NUMBERS if given["regression"] else None
    return FitSources(
        train,
        given["label"],
        given["dev"],
        given["test"],
        reading,
        task,
        given["repair"],
        given["tag_scheme"],
        given["seed"],
    )


def _fit_options(given: dict[str, Any]) -> Any:  # noqa: ANN401  # FitOptions, imported late
    from dataclasses import fields

    from elmo_cli.downstream.fit_options import FitOptions

    return FitOptions(**{field.name: given[field.name] for field in fields(FitOptions)})


def _run(job: "FitJob", words: "UserConsole") -> "FitFacts | None":
    """Return the facts of the training; None if a resumed run finds it complete."""
    from elmo_cli.cli.console import count

    with closing(job):
        with words.status("reading"):
            data = job.check()
        if job.is_complete:
            words.info(f"{job.folder}: is already complete, written by the same job; nothing to do")
            return None
        kinds = {"numbers": "numbers"}.get(data.task, count(len(data.labels), "label"))
        words.info(
            f"{job.sources.label}: {kinds}; {len(data.train):,} sentences to learn from, "
            f"{len(data.held_out):,} held out"
        )
        try:
            if not job.options.fine_tune:
                words.track(job.embed(), sum(len(example.tokens) for example in data.examples))
            for step in job.train():
                words.info(
                    f"{step.name}: loss {step.loss:.4f}, held-out score "
                    f"{step.score:.4f}{' (best so far)' if step.is_best else ''}"
                )
            with words.status("testing"):
                return job.finish()
        except KeyboardInterrupt as stopped:
            raise KeyboardInterrupt(*(stopped.args or (2,)), job.interrupt()) from None


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

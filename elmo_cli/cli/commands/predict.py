"""`elmo predict`: labels of tokens or sentences, from a classifier of `elmo fit`."""

import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from elmo_cli.cli.command_line import command_line
from elmo_cli.cli.engine_options import engine_options
from elmo_cli.cli.headings import (
    COMPUTE,
    MODEL,
    OUTPUT,
    HeadedCommand,
    grouped,
    headed,
    usage_errors,
)
from elmo_cli.cli.option_groups import ComputeOptions, InputOptions, ModelOptions, ResumeOptions
from elmo_cli.cli.options import (
    cache_options,
    output_argument,
    precision_option,
    quiet_option,
    resuming_options,
)
from elmo_cli.cli.parameter_types import COUNT, FILE
from elmo_cli.cli.reading_options import blank_lines_option, max_tokens_option, reading_options
from elmo_cli.io.stdout import STDOUT

if TYPE_CHECKING:
    from elmo_cli.cli.console import UserConsole
    from elmo_cli.downstream.predict_job import PredictJob

FORMATS = ("conll", "jsonl", "tsv", "parquet")  # as in prediction_writers.py, which imports torch
EPILOG = """\b
Examples:
  elmo predict ner/ new.txt tagged.conll
  elmo predict ner/ corpus.conllu tagged.conllu
  elmo predict intents/ questions.tsv labelled.tsv --column text --proba
  cat questions.txt | elmo predict intents/ - - --output-format jsonl | head
"""


_output_options = headed(
    OUTPUT,
    click.option(
        "--output-format",
        type=click.Choice(FORMATS),
        help="Format of OUTPUT.  [default: by its suffix; on standard output conll or tsv]",
    ),
    click.option(
        "--proba",
        is_flag=True,
        help=(
            "Add probabilities: of the predicted label of each token, or of every label of a "
            "sentence."
        ),
    ),
    click.option(
        "--tag-scheme",
        type=click.Choice(["iob1", "iob2", "iobes"]),
        help="Scheme of the written tags.  [default: that of the classifier's training data]",
    ),
    click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it exists."),
)
_model_option = headed(
    MODEL,
    click.option(
        "--model",
        metavar="DIR",
        help="biLM of the classifier, if it is neither in MODEL_DIR nor found by its name.",
    ),
)
_window_option = headed(
    COMPUTE,
    click.option(
        "--window-tokens",
        type=COUNT,
        help="Number of tokens computed and written together.  [default: by the device]",
    ),
)


@dataclass(frozen=True)
class PredictionOptions:
    """Options of the output."""

    output: Path
    output_format: str | None
    proba: bool
    tag_scheme: str | None
    overwrite: bool


@click.command(cls=HeadedCommand, epilog=EPILOG)
@click.argument("folder", metavar="MODEL_DIR", type=FILE)
@click.argument("inputs", metavar="INPUT...", nargs=-1)
@output_argument
@grouped("model", ModelOptions, _model_option, cache_options)
@reading_options
@grouped(
    "corpus",
    InputOptions,
    blank_lines_option("keep", "an error, written without a label, or left out"),
    max_tokens_option,
)
@grouped("written", PredictionOptions, _output_options)
@grouped("compute", ComputeOptions, engine_options, precision_option, _window_option)
@grouped("resuming", ResumeOptions, resuming_options("start a new run that can be resumed"))
@quiet_option
def command(
    folder: Path,
    model: ModelOptions,
    corpus: InputOptions,
    written: PredictionOptions,
    compute: ComputeOptions,
    resuming: ResumeOptions,
    quiet: bool,
) -> None:
    """Label INPUT with the classifier in MODEL_DIR, and write it to OUTPUT.

    INPUT has one of the formats of elmo embed; - is standard input and output. OUTPUT is CoNLL
    columns (for labels of tokens), JSON Lines, TSV or Parquet. The columns and ids of INPUT are
    kept: a column file gets one more column, and in CoNLL-U the column that the classifier was
    trained on is replaced.
    """
    with usage_errors():
        resuming.check(written.output)
    engine = compute.choose_engine(stateful=False, output=written.output)

    from elmo_cli.cli.console import UserConsole
    from elmo_cli.downstream.predict_job import PredictJob, choose_format, keep_all_columns
    from elmo_cli.downstream.predictor import load_predictor
    from elmo_cli.io.output_file import OutputFile
    from elmo_cli.io.stdout import Stdout

    words = UserConsole(quiet=quiet, output=written.output)
    target = Stdout() if written.output == STDOUT else OutputFile(written.output, written.overwrite)
    with usage_errors():
        with words.cache(model.cache_dir, offline=model.offline) as cache:
            predictor = load_predictor(
                folder,
                model=model.model,
                device=engine.devices[0],
                precision=compute.precision,
                threads=compute.threads,
                cache=cache,
            )
        predictor.spec = replace(predictor.spec, window_tokens=compute.window_tokens)
        if written.tag_scheme and not predictor.settings.scheme:
            raise click.UsageError(
                "--tag-scheme is for tags of spans; this classifier has other labels."
            )
        source = corpus.corpus()
        chosen = choose_format(
            target, written.output_format, of_tokens=predictor.settings.of_tokens
        )
        job = PredictJob(
            source if chosen == "conll" else keep_all_columns(source),
            target,
            predictor,
            chosen,
            written.proba,
            written.tag_scheme,
            bool(resuming.resume),
            resuming.fresh,
            resuming.resume is not False,
            command_line(),
            engine,
        )
        _run(job, words)


def _run(job: "PredictJob", words: "UserConsole") -> None:
    from elmo_cli.cli.console import count
    from elmo_cli.features.resume.run import with_resume_hint

    with words.status("scanning"):
        scan = job.check()
    if job.is_complete(scan):
        return words.info(
            f"{job.output.path}: is already complete, written by the same job; nothing to do"
        )
    began = time.perf_counter()
    with with_resume_hint(job.work.how_to_go_on), closing(job.run(scan)) as progress:
        done = words.track(progress, scan.tokens if scan else None)
    seconds = max(time.perf_counter() - began, 1e-9)
    for warning in job.warnings:
        words.warning(warning)
    place = "standard output" if job.output.path == STDOUT else str(job.output.path)
    rate = f"{done.tokens / seconds:,.0f} tokens/s"
    return words.info(
        f"{count(done.sentences, 'sentence')}, {count(done.tokens, 'token')} in {seconds:.1f} s "
        f"({rate}): {place}"
    )

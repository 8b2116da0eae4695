"""`elmo predict`: labels of tokens or sentences, from a classifier of `elmo fit`."""

import shlex
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from elmo_cli.cli.engine_options import engine_options
from elmo_cli.cli.headings import grouped
from elmo_cli.cli.option_groups import ComputeOptions, ResumeOptions
from elmo_cli.cli.options import (
    COUNT,
    FILE,
    PRECISIONS,
    cache_options,
    options,
    quiet_option,
    reading_options,
    resuming_options,
    usage_errors,
)
from elmo_cli.io.remote import redact_url
from elmo_cli.io.stdout import STDOUT, output_path
from elmo_cli.readers.options import ReadOptions

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
_compute_options = options(
    click.option(
        "--window-tokens",
        type=COUNT,
        help="Number of tokens computed and written together.  [default: by the device]",
    ),
    click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        default="fp32",
        show_default=True,
        help="Precision of matrix products.",
    ),
)


@click.command(epilog=EPILOG, short_help="Label tokens or sentences with a classifier of elmo fit.")
@click.argument("folder", metavar="MODEL_DIR", type=FILE)
@click.argument("inputs", metavar="INPUT...", nargs=-1)
@click.argument(
    "output", metavar="OUTPUT", callback=lambda _context, _parameter, given: output_path(given)
)
@click.option(
    "--output-format",
    type=click.Choice(FORMATS),
    help="Format of OUTPUT.  [default: by its suffix; on standard output conll or tsv]",
)
@click.option(
    "--proba",
    is_flag=True,
    help=(
        "Add probabilities: of the predicted label of each token, or of every label of a sentence."
    ),
)
@click.option(
    "--tag-scheme",
    type=click.Choice(["iob1", "iob2", "iobes"]),
    help="Scheme of tags.  [default: that of the training part]",
)
@click.option(
    "--model",
    metavar="DIR",
    help="biLM of the classifier, if it is neither in MODEL_DIR nor found by its name.",
)
@cache_options
@reading_options
@click.option(
    "--blank-lines",
    type=click.Choice(["error", "keep", "skip"]),
    default="keep",
    show_default=True,
    help="Treatment of lines without tokens: an error, written without a label, or left out.",
)
@grouped("compute", ComputeOptions, engine_options, _compute_options)
@click.option(
    "--max-sentence-tokens",
    type=COUNT,
    metavar="N",
    help="Refuse longer sentences.  [default: any length]",
)
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it exists.")
@grouped("resuming", ResumeOptions, resuming_options("start a new run that can be resumed"))
@quiet_option
def command(
    folder: Path,
    inputs: tuple[str, ...],
    output: Path,
    output_format: str | None,
    proba: bool,
    tag_scheme: str | None,
    model: str | None,
    cache_dir: Path | None,
    offline: bool,
    reading: ReadOptions,
    blank_lines: str,
    compute: ComputeOptions,
    max_sentence_tokens: int | None,
    overwrite: bool,
    resuming: ResumeOptions,
    quiet: bool,
) -> None:
    """Label INPUT with the classifier in MODEL_DIR, and write it to OUTPUT.

    INPUT has one of the formats of elmo embed; - is standard input and output. OUTPUT is CoNLL
    columns (for labels of tokens), JSON Lines, TSV or Parquet. The columns and ids of INPUT are
    kept: a column file gets one more column, and in CoNLL-U the column that the classifier was
    trained on is replaced.
    """
    if not inputs:
        raise click.UsageError(
            "Missing argument 'OUTPUT': name the classifier, the input, then the file to write."
        )
    with usage_errors():
        resuming.check(output)
    engine = compute.choose_engine(stateful=False, output=output)

    from elmo_cli.cli.console import UserConsole
    from elmo_cli.downstream.predict_job import PredictJob, choose_format, keep_all_columns
    from elmo_cli.downstream.predictor import load_predictor
    from elmo_cli.io.output_file import OutputFile
    from elmo_cli.io.stdout import Stdout
    from elmo_cli.readers.corpus import Corpus

    words = UserConsole(quiet=quiet)
    target = Stdout() if output == STDOUT else OutputFile(output, overwrite)
    with usage_errors():
        with words.cache(cache_dir, offline=offline) as cache:
            predictor = load_predictor(
                folder,
                model=model,
                device=engine.devices[0],
                precision=compute.precision,
                threads=compute.threads,
                cache=cache,
            )
        predictor.spec = replace(predictor.spec, window_tokens=compute.window_tokens)
        if tag_scheme and not predictor.settings.scheme:
            raise click.UsageError(
                "--tag-scheme is for tags of spans; this classifier has other labels."
            )
        corpus = Corpus(inputs, blank_lines, reading, max_sentence_tokens)
        for option, takers in corpus.misplaced_options():
            raise click.UsageError(
                f"{option} is for {', '.join(takers)}; pass --input-format if {corpus.name} is one."
            )
        chosen = choose_format(target, output_format, of_tokens=predictor.settings.of_tokens)
        job = PredictJob(
            corpus if chosen == "conll" else keep_all_columns(corpus),
            target,
            predictor,
            chosen,
            proba,
            tag_scheme,
            bool(resuming.resume),
            resuming.fresh,
            resuming.resume is not False,
            shlex.join(map(redact_url, ["elmo", *sys.argv[1:]])),
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

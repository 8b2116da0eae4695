"""`elmo verify`: integrity check of a feature file."""

from functools import partial
from pathlib import Path

import click

from elmo_cli.cli.options import blank_lines_option, features_argument, options, reading_options
from elmo_cli.errors import FeaturesError, printable
from elmo_cli.readers.options import ReadOptions

MODEL_BYTES, MODEL_SECONDS = 4 << 30, 3600  # limits for computing a few sentences with a model
EPILOG = """\b
Examples:
  elmo verify out.h5
  elmo verify out.h5 --corpus corpus.txt --model elmo_small/
"""


@click.command(epilog=EPILOG)
@click.argument("path", metavar="FILE", callback=features_argument)
@options(
    click.option("--corpus", metavar="FILE", help="Corpus to compare the tokens with."),
    click.option(
        "--model",
        metavar="NAME|DIR",
        help="Model to recompute and compare a sample of the sentences with.",
    ),
)
@reading_options
@blank_lines_option
def command(
    path: Path, corpus: str | None, model: str | None, reading: ReadOptions, blank_lines: str
) -> None:
    """Check FILE, a feature file or a folder of shards of any layout, from end to end.

    The structure, the values (finite numbers), the checksums and the metadata are checked; with
    --corpus the tokens, and with --model a sample of the vectors. The exit code is 0 without
    problems, otherwise 1.
    """
    from elmo_cli.features.verify import verify
    from elmo_cli.io.sandbox import limits_for, run_sandboxed, stored_bytes
    from elmo_cli.readers.corpus import Corpus

    check_vectors = None
    if model:  # imports torch
        from elmo_cli.inference import recompute
        from elmo_cli.models.resolve import find_model

        check_vectors = partial(recompute.check_vectors, find_model(model))
    source = (
        Corpus([corpus], "skip" if blank_lines == "error" else blank_lines, reading)
        if corpus
        else None
    )
    stored = stored_bytes(path) + (source.stored_bytes if source else 0)
    limits = limits_for(stored, *((MODEL_BYTES, MODEL_SECONDS) if model else ()))
    verdict = run_sandboxed(verify, path, source, check_vectors, limits=limits)
    for line in verdict.checked:
        click.echo(printable(line))
    if verdict.n_problems:
        shown = (
            f", of which the first {len(verdict.problems)}"
            if verdict.n_problems > len(verdict.problems)
            else ""
        )
        raise FeaturesError(
            f"{path}: {verdict.n_problems:,} problem{'s' * (verdict.n_problems > 1)}{shown}:",
            *verdict.problems,
        )

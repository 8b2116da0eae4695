"""`elmo verify`: integrity check of a feature file."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from elmo_cli.cli.headings import INPUT, MODEL, HeadedCommand, grouped, headed
from elmo_cli.cli.options import features_argument
from elmo_cli.cli.reading_options import BLANK_LINES, corpus_reading_options
from elmo_cli.errors import FeaturesError, printable
from elmo_cli.readers.options import ReadOptions

if TYPE_CHECKING:
    from elmo_cli.readers.corpus import Corpus

MODEL_BYTES, MODEL_SECONDS = 4 << 30, 3600  # limits for computing a few sentences with a model
EPILOG = """\b
Examples:
  elmo verify out.h5
  elmo verify out.h5 --corpus corpus.txt --model elmo_small/
"""


_blank_lines_option = headed(
    INPUT,
    click.option(
        "--blank-lines",
        type=click.Choice(BLANK_LINES),
        default="error",
        show_default=True,
        help="Treatment of the corpus's lines without tokens when FILE was written.",
    ),
)


@dataclass(frozen=True)
class CorpusOptions:
    """Options of the corpus that the tokens are compared with."""

    corpus: str | None
    reading: ReadOptions
    blank_lines: str

    def open(self) -> "Corpus | None":
        """Return the corpus; None without --corpus."""
        from elmo_cli.readers.corpus import Corpus

        blank_lines = "skip" if self.blank_lines == "error" else self.blank_lines
        return Corpus([self.corpus], blank_lines, self.reading) if self.corpus else None


@click.command(cls=HeadedCommand, epilog=EPILOG)
@click.argument("path", metavar="FILE", callback=features_argument)
@headed(
    MODEL,
    click.option(
        "--model",
        metavar="NAME|DIR",
        help="Model to recompute and compare a sample of the sentences with.",
    ),
)
@headed(INPUT, click.option("--corpus", metavar="FILE", help="Corpus to compare the tokens with."))
@corpus_reading_options
@grouped("compared", CorpusOptions, _blank_lines_option)
def command(path: Path, model: str | None, compared: CorpusOptions) -> None:
    """Check FILE, a feature file or a folder of shards of any layout, from end to end.

    The structure, the values (finite numbers), the checksums and the metadata are checked; with
    --corpus the tokens, and with --model a sample of the vectors. The exit code is 0 without
    problems, otherwise 1.
    """
    from elmo_cli.features.verify import verify
    from elmo_cli.io.sandbox import limits_for, run_sandboxed, stored_bytes

    check_vectors = None
    if model:  # imports torch
        from elmo_cli.inference import recompute
        from elmo_cli.models.resolve import find_model

        check_vectors = partial(recompute.check_vectors, find_model(model))
    source = compared.open()
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

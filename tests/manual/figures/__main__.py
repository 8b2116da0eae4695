"""The command: the figures of a model, as JSON and as a table."""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from elmo_cli.errors import ElmoError
from tests.manual.figures.bank import measure_bank
from tests.manual.figures.features import load_embedder, make_embed
from tests.manual.figures.figure import Figure, table
from tests.manual.figures.perplexity import measure_perplexity
from tests.manual.figures.questions import measure_questions
from tests.manual.figures.senses import measure_senses
from tests.manual.figures.tags import measure_tags

EMBEDDED = {
    "pos": measure_tags,
    "wsd": measure_senses,
    "trec": measure_questions,
    "bank": measure_bank,
}
FILE, FOLDER = click.Path(path_type=Path), click.Path(path_type=Path, exists=True, file_okay=False)


def choose_figures(_ctx: click.Context, _parameter: click.Parameter, value: str) -> list[str]:
    """The names of a list such as "pos,bank"."""
    names = value.split(",")
    if unknown := set(names) - {*EMBEDDED, "perplexity"}:
        raise click.BadParameter(
            f"no figure {', '.join(sorted(unknown))}; there are {', '.join(EMBEDDED)} and "
            "perplexity"
        )
    return names


@click.command()
@click.argument("model", metavar="MODEL_DIR", type=FILE)
@click.option(
    "--shared",
    type=FOLDER,
    default=Path("../shared"),
    show_default=True,
    help="Folder that holds eval/ and corpus/.",
)
@click.option(
    "--only",
    default="pos,wsd,trec,bank,perplexity",
    show_default=True,
    callback=choose_figures,
    help="Which figures, and their order.",
)
@click.option(
    "--start",
    type=click.Choice(["zero", "primed", "stateful"]),
    default="zero",
    show_default=True,
    help="State at the start.",
)
@click.option("--prime", type=FILE, help="Text that is read first, with --start primed.")
@click.option(
    "--prime-sentences",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="How much of it.",
)
@click.option(
    "--train",
    type=FILE,
    multiple=True,
    help="Text for the n-grams; repeatable.  [default: all of corpus/train]",
)
@click.option(
    "--vocabulary", type=FILE, help="Words of the n-grams.  [default: the model's vocab.txt]"
)
@click.option("--device", default="auto", show_default=True, help="Where the model runs.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help="Read this many sentences of each file: a quick look, no figures to quote.",
)
def main(
    model: Path,
    shared: Path,
    only: list[str],
    start: str,
    prime: Path | None,
    prime_sentences: int,
    train: tuple[Path, ...],
    vocabulary: Path | None,
    device: str,
    limit: int | None,
) -> None:
    """What the layers of the model in MODEL_DIR know.

    Example: python -m tests.manual.figures MODEL_DIR --only pos,bank > figures.json
    """
    vocabulary = vocabulary or model / "vocab.txt"
    if "perplexity" in only and not vocabulary.is_file():
        raise click.UsageError(
            f"{vocabulary}: no such file; pass --vocabulary FILE, or --only without perplexity"
        )
    measures: dict[str, Callable[[], Figure]] = {
        "perplexity": lambda: measure_perplexity(
            shared, vocabulary, train or sorted((shared / "corpus" / "train").glob("*.zst")), limit
        )
    }
    if set(only) & set(EMBEDDED):
        embed = make_embed(load_embedder(model, device, start, prime, prime_sentences), start)
        measures |= {
            name: partial(measure, embed, shared, limit) for name, measure in EMBEDDED.items()
        }
    figures, seconds = {}, {}
    for name in only:
        began = time.monotonic()
        figures[name] = measures[name]()
        seconds[name] = round(time.monotonic() - began)
    settings = {
        "model": model.resolve().name,
        "start": start,
        "prime_sentences": prime_sentences if prime else 0,
        "limit": limit,
        "seconds": seconds,
    }
    click.echo(
        json.dumps(
            {**settings, "figures": {name: figure._asdict() for name, figure in figures.items()}},
            indent=1,
        )
    )
    click.echo(table(figures), err=True)


if __name__ == "__main__":
    try:
        main()
    except ElmoError as error:
        sys.exit(str(error))

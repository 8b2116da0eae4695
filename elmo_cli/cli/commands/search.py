"""`elmo search`: similar sentences in a feature file, or a word in similar contexts."""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from elmo_cli.cli.commands.plot import layers_option
from elmo_cli.cli.headings import (
    MODEL,
    OUTPUT,
    SEARCH,
    HeadedCommand,
    grouped,
    headed,
    usage_errors,
)
from elmo_cli.cli.options import json_option, quiet_option, threads_option
from elmo_cli.cli.parameter_types import FILE, Integer
from elmo_cli.errors import ReaderGone, printable

if TYPE_CHECKING:
    from elmo_cli.downstream.hits import Hit
    from elmo_cli.downstream.query import Query

BATCH = 256  # queries of standard input searched together
WIDTH = 110  # columns of a line if standard output is not a terminal
EPILOG = """\b
Examples:
  elmo search sentences.parquet "how do I get my money back"
  elmo search corpus.h5 "He sat on the muddy [bank] of the river" -n 20
  elmo search corpus.h5 - --json < queries.txt
"""


_search_options = headed(
    SEARCH,
    click.option(
        "--raw", is_flag=True, help="Compare the stored vectors, neither centred nor whitened."
    ),
    click.option(
        "--any-word",
        is_flag=True,
        help="Compare a word in brackets with every token, not only with the same word.",
    ),
)
_hits_options = headed(
    OUTPUT,
    click.option(
        "-n",
        "size",
        type=Integer(1, 100_000),
        default=10,
        show_default=True,
        help="Number of hits for each query.",
    ),
    click.option(
        "--label",
        metavar="COLUMN",
        help=(
            "Column copied by elmo embed --keep, shown with each hit.  [default: label, or the "
            "only one]"
        ),
    ),
)
_model_option = headed(
    MODEL,
    click.option(
        "--model",
        metavar="NAME|DIR|ZIP",
        help="Model that FEATURES were computed with.  [default: by their metadata]",
    ),
)


@dataclass(frozen=True)
class HitOptions:
    """Options of the search and its hits."""

    size: int
    layers: tuple[int, ...] | None
    raw: bool
    any_word: bool
    label: str | None


@dataclass(frozen=True)
class QueryModelOptions:
    """Options of the model of the queries."""

    model: str | None
    threads: int | None


@click.command(cls=HeadedCommand, epilog=EPILOG)
@click.argument("source", metavar="FEATURES", type=FILE)
@click.argument("text", metavar="QUERY")
@grouped(
    "hits",
    HitOptions,
    layers_option(SEARCH, "the first and the last one; for a word the last one"),
    _search_options,
    _hits_options,
)
@json_option("Print one JSON object per line for each hit.")
@grouped("embedding", QueryModelOptions, _model_option, threads_option)
@quiet_option
def command(
    source: Path,
    text: str,
    hits: HitOptions,
    as_json: bool,
    embedding: QueryModelOptions,
    quiet: bool,
) -> None:
    """Find the sentences of FEATURES that are most similar to QUERY.

    FEATURES is a feature file or a folder of shards. QUERY is a sentence, tokenized like the corpus
    of FEATURES; - reads one from each line of standard input. With one word in [brackets] the
    occurrences of that word in similar contexts are found. The query is embedded with the model of
    FEATURES.
    """
    from elmo_cli.cli.console import UserConsole
    from elmo_cli.downstream.kept import label_of
    from elmo_cli.downstream.query import QueryEmbedder, check_features, find_query_model
    from elmo_cli.downstream.search import Searcher, SearchOptions
    from elmo_cli.features.reader import open_features

    console = UserConsole(quiet=quiet)
    batches = _batches(text)
    with usage_errors():
        first = next(batches, [])  # checked before the model is loaded
        if hits.any_word and any(query.position is None for query in first):
            raise click.UsageError("--any-word: requires a query with one word in [brackets].")
    with open_features(source) as features:
        label_of(features, hits.label)
        check_features(features)
        with console.status("loading the model"):
            embedder = QueryEmbedder(
                find_query_model(features, embedding.model), features, embedding.threads
            )
        searcher = Searcher(
            features,
            embedder,
            SearchOptions(hits.size, hits.layers, hits.raw, hits.any_word, hits.label),
        )
        batch = first
        while batch:
            with console.status("searching"):
                found = searcher.search(batch)
            for query, found_here in zip(batch, found, strict=True):
                _print(query, found_here, as_json=as_json, several=text == "-")
            with usage_errors():
                batch = next(batches, [])


def _batches(text: str) -> "Iterator[list[Query]]":
    from elmo_cli.downstream.query import parse_query

    if text != "-":
        yield [parse_query(text)]
        return
    batch: list[Query] = []
    size = 1 if sys.stdin.isatty() else BATCH
    for number, line in enumerate(sys.stdin.buffer, start=1):
        batch.append(parse_query(line.decode("utf-8", "replace"), f"-:{number}"))
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _print(query: "Query", hits: "list[Hit]", *, as_json: bool, several: bool) -> None:
    try:
        if as_json:
            for hit in hits:
                click.echo(json.dumps(_record(query, hit), ensure_ascii=False))
            return
        if several:
            click.echo(printable(f"# {query.text}"))
        for hit in hits:
            click.echo(_sentence_line(hit) if hit.position is None else _concordance_line(hit))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise ReaderGone from None


def _record(query: "Query", hit: "Hit") -> dict[str, object]:
    return {
        "query": query.text,
        "rank": hit.rank,
        "score": round(hit.score, 6),
        "key": hit.key,
        "text": " ".join(hit.tokens),
        "position": hit.position,
        "label": hit.label,
    }


def _sentence_line(hit: "Hit") -> str:
    label = f"  [{printable(hit.label)}]" if hit.label is not None else ""
    return f"{hit.rank:>3}  {hit.score:6.3f}  {printable(' '.join(hit.tokens))}{label}"


def _concordance_line(hit: "Hit") -> str:
    """Return the word between the tokens beside it that fit into the width of the terminal."""
    import shutil

    from rich.cells import cell_len

    label = f"  [{printable(hit.label)}]" if hit.label is not None else ""
    width = shutil.get_terminal_size((WIDTH, 24)).columns if sys.stdout.isatty() else WIDTH
    position = hit.position or 0
    tokens = [printable(token) for token in hit.tokens]
    head, word = f"{hit.rank:>3}  {hit.score:6.3f}  ", tokens[position]
    side = max(12, (width - 2 - sum(map(cell_len, (head, word, label)))) // 2)
    before = " ".join(reversed(_fitting(reversed(tokens[:position]), side)))
    after = " ".join(_fitting(tokens[position + 1 :], side))
    space = " " * (side - cell_len(before))
    styled = click.style(word, fg="cyan", bold=True)
    return f"{head}{space}{before} {styled} {after}{label}".rstrip()


def _fitting(tokens: Iterable[str], columns: int) -> list[str]:
    """Return the first tokens that fit into columns; wide characters take two."""
    from rich.cells import cell_len

    fitting: list[str] = []
    for token in tokens:
        columns -= cell_len(token)
        if columns < 0:
            break
        fitting.append(token)
        columns -= 1  # the space after it
    return fitting

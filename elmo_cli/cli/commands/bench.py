"""`elmo bench`: how fast this machine embeds, and how fast it could."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from elmo_cli.cli.options import FILE, PRECISIONS, machine_options, model_options, quiet_option
from elmo_cli.errors import CorpusError

SHAPES = ("tiny", "small", "medium", "original")
EPILOG = """\b
Examples:
  elmo bench
  elmo bench dev.txt --model elmo_small/ --json > figures.json
"""


@click.command(epilog=EPILOG, short_help="Measure this machine: tokens a second, against what is possible.")
@click.argument("corpus", metavar="[CORPUS]", type=FILE, required=False)
@model_options
@click.option(
    "--shape", type=click.Choice(SHAPES), default="original", show_default=True, help="Without a model: random weights so shaped."
)
@click.option(
    *("--precision", "precisions"), type=click.Choice(PRECISIONS), multiple=True, help="May be repeated.  [default: fp32 and bf16]"
)
@click.option("--tokens", type=click.IntRange(min=100), default=8000, show_default=True, help="Of the corpus, from its start.")
@click.option("--repeats", type=click.IntRange(1, 100), default=3, show_default=True, help="Rounds; figures are their medians.")
@click.option("--json", "as_json", is_flag=True, help="JSON in place of a table.")
@machine_options
@quiet_option
def command(
    corpus: Path | None,
    model: str | None,
    options: str | None,
    weights: str | None,
    shape: str,
    precisions: tuple[str, ...],
    tokens: int,
    repeats: int,
    as_json: bool,
    device: str,
    threads: int | None,
    quiet: bool,
) -> None:
    """Write to standard output how fast CORPUS, or made-up text, is embedded: by the simple path, and by the fast one.

    The simple path runs padded batches in input order, every token through the character CNN, as the older tools did. The ceiling is what
    this machine's matrix product does at the LSTMs' shapes. "LSTM of it": nominal work, 2 operations for each weight of the LSTMs and
    each token, with every word type cached and nothing written; "all of it": the character CNN's work for each word type too, nothing
    cached, written to HDF5. "nodes" is the share of LSTM steps that are computed, since sentences share those of common beginnings and
    ends; both shares of the ceiling count all steps. "writing" is the store's share of that time. Errors are against float64, by layer.
    """
    from elmo_cli.cli.console import UserConsole
    from elmo_cli.inference.benchmark.rounds import Figures, run_benchmark, summarize
    from elmo_cli.inference.benchmark.work import Work, made_up_text
    from elmo_cli.models.resolve import find_model

    named = find_model(model, options, weights) if model or options or weights else None
    work = Work(named, shape, _read(corpus, tokens) if corpus else made_up_text(tokens), device, threads)
    words = UserConsole(quiet=quiet)
    found: dict[str, Figures] = {}
    for done, found in run_benchmark(work, precisions or ("fp32", "bf16"), repeats):  # noqa: B007  # the last is the whole
        words.info(f"measured {done}")
    summary = summarize(work, found)
    about = {"model": named.name if named else shape, "sentences": len(work.sentences), "tokens": work.tokens}
    click.echo(json.dumps({**about, "paths": summary}) if as_json else _markdown(summary))


def _read(corpus: Path, n_tokens: int) -> list[list[str]]:
    from elmo_cli.readers.corpus import Corpus

    sentences: list[list[str]] = []
    for sentence in Corpus([corpus], blank_lines="skip").read():
        sentences.append(sentence.tokens)
        n_tokens -= len(sentence.tokens)
        if n_tokens <= 0:
            break
    if not sentences:
        raise CorpusError(f"{corpus}: holds no tokens to measure on")
    return sentences


def _markdown(summary: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [list(COLUMNS), *([name, *(show(figures) for show in list(COLUMNS.values())[1:])] for name, figures in summary.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _share(name: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda figures: "" if figures[name] is None else f"{figures[name]:.2f}"


COLUMNS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "path": lambda _: "",
    "tokens/s": lambda figures: f"{figures['tokens_per_second']:,.0f}",
    "x simple": lambda figures: f"{figures['ratio_to_simple']:.1f}",
    "ceiling, GFLOP/s": lambda figures: f"{figures['ceiling_gflops']:,.0f}",
    "LSTM of it": _share("lstm_of_ceiling"),
    "all of it": _share("end_to_end_of_ceiling"),
    "nodes": _share("share_of_nodes"),
    "writing": _share("writing_share"),
    "peak MiB": lambda figures: f"{figures['peak_mib']:,.0f}",
    "relative error": lambda figures: " ".join(f"{error:.0e}" for error in figures["relative_error"]),
    "1 - lowest cosine": lambda figures: " ".join(f"{1 - cosine:.0e}" for cosine in figures["lowest_cosine"]),
}

"""Command `elmo bench`: embedding speed of this machine, compared with its matrix products."""

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


@click.command(epilog=EPILOG)
@click.argument("corpus", metavar="[CORPUS]", type=FILE, required=False)
@model_options
@click.option(
    "--shape",
    type=click.Choice(SHAPES),
    default="original",
    show_default=True,
    help="Architecture of random weights, without a model.",
)
@click.option(
    *("--precision", "precisions"),
    type=click.Choice(PRECISIONS),
    multiple=True,
    help="Precision to measure; may be repeated.  [default: fp32 and bf16]",
)
@click.option(
    "--tokens",
    type=click.IntRange(min=100),
    default=8000,
    show_default=True,
    help="Number of tokens to embed, from the start of CORPUS.",
)
@click.option(
    "--repeats",
    type=click.IntRange(1, 100),
    default=3,
    show_default=True,
    help="Number of rounds; figures are their medians.",
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON instead of a table.")
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
    """Measure how fast CORPUS, or generated text, is embedded, and write a table.

    The simple path embeds padded batches in input order, with every token in the character CNN, as
    earlier tools did. The ceiling is the speed of this machine's matrix product at the shapes of
    the LSTMs. "LSTM of it" is nominal work, 2 operations per weight of the LSTMs and token, with
    every word type cached and nothing written; "all of it" adds the character CNN's work per word
    type, nothing cached, and writes HDF5. "nodes" is the share of LSTM steps that are computed:
    sentences share those of common beginnings and ends, and the shares of the ceiling count all.
    "writing" is the share of the time spent in the feature writer. Errors are relative to float64,
    by layer.
    """
    from elmo_cli.cli.console import UserConsole
    from elmo_cli.inference.benchmark.rounds import Figures, run_benchmark, summarize
    from elmo_cli.inference.benchmark.work import Work, made_up_text
    from elmo_cli.models.resolve import find_model

    named = find_model(model, options, weights) if model or options or weights else None
    work = Work(
        named, shape, _read(corpus, tokens) if corpus else made_up_text(tokens), device, threads
    )
    console = UserConsole(quiet=quiet)
    found: dict[str, Figures] = {}
    for done, found in run_benchmark(work, precisions or ("fp32", "bf16"), repeats):  # noqa: B007  # the last one has all figures
        console.info(f"measured {done}")
    summary = summarize(work, found)
    header = {
        "model": named.name if named else shape,
        "sentences": len(work.sentences),
        "tokens": work.tokens,
    }
    click.echo(json.dumps({**header, "paths": summary}) if as_json else _markdown(summary))


def _read(corpus: Path, n_tokens: int) -> list[list[str]]:
    from elmo_cli.readers.corpus import Corpus

    sentences: list[list[str]] = []
    for sentence in Corpus([corpus], blank_lines="skip").read():
        sentences.append(sentence.tokens)
        n_tokens -= len(sentence.tokens)
        if n_tokens <= 0:
            break
    if not sentences:
        raise CorpusError(f"{corpus}: has no tokens to measure on; pass another file")
    return sentences


def _markdown(summary: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        list(COLUMNS),
        *(
            [name, *(show(figures) for show in list(COLUMNS.values())[1:])]
            for name, figures in summary.items()
        ),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    return "\n".join(
        [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
    )


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
    "relative error": lambda figures: " ".join(
        f"{error:.0e}" for error in figures["relative_error"]
    ),
    "1 - lowest cosine": lambda figures: " ".join(
        f"{1 - cosine:.0e}" for cosine in figures["lowest_cosine"]
    ),
}

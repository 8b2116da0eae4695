"""`elmo bench`: embedding speed of this machine, compared with its matrix products."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from elmo_cli.cli.headings import COMPUTE, INPUT, MODEL, HeadedCommand, grouped, headed
from elmo_cli.cli.option_groups import ComputeOptions, ModelOptions
from elmo_cli.cli.options import (
    PRECISIONS,
    json_option,
    machine_options,
    model_options,
    quiet_option,
)
from elmo_cli.cli.parameter_types import FILE, Integer
from elmo_cli.errors import CorpusError

SHAPES = ("tiny", "small", "medium", "original")
EPILOG = """\b
Examples:
  elmo bench
  elmo bench dev.txt --model elmo_small/ --json > figures.json
"""


_architecture_option = headed(
    MODEL,
    click.option(
        "--shape",
        type=click.Choice(SHAPES),
        default="original",
        show_default=True,
        help="Architecture of random weights, without a model.",
    ),
)
_measurement_options = headed(
    COMPUTE,
    click.option(
        *("--precision", "precisions"),
        type=click.Choice(PRECISIONS),
        multiple=True,
        help="Precision to measure; may be repeated.  [default: fp32 and bf16]",
    ),
    click.option(
        "--repeats",
        type=Integer(1, 100),
        default=3,
        show_default=True,
        help="Number of rounds; figures are their medians.",
    ),
)
_tokens_option = headed(
    INPUT,
    click.option(
        "--tokens",
        type=Integer(100),
        default=8000,
        show_default=True,
        help="Number of tokens to embed, from the start of CORPUS.",
    ),
)


@dataclass(frozen=True)
class MeasurementOptions:
    """Options of what is measured."""

    shape: str
    precisions: tuple[str, ...]
    tokens: int
    repeats: int


@click.command(cls=HeadedCommand, epilog=EPILOG)
@click.argument("corpus", metavar="[CORPUS]", type=FILE, required=False)
@grouped("model", ModelOptions, model_options("random weights of --shape"))
@grouped("measured", MeasurementOptions, _architecture_option, _tokens_option, _measurement_options)
@json_option("Print JSON instead of a table.")
@grouped("compute", ComputeOptions, machine_options)
@quiet_option
def command(
    corpus: Path | None,
    model: ModelOptions,
    measured: MeasurementOptions,
    as_json: bool,
    compute: ComputeOptions,
    quiet: bool,
) -> None:
    """Measure how fast CORPUS, or generated text, is embedded, and print a table.

    The path "simple" embeds padded batches in input order, with every token in the character CNN,
    as earlier tools did; the other paths are elmo embed in each precision.

    \b
    Columns of the table:
      tokens/s           speed with an empty cache, HDF5 output included
      x simple           ratio to the speed of the path "simple"
      ceiling            speed of the matrix product at the shapes of the LSTMs
      LSTM of it         part of the ceiling that the LSTMs reach: every word
                         type cached, nothing written, 2 operations for each
                         weight and token
      all of it          the same with the character CNN, an empty cache and
                         HDF5 output
      nodes              part of the LSTM steps that are computed: sentences
                         share those of common beginnings and ends
      writing            part of the time spent in the feature writer
      peak MiB           largest memory of the process
      relative error, 1 - lowest cosine
                         difference to float64, of each layer
    """  # noqa: D301  # click's mark of a paragraph that keeps its lines
    from elmo_cli.cli.console import UserConsole
    from elmo_cli.inference.benchmark.rounds import Figures, run_benchmark, summarize
    from elmo_cli.inference.benchmark.work import Work, made_up_text

    console = UserConsole(quiet=quiet)
    named = model.find(console) if model.model or model.options or model.weights else None
    sentences = _read(corpus, measured.tokens) if corpus else made_up_text(measured.tokens)
    work = Work(named, measured.shape, sentences, compute.device, compute.threads)
    found: dict[str, Figures] = {}
    for done, found in run_benchmark(  # noqa: B007  # the last one has all figures
        work, measured.precisions or ("fp32", "bf16"), measured.repeats
    ):
        console.info(f"measured {done}")
    summary = summarize(work, found)
    header = {
        "model": named.name if named else measured.shape,
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

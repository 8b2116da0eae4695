"""`elmo plot`: plots of features, and of a training run."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from elmo_cli.cli.headings import INPUT, OUTPUT, Command, HeadedCommand, grouped, headed
from elmo_cli.cli.options import quiet_option
from elmo_cli.cli.parameter_types import FILE, Integer
from elmo_cli.errors import ModelError, OutputError, UsageError

if TYPE_CHECKING:
    from elmo_cli.cli.console import UserConsole

PICTURES, PAGES, TABLES = (".png", ".svg", ".pdf"), (".html",), (".parquet", ".csv")
SAMPLE, SENTENCES = 1000, 500
EPILOG = """\b
Examples:
  elmo plot corpus.h5 bank.png --word bank
  elmo plot corpus.parquet bank.html --word bank --color sense
  elmo plot corpus.h5 bank.parquet --word bank   (x, y, context, label)
  elmo plot corpus.h5 layers.png --layers-overview
  elmo plot my_model/ curve.png   (learning curve of elmo train)
"""


def _layers(
    _ctx: click.Context, _parameter: click.Parameter, given: str | None
) -> tuple[int, ...] | None:
    if given is None or given == "all":
        return None
    if not all(part.isdecimal() and len(part) < 6 for part in given.split(",")):
        raise click.BadParameter(f"{given!r} is not a list of layers such as 1,2")
    return tuple(map(int, given.split(",")))


def layers_option(heading: str, default: str) -> Callable[[Command], Command]:
    """Return the option for layers by number.

    Args:
        heading: One of HEADINGS.
        default: Description of the default, for the help text.

    Returns:
        The decorator.
    """
    return headed(
        heading,
        click.option(
            "--layers",
            metavar="N,...",
            callback=_layers,
            help=f"Layers by number, such as 1,2.  [default: {default}]",
        ),
    )


_vectors_options = headed(
    INPUT,
    click.option("--word", metavar="WORD", help="Draw the occurrences of this word."),
    click.option("--exact", is_flag=True, help="Match --word case-sensitively."),
    click.option(
        "--layers-overview",
        is_flag=True,
        help="Draw norms, similarity of the layers and anisotropy instead of a word.",
    ),
)
_sample_options = headed(
    INPUT,
    click.option(
        "--sample",
        type=Integer(2, 100_000),
        help=(
            f"Largest number of occurrences, drawn at random.  [default: {SAMPLE}; sentences for "
            f"--layers-overview: {SENTENCES}]"
        ),
    ),
    click.option(
        "--seed",
        type=Integer(0, 2**31 - 1),
        default=0,
        show_default=True,
        help="Random seed of the sample and the maps.",
    ),
)
_drawing_options = headed(
    OUTPUT,
    click.option(
        "--color",
        metavar="COLUMN",
        help=(
            "Colour by a column of labels, copied by elmo embed --keep.  [default: by islands, "
            "groups of occurrences]"
        ),
    ),
    click.option(
        "--context",
        type=Integer(0, 1000),
        default=12,
        show_default=True,
        help="Number of tokens shown on either side of the word.",
    ),
)


@dataclass(frozen=True)
class PlotOptions:
    """Options of the plotted vectors and their labels."""

    word: str | None
    exact: bool
    layers_overview: bool
    layers: tuple[int, ...] | None
    sample: int | None
    seed: int
    color: str | None
    context: int

    def __post_init__(self) -> None:
        if self.word is not None and self.layers_overview:
            raise UsageError(
                "--word and --layers-overview are two different plots; pass one of them."
            )
        if self.word is not None and self.word.split() != [self.word]:
            raise UsageError(f"--word {self.word!r}: is not one token; pass one word.")


@click.command(cls=HeadedCommand, epilog=EPILOG)
@click.argument("source", metavar="FEATURES|MODEL_DIR", type=FILE)
@click.argument("output", metavar="OUT", type=FILE)
@grouped(
    "plot",
    PlotOptions,
    _vectors_options,
    layers_option(INPUT, "all"),
    _sample_options,
    _drawing_options,
)
@quiet_option
def command(source: Path, output: Path, plot: PlotOptions, quiet: bool) -> None:
    """Draw the vectors of FEATURES, a feature file or folder, or the training of MODEL_DIR.

    The suffix of OUT chooses an image (.png, .svg, .pdf), an interactive page that works offline
    (.html), or the plotted data (.parquet, .csv). An existing OUT is replaced. Up to 40 occurrences
    of a word are drawn as a heat map of each layer beside their contexts, more as a map (t-SNE) of
    each layer. The same file and seed give the same image. Requires: pip install
    'elmo-cli[analysis]'
    """
    from elmo_cli.cli.console import UserConsole

    console = UserConsole(quiet=quiet)
    if not output.parent.is_dir():
        raise OutputError(f"{output.parent}: no such folder; create it first")
    if _is_model(source):
        if plot.word is not None or plot.layers_overview:
            raise click.UsageError(
                f"{source}: is the folder of a model; --word and --layers-overview need a feature "
                "file."
            )
        _draw_curve(source, output, console)
    elif plot.layers_overview:
        _draw_layers(source, output, plot, console)
    elif plot.word is not None:
        _draw_word(source, output, plot, console)
    else:
        raise click.UsageError(
            "Missing option: pass --word WORD or --layers-overview, or name the folder of a "
            "trained model."
        )


def _is_model(source: Path) -> bool:
    return (
        source.is_dir()
        and not any(source.glob("*.parquet"))
        and any((source / name).exists() for name in ("log.jsonl", "options.json"))
    )


def _check_suffix(output: Path, suffixes: tuple[str, ...], what: str) -> str:
    suffix = output.suffix.lower()
    if suffix not in suffixes:
        raise click.UsageError(
            f"{output}: {what} is written as {', '.join(suffixes)}; give OUT one of these suffixes."
        )
    return suffix


def _draw_curve(source: Path, output: Path, console: "UserConsole") -> None:
    _check_suffix(output, PICTURES, "a learning curve")

    from elmo_cli.downstream.figures import save_figure
    from elmo_cli.downstream.projection import need_analysis
    from elmo_cli.training import log

    need_analysis("matplotlib")
    if not any("words" in entry for entry in log.read(source)):
        raise ModelError(
            f"{source}: has no log of a training run ({log.LOG}); name a folder that elmo train "
            "has written"
        )
    save_figure(log.curve(source), output)
    console.info(f"learning curve of {source}: {output}")


def _draw_layers(source: Path, output: Path, plot: PlotOptions, console: "UserConsole") -> None:
    suffix = _check_suffix(output, PICTURES + TABLES, "an overview of the layers")

    from elmo_cli.downstream.layers_overview import draw_layers, layers_table, measure_layers
    from elmo_cli.downstream.projection import need_analysis
    from elmo_cli.downstream.word_table import write_columns
    from elmo_cli.features.reader import open_features

    need_analysis(*(["matplotlib"] if suffix in PICTURES else []))
    with console.status("reading"), open_features(source) as features:
        found = measure_layers(features, plot.layers, plot.sample or SENTENCES, plot.seed)
    if suffix in TABLES:
        write_columns(layers_table(found), output)
    else:
        _warn(console, draw_layers(found, source.name, output))
    console.info(f"{len(found.names)} layers, {found.vectors:,} vectors: {output}")


def _draw_word(source: Path, output: Path, plot: PlotOptions, console: "UserConsole") -> None:
    suffix = _check_suffix(output, PICTURES + PAGES + TABLES, "a word")

    from elmo_cli.downstream.projection import need_analysis
    from elmo_cli.downstream.word_map import WordOptions, map_word
    from elmo_cli.downstream.word_page import write_page
    from elmo_cli.downstream.word_table import table_of, write_columns
    from elmo_cli.features.reader import open_features

    word = WordOptions(
        plot.word or "",
        plot.exact,
        plot.layers,
        plot.sample or SAMPLE,
        plot.context,
        plot.color,
        plot.seed,
    )
    need_analysis("sklearn", *(["matplotlib"] if suffix not in TABLES else []))
    with (
        console.status("reading the occurrences and drawing their maps"),
        open_features(source) as features,
    ):
        found = map_word(features, word)
    if suffix in TABLES:
        write_columns(table_of(found), output)
    elif suffix in PAGES:
        write_page(found, output)
    else:
        from elmo_cli.downstream.concordance_plot import draw_concordance
        from elmo_cli.downstream.word_plot import draw_word

        _warn(console, (draw_concordance if found.few else draw_word)(found, output))
    shown = len(found.occurrences)
    sample = f"a sample of {shown:,} of {found.total:,}" if shown < found.total else f"{shown:,}"
    console.info(f"{word.word}: {sample} occurrences: {output}")


def _warn(console: "UserConsole", notes: list[str]) -> None:
    for note in notes:
        console.warning(note)

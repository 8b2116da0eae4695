"""`elmo plot`: plots of features, and of a training run."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from elmo_cli.cli.options import FILE, options, quiet_option
from elmo_cli.errors import ModelError, OutputError

if TYPE_CHECKING:
    from elmo_cli.cli.console import UserConsole
    from elmo_cli.downstream.word_map import WordOptions

PICTURES, PAGES, TABLES = (".png", ".svg", ".pdf"), (".html",), (".parquet", ".csv")
SAMPLE, SENTENCES = 1000, 500
EPILOG = """\b
Examples:
  elmo plot corpus.h5 bank.png --word bank
  elmo plot corpus.parquet bank.html --word bank --color sense
  elmo plot corpus.h5 bank.parquet --word bank     (x, y of each layer, context, label)
  elmo plot corpus.h5 layers.png --layers-overview
  elmo plot my_model/ curve.png                    (the learning curve of elmo train)
"""


def _layers(
    _ctx: click.Context, _parameter: click.Parameter, given: str | None
) -> tuple[int, ...] | None:
    if given is None or given == "all":
        return None
    if not all(part.isdecimal() and len(part) < 6 for part in given.split(",")):
        raise click.BadParameter(f"{given!r} is not a list of layers such as 1,2")
    return tuple(map(int, given.split(",")))


layers_option = click.option(
    "--layers", metavar="N,...", callback=_layers, help="Layers by number, such as 1,2."
)
_word_options = options(
    click.option("--word", help="Word whose occurrences are shown."),
    click.option("--exact", is_flag=True, help="Match --word case-sensitively."),
    click.option(
        "--color",
        metavar="COLUMN",
        help="Column of labels, copied by elmo embed --keep.  [default: islands]",
    ),
    click.option(
        "--context",
        type=click.IntRange(0, 1000),
        default=12,
        show_default=True,
        help="Number of tokens shown on either side of the word.",
    ),
)


@dataclass(frozen=True)
class Request:
    """Source, output and sampling of a plot."""

    source: Path
    output: Path
    layers: tuple[int, ...] | None
    sample: int | None
    seed: int


@click.command(epilog=EPILOG)
@click.argument("source", metavar="FEATURES|MODEL_DIR", type=FILE)
@click.argument("output", metavar="OUT", type=FILE)
@_word_options
@click.option(
    "--layers-overview",
    is_flag=True,
    help="Draw norms, similarity of the layers and anisotropy instead of a word.",
)
@layers_option
@click.option(
    "--sample",
    type=click.IntRange(2, 100_000),
    help=(
        "Occurrences (--layers-overview: sentences) drawn at random, at most.  [default: "
        f"{SAMPLE}; {SENTENCES}]"
    ),
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    help="Random seed of the sample and the maps.",
)
@quiet_option
def command(
    source: Path,
    output: Path,
    word: str | None,
    exact: bool,
    color: str | None,
    context: int,
    layers_overview: bool,
    layers: tuple[int, ...] | None,
    sample: int | None,
    seed: int,
    quiet: bool,
) -> None:
    """Draw the vectors of FEATURES, a feature file or folder, or the training of MODEL_DIR.

    The suffix of OUT chooses an image (.png, .svg, .pdf), an interactive page that works offline
    (.html), or the plotted data (.parquet, .csv). An existing OUT is replaced. Up to 40 occurrences
    of a word are drawn as a heat map of each layer beside their contexts, more as a map (t-SNE) of
    each layer. The same file and seed give the same image. Requires: pip install
    'elmo-cli[analysis]'
    """
    from elmo_cli.cli.console import UserConsole

    words, request = UserConsole(quiet=quiet), Request(source, output, layers, sample, seed)
    if (word is not None) + layers_overview > 1:
        raise click.UsageError(
            "--word and --layers-overview are two different plots; pass one of them."
        )
    if word is not None and (not word or word.split() != [word]):
        raise click.UsageError(f"--word {word!r}: is not one token; pass one word.")
    if not output.parent.is_dir():
        raise OutputError(f"{output.parent}: no such folder; create it first")
    if _is_model(source):
        _draw_curve(request, words, asked=word is not None or layers_overview)
    elif layers_overview:
        _draw_layers(request, words)
    elif word is not None:
        from elmo_cli.downstream.word_map import WordOptions

        _draw_word(
            request, WordOptions(word, exact, layers, sample or SAMPLE, context, color, seed), words
        )
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


def _draw_curve(request: Request, words: "UserConsole", *, asked: bool) -> None:
    _check_suffix(request.output, PICTURES, "a learning curve")
    if asked:
        raise click.UsageError(
            f"{request.source}: is the folder of a model; --word and --layers-overview need a "
            "feature file."
        )

    from elmo_cli.downstream.figures import save_figure
    from elmo_cli.downstream.projection import need_analysis
    from elmo_cli.training import log

    need_analysis("matplotlib")
    if not any("words" in entry for entry in log.read(request.source)):
        raise ModelError(
            f"{request.source}: has no log of a training run ({log.LOG}); name a folder that elmo "
            "train has written"
        )
    save_figure(log.curve(request.source), request.output)
    words.info(f"learning curve of {request.source}: {request.output}")


def _draw_layers(request: Request, words: "UserConsole") -> None:
    suffix = _check_suffix(request.output, PICTURES + TABLES, "an overview of the layers")

    from elmo_cli.downstream.layers_overview import draw_layers, layers_table, measure_layers
    from elmo_cli.downstream.projection import need_analysis
    from elmo_cli.downstream.word_table import write_columns
    from elmo_cli.features.reader import open_features

    need_analysis(*(["matplotlib"] if suffix in PICTURES else []))
    with words.status("reading"), open_features(request.source) as features:
        found = measure_layers(features, request.layers, request.sample or SENTENCES, request.seed)
    if suffix in TABLES:
        write_columns(layers_table(found), request.output)
    else:
        _warn(words, draw_layers(found, request.source.name, request.output))
    words.info(f"{len(found.names)} layers, {found.vectors:,} vectors: {request.output}")


def _draw_word(request: Request, word: "WordOptions", words: "UserConsole") -> None:
    suffix = _check_suffix(request.output, PICTURES + PAGES + TABLES, "a word")

    from elmo_cli.downstream.projection import need_analysis
    from elmo_cli.downstream.word_map import map_word
    from elmo_cli.downstream.word_page import write_page
    from elmo_cli.downstream.word_table import table_of, write_columns
    from elmo_cli.features.reader import open_features

    need_analysis("sklearn", *(["matplotlib"] if suffix not in TABLES else []))
    with (
        words.status("reading the occurrences and drawing their maps"),
        open_features(request.source) as features,
    ):
        found = map_word(features, word)
    if suffix in TABLES:
        write_columns(table_of(found), request.output)
    elif suffix in PAGES:
        write_page(found, request.output)
    else:
        from elmo_cli.downstream.concordance_plot import draw_concordance
        from elmo_cli.downstream.word_plot import draw_word

        _warn(words, (draw_concordance if found.few else draw_word)(found, request.output))
    shown = len(found.occurrences)
    sample = f"a sample of {shown:,} of {found.total:,}" if shown < found.total else f"{shown:,}"
    words.info(f"{word.word}: {sample} occurrences: {request.output}")


def _warn(words: "UserConsole", notes: list[str]) -> None:
    for note in notes:
        words.warning(note)

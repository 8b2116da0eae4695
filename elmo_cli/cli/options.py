"""Options shared by commands."""

import re
from collections.abc import Callable
from pathlib import Path

import click

from elmo_cli.cli.headings import (
    COMPUTE,
    INPUT,
    MODEL,
    OUTPUT,
    RESUME,
    Command,
    grouped,
    headed,
    options,
    usage_errors,
)
from elmo_cli.features.formats.registry import FILE_FORMATS, LAYOUTS
from elmo_cli.features.spec import KEYS, ROWS
from elmo_cli.io.remote_path import features_path
from elmo_cli.io.stdout import output_path
from elmo_cli.readers import READERS
from elmo_cli.readers.options import PLAIN, ReadOptions
from elmo_cli.readers.tokens import SEPARATORS

__all__ = ["options", "usage_errors"]  # for the commands

# Errors are reported by the code that reads the file
FILE = click.Path(path_type=Path, readable=False)


def features_argument(_context: click.Context, _parameter: click.Parameter, given: str) -> Path:
    """Return the path or the URI of features."""
    return features_path(given)


class Count(click.IntRange):
    """Positive integer without a range in its help text; the upper limit prevents overflows."""

    def __init__(self) -> None:
        super().__init__(min=1, max=1 << 40)

    def _describe_range(self) -> str:
        return ""


COUNT = Count()
PRECISIONS = ("fp32", "bf16", "tf32", "fp16")


def _device(ctx: click.Context, parameter: click.Parameter, value: str) -> str:  # noqa: ARG001  # click's signature
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", value):
        raise click.BadParameter(f"{value!r} is none of auto, cpu, cuda, cuda:N, mps")
    return value


model_options = headed(
    MODEL,
    click.option(
        "--model",
        metavar="NAME|DIR|ZIP|URL",
        help=(
            "Name of a model that elmo models lists, or its folder or archive.  [default: "
            "ELMO_MODEL, or else tiny, the built-in one]"
        ),
    ),
    click.option(
        "--options",
        "--options-file",
        "options",
        metavar="FILE|URL",
        help="JSON file of the model's options, with --weights.",
    ),
    click.option(
        "--weights",
        "--weight-file",
        "weights",
        metavar="FILE|URL",
        help="HDF5 file of the model's weights, with --options.",
    ),
)

cache_options = headed(
    MODEL,
    click.option(
        "--cache-dir",
        metavar="DIR",
        type=FILE,
        help=(
            "Folder of downloaded models.  [default: ELMO_CACHE, or the platform's folder for "
            "caches]"
        ),
    ),
    click.option("--offline", is_flag=True, help="Download nothing; the same as ELMO_OFFLINE=1."),
)

machine_options = headed(
    COMPUTE,
    click.option(
        *("--device", "device"),
        default="auto",
        show_default=True,
        callback=_device,
        metavar="auto|cpu|cuda|mps",
        help="Device that computes the vectors; cuda:N is one GPU.",
    ),
    click.option(
        "--threads",
        type=click.IntRange(1, 1024),
        help="Number of CPU threads.  [default: one for each core]",
    ),
)

separator_option = headed(
    INPUT,
    click.option(
        "--separator",
        type=click.Choice(list(SEPARATORS)),
        default=PLAIN.separator,
        show_default=True,
        help="Separator of the tokens in a text.",
    ),
)
encoding_option = headed(
    INPUT,
    click.option(
        "--encoding-errors",
        type=click.Choice(["strict", "replace"]),
        default="strict",
        show_default=True,
        help="Treatment of bytes that are not UTF-8: an error, or U+FFFD.",
    ),
)
blank_lines_option = headed(
    INPUT,
    click.option(
        "--blank-lines",
        type=click.Choice(["error", "keep", "skip"]),
        default="error",
        show_default=True,
        help=(
            "Treatment of lines without tokens: an error, empty arrays, or left out (the other "
            "lines keep their numbers)."
        ),
    ),
)

output_options = headed(
    OUTPUT,
    click.option(
        "--output-format",
        type=click.Choice(FILE_FORMATS),
        help="Format of OUTPUT.  [default: by its suffix; hdf5 without one]",
    ),
    click.option(
        "--layout",
        type=click.Choice(LAYOUTS),
        help="Arrangement of the vectors in HDF5 or .npz (arrays: one array for each sentence).  "
        "[default: allennlp in HDF5; one array in .npz]",
    ),
    click.option(
        "--compression",
        type=click.Choice(["none", "gzip", "zstd"]),
        help="Compression codec of the stored vectors.  [default: zstd in Parquet, else none]",
    ),
    click.option(
        "--rows",
        type=click.Choice(ROWS),
        default="sentence",
        show_default=True,
        help="Unit of a row in Parquet and Arrow.",
    ),
    click.option(
        "--shard-tokens",
        type=COUNT,
        help="Number of tokens in each Parquet file of a folder.  [default: 131072]",
    ),
    click.option(
        "--keys",
        type=click.Choice(KEYS),
        help=(
            "Names of the sentences in OUTPUT.  [default: number in the allennlp layout; elsewhere "
            "the id, if there is one]"
        ),
    ),
    click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it exists."),
)
output_argument = click.argument(
    "output",
    metavar="OUTPUT",
    callback=lambda _context, _parameter, given: output_path(given),
)


def resuming_options(default: str) -> Callable[[Command], Command]:
    """Return the options for unfinished work.

    Args:
        default: Description of the default, for the help text.

    Returns:
        The decorator.
    """
    return headed(
        RESUME,
        click.option(
            "--resume/--no-resume",
            default=None,
            help=f"Resume an interrupted run / keep nothing to resume from.  [default: {default}]",
        ),
        click.option(
            "--fresh", is_flag=True, help="Start over, and delete the files of an interrupted run."
        ),
    )


def _takers(field: str) -> str:
    return ", ".join(name for name, reader in READERS.items() if field in reader.takes)


_format_options = headed(
    INPUT,
    click.option(
        "--input-format",
        "format",
        type=click.Choice(list(READERS)),
        help="Format of INPUT.  [default: by its suffix, or text]",
    ),
    separator_option,
    encoding_option,
    click.option(
        *("--column", "column"),
        metavar="NAME",
        multiple=True,
        default=PLAIN.column,
        show_default=True,
        help=(
            f"Column of the sentences ({_takers('column')}): lists of tokens, or text to be split; "
            "may be repeated, for pairs."
        ),
    ),
    click.option("--id-column", metavar="NAME", help="Column of the sentences' ids."),
    click.option(
        "--keep",
        metavar="NAME",
        multiple=True,
        help="Column or field of INPUT to copy to OUTPUT; may be repeated.",
    ),
    click.option(
        *("--field", "field"),
        metavar="NAME",
        multiple=True,
        default=PLAIN.field,
        show_default=True,
        help=f"Field of the sentence ({_takers('field')}); may be repeated, for pairs.",
    ),
    click.option(
        "--id-field",
        metavar="NAME|N",
        help="Field of the sentence's id; in a FASTA header its number: 2 in sp|P1|NAME.",
    ),
    click.option(
        "--documents",
        is_flag=True,
        help=f"Read a list of strings as sentences, not as tokens ({_takers('documents')}).",
    ),
    click.option(
        "--token-column",
        type=click.IntRange(1, 1000),
        help=(
            f"Number of the column of the tokens, from 1 ({_takers('token_column')}).  [default: "
            "1; in CoNLL-2012 4]"
        ),
    ),
    click.option(
        "--keep-case",
        is_flag=True,
        help=f"Leave lower-case residues as they are ({_takers('keep_case')}).",
    ),
    click.option(
        "--ignore-ids", is_flag=True, help=f"Read no ids from INPUT ({_takers('ignore_ids')})."
    ),
)


reading_options = grouped("reading", ReadOptions, _format_options)
"""Reading options of INPUT, passed to the command as `reading`."""

quiet_option = click.option(
    "--quiet",
    "-q",
    is_flag=True,
    help="Print warnings and errors only: no progress and no summary.",
)

"""Options that several commands share."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from elmo_cli.errors import UsageError
from elmo_cli.layouts import FORMATS, HDF5_LAYOUTS, ROWS

Command = TypeVar("Command", bound=Callable[..., Any])
FILE = click.Path(path_type=Path, readable=False)  # what is wrong with a file is said by what reads it
COUNT = click.IntRange(min=1, max=1 << 40)


def options(*added: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Options as one decorator, listed in the order in which --help shows them."""

    def decorate(command: Command) -> Command:
        for option in reversed(added):
            command = option(command)
        return command

    return decorate


@contextmanager
def contradictions() -> Iterator[None]:
    """Options that contradict one another are wrong usage."""
    try:
        yield
    except UsageError as error:
        raise click.UsageError(str(error)) from None


def _device(ctx: click.Context, parameter: click.Parameter, value: str) -> str:  # noqa: ARG001  # click's signature
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", value):
        raise click.BadParameter(f"{value!r} is none of auto, cpu, cuda, cuda:N, mps")
    return value


model_options = options(
    click.option("--model", metavar="NAME|DIR", help="Folder of options.json and *.hdf5, or tiny, the built-in model.  [default: tiny]"),
    click.option("--options", "--options-file", "options", type=FILE, help="JSON file of options."),
    click.option("--weights", "--weight-file", "weights", type=FILE, help="HDF5 file of weights."),
)

machine_options = options(
    click.option(
        *("--device", "device"),
        default="auto",
        show_default=True,
        callback=_device,
        metavar="auto|cpu|cuda|mps",
        help="Where to compute; cuda:N names one GPU.",
    ),
    click.option("--threads", type=click.IntRange(1, 1024), help="CPU threads.  [default: as many as cores]"),
)

separator_option = click.option(
    "--separator",
    type=click.Choice(["whitespace", "tab", "space"]),
    default="whitespace",
    show_default=True,
    help="What parts the tokens of a line.",
)
encoding_option = click.option(
    "--encoding-errors", type=click.Choice(["strict", "replace"]), default="strict", show_default=True, help="Bytes that are not UTF-8."
)

reading_options = options(
    separator_option,
    click.option(
        "--blank-lines",
        type=click.Choice(["error", "keep", "skip"]),
        default="error",
        show_default=True,
        help="Lines without tokens: refuse, write empty arrays, or drop (the others keep their numbers).",
    ),
    encoding_option,
)

output_options = options(
    click.option("--output-format", type=click.Choice(FORMATS), help="Format of OUTPUT.  [default: by its suffix, else hdf5]"),
    click.option("--layout", type=click.Choice(HDF5_LAYOUTS), help="How HDF5 is laid out.  [default: allennlp]"),
    click.option(
        "--compression", type=click.Choice(["none", "gzip", "zstd"]), help="Of the values.  [default: zstd in Parquet, else none]"
    ),
    click.option("--rows", type=click.Choice(ROWS), default="sentence", show_default=True, help="What a row of Parquet or Arrow holds."),
    click.option("--shard-tokens", type=COUNT, help="Tokens a Parquet shard.  [default: 131072]"),
)

quiet_option = click.option("--quiet", "-q", is_flag=True, help="No progress and no closing line; warnings and errors only.")

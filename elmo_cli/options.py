"""Options that several commands share."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])
FILE = click.Path(path_type=Path)


def _device(ctx: click.Context, parameter: click.Parameter, value: str) -> str:  # noqa: ARG001  # click's signature
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value):
        raise click.BadParameter(f"{value!r} is none of auto, cpu, cuda, cuda:N, mps")
    return value


def model_options(command: Command) -> Command:
    """--model, --options, --weights: which model; AllenNLP's spellings too."""
    command = click.option("--weights", "--weight-file", "weights", type=FILE, help="HDF5 file of weights.")(command)
    command = click.option("--options", "--options-file", "options", type=FILE, help="JSON file of options.")(command)
    return click.option("--model", metavar="DIR", help="Folder that holds a model's options.json and *.hdf5.")(command)


def machine_options(command: Command) -> Command:
    """--device, --threads: what the model runs on."""
    threads = click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: as many as cores]")
    device = click.option(
        "--device",
        default="auto",
        show_default=True,
        callback=_device,
        metavar="auto|cpu|cuda|mps",
        help="Where to compute; cuda:N names one GPU.",
    )
    return device(threads(command))


def reading_options(command: Command) -> Command:
    """--separator, --blank-lines, --encoding-errors: how text is read."""
    errors = click.option(
        "--encoding-errors", type=click.Choice(["strict", "replace"]), default="strict", show_default=True, help="Bytes that are not UTF-8."
    )
    blank = click.option(
        "--blank-lines",
        type=click.Choice(["error", "keep", "skip"]),
        default="error",
        show_default=True,
        help="Lines without tokens: refuse, write empty arrays, or drop (the others keep their numbers).",
    )
    separator = click.option(
        "--separator",
        type=click.Choice(["whitespace", "tab", "space"]),
        default="whitespace",
        show_default=True,
        help="What parts the tokens of a line.",
    )
    return separator(blank(errors(command)))


quiet_option = click.option("--quiet", "-q", is_flag=True, help="No progress and no closing line; warnings and errors only.")

"""Options that several commands share."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])
FILE = click.Path(path_type=Path, readable=False)  # what is wrong with a file is said by what reads it
COUNT = click.IntRange(min=1, max=1 << 40)
PRECISIONS = ("fp32", "bf16", "tf32", "fp16")


def options(*added: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Options as one decorator, listed in the order in which --help shows them."""

    def decorate(command: Command) -> Command:
        for option in reversed(added):
            command = option(command)
        return command

    return decorate


def _device(ctx: click.Context, parameter: click.Parameter, value: str) -> str:  # noqa: ARG001  # click's signature
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", value):
        raise click.BadParameter(f"{value!r} is none of auto, cpu, cuda, cuda:N, mps")
    return value


model_options = options(
    click.option(
        "--model",
        metavar="NAME|DIR|ZIP|URL",
        help="A name that elmo models lists, or a folder or archive of a model.  [default: ELMO_MODEL, or else tiny, the built-in one]",
    ),
    click.option("--options", "--options-file", "options", metavar="FILE|URL", help="JSON file of options."),
    click.option("--weights", "--weight-file", "weights", metavar="FILE|URL", help="HDF5 file of weights."),
)

cache_options = options(
    click.option("--cache-dir", metavar="DIR", type=FILE, help="Where models are kept.  [default: ELMO_CACHE, or the platform's place]"),
    click.option("--offline", is_flag=True, help="Fetch nothing; the same as ELMO_OFFLINE=1."),
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

quiet_option = click.option("--quiet", "-q", is_flag=True, help="No progress and no closing line; warnings and errors only.")

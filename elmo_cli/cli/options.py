"""Options that several commands share."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from elmo_cli.errors import UsageError
from elmo_cli.features.layouts import FORMATS, NAMED_LAYOUTS, ROWS
from elmo_cli.io.remote_path import features_path
from elmo_cli.io.stdout import STDOUT
from elmo_cli.readers import READERS
from elmo_cli.readers.options import PLAIN, ReadOptions
from elmo_cli.readers.tokens import SEPARATORS

Command = TypeVar("Command", bound=Callable[..., Any])
FILE = click.Path(path_type=Path, readable=False)  # what is wrong with a file is said by what reads it


def features_argument(_context: click.Context, _parameter: click.Parameter, given: str) -> Path:
    """Return the path or the URI of features."""
    return features_path(given)


COUNT = click.IntRange(min=1, max=1 << 40)
PRECISIONS = ("fp32", "bf16", "tf32", "fp16")


def options(*added: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Options as one decorator, listed in the order in which --help shows them."""

    def decorate(command: Command) -> Command:
        for option in reversed(added):
            command = option(command)
        return command

    return decorate


@contextmanager
def usage_errors() -> Iterator[None]:
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
    type=click.Choice(list(SEPARATORS)),
    default=PLAIN.separator,
    show_default=True,
    help="What parts the tokens of a text.",
)
encoding_option = click.option(
    "--encoding-errors", type=click.Choice(["strict", "replace"]), default="strict", show_default=True, help="Bytes that are not UTF-8."
)

blank_lines_option = click.option(
    "--blank-lines",
    type=click.Choice(["error", "keep", "skip"]),
    default="error",
    show_default=True,
    help="Lines without tokens: refuse, write empty arrays, or drop (the others keep their numbers).",
)

output_options = options(
    click.option("--output-format", type=click.Choice(FORMATS), help="Format of OUTPUT.  [default: by its suffix; hdf5 without one]"),
    click.option(
        "--layout",
        type=click.Choice(NAMED_LAYOUTS),
        help="Layout of HDF5, or of .npz (arrays: one a sentence).  [default: allennlp; all in one]",
    ),
    click.option(
        "--compression", type=click.Choice(["none", "gzip", "zstd"]), help="Of the values.  [default: zstd in Parquet, else none]"
    ),
    click.option("--rows", type=click.Choice(ROWS), default="sentence", show_default=True, help="What a row of Parquet or Arrow holds."),
    click.option("--shard-tokens", type=COUNT, help="Tokens a Parquet shard.  [default: 131072]"),
)


def resuming_options(default: str) -> Callable[[Command], Command]:
    """What becomes of unfinished work; `default` says what does if neither is given."""
    return options(
        click.option(
            "--resume/--no-resume",
            default=None,
            help=f"Go on with a run that was stopped / keep no work to go on with.  [default: {default}]",
        ),
        click.option("--fresh", is_flag=True, help="Begin anew, and drop what a stopped run has done."),
    )


def check_resuming(resume: bool | None, *, fresh: bool, output: Path) -> None:
    """Make sure that the two go together, and with the output.

    Raises:
        click.UsageError: They do not.
    """
    if resume and fresh:
        raise click.UsageError("--resume goes on with unfinished work and --fresh drops it; pass one of them.")
    if resume and output == STDOUT:
        raise click.UsageError("--resume is for an output that stays; standard output cannot be gone on with.")


def _takers(field: str) -> str:
    return ", ".join(name for name, reader in READERS.items() if field in reader.takes)


_format_options = options(
    click.option("--input-format", "format", type=click.Choice(list(READERS)), help="Format of INPUT.  [default: by its suffix, or text]"),
    separator_option,
    encoding_option,
    click.option(
        *("--column", "column"),
        metavar="NAME",
        multiple=True,
        default=PLAIN.column,
        show_default=True,
        help=f"Column of the sentences ({_takers('column')}): lists of tokens, or text to be split; may be repeated, for pairs.",
    ),
    click.option("--id-column", metavar="NAME", help="Column of the sentences' own ids."),
    click.option("--keep", metavar="NAME", multiple=True, help="Column or field that is carried over to the output; may be repeated."),
    click.option(
        *("--field", "field"),
        metavar="NAME",
        multiple=True,
        default=PLAIN.field,
        show_default=True,
        help=f"Field of the sentence ({_takers('field')}); may be repeated, for pairs.",
    ),
    click.option("--id-field", metavar="NAME|N", help="Field of the sentence's own id; of a FASTA header's, its number: 2 in sp|P1|NAME."),
    click.option("--documents", is_flag=True, help=f"A list of texts holds sentences, not tokens ({_takers('documents')})."),
    click.option(
        "--token-column",
        type=click.IntRange(1, 1000),
        help=f"Column of the tokens, from 1 ({_takers('token_column')}).  [default: 1; in CoNLL-2012 4]",
    ),
    click.option("--keep-case", is_flag=True, help=f"Leave lower-case residues as they are ({_takers('keep_case')})."),
    click.option("--ignore-ids", is_flag=True, help=f"Take no ids from INPUT ({_takers('ignore_ids')})."),
)


def reading_options(command: Command) -> Command:
    """The options that say how INPUT is read; the command gets them as one `reading`."""

    @wraps(command)
    def with_reading(*args: Any, **given: Any) -> Any:  # noqa: ANN401  # any command's
        reading = ReadOptions(**{field.name: given.pop(field.name) for field in fields(ReadOptions) if field.name in given})
        for option, names in (("--column", reading.column), ("--field", reading.field), ("--keep", reading.keep)):
            if len(set(names)) < len(names):
                raise click.UsageError(f"{option} names {next(name for name in names if names.count(name) > 1)} twice; name it once.")
        return command(*args, reading=reading, **given)

    return _format_options(cast("Command", with_reading))


quiet_option = click.option("--quiet", "-q", is_flag=True, help="No progress and no closing line; warnings and errors only.")

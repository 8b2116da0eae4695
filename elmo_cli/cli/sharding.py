"""Option `--shard I/N` of job arrays, and its checks."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from elmo_cli.cli.headings import RESUME, headed
from elmo_cli.features.formats.options import is_folder
from elmo_cli.features.formats.registry import Format
from elmo_cli.io.remote_path import RemotePath
from elmo_cli.io.stdout import STDOUT

if TYPE_CHECKING:
    from elmo_cli.readers.corpus import Corpus

MOST_TASKS = 1_000_000


def _task(
    _context: click.Context, _parameter: click.Parameter, given: str | None
) -> tuple[int, int] | None:
    if given is None:
        return None
    if not re.fullmatch(r"\d{1,7}/\d{1,7}", given):
        raise click.BadParameter(f"{given!r} is not I/N, such as 0/8")
    index, count = map(int, given.split("/"))
    if not 0 <= index < count <= MOST_TASKS:
        raise click.BadParameter(
            f"{given!r}: the tasks of {count} are 0/{count} to {count - 1}/{count}"
        )
    return index, count


shard_option = headed(
    RESUME,
    click.option(
        "--shard",
        metavar="I/N",
        callback=_task,
        help=(
            "Run task I of N, from 0: write the Parquet shards whose number is I modulo N (elmo "
            "guide scale)."
        ),
    ),
)


def check_sharding(
    shard: tuple[int, int] | None,
    output: Path,
    form: Format,
    *,
    stateful: bool,
    resume: bool | None,
    fresh: bool,
) -> None:
    """Check that `--shard` fits the output and the other options.

    Raises:
        click.UsageError: The output or another option contradicts `--shard`.
    """
    if not shard:
        return
    if output == STDOUT or not is_folder(output, form):
        what = "standard output" if output == STDOUT else f"{output} ({form.name})"
        raise click.UsageError(
            f"--shard writes to a folder of Parquet shards, and the output is {what}; name a "
            "folder, with --output-format parquet."
        )
    if isinstance(output, RemotePath):
        raise click.UsageError(
            f"--shard writes to a folder shared by the tasks, and {output} is remote; name a "
            "shared folder."
        )
    if stateful:
        raise click.UsageError(
            "--shard and --stateful contradict each other: with --stateful, vectors depend on all "
            "preceding sentences."
        )
    if fresh or resume is False:
        given = "--fresh" if fresh else "--no-resume"
        raise click.UsageError(
            f"--shard and {given} contradict each other: it would discard the shards of the other "
            "tasks; leave it out."
        )


def check_remote(output: Path, form: Format) -> None:
    """Check that an output at a URI is a folder of Parquet shards.

    Raises:
        click.UsageError: The output is at a URI and has another format.
    """
    if isinstance(output, RemotePath) and not is_folder(output, form):
        raise click.UsageError(
            f"{output}: only a folder of Parquet shards can be written to a URI; name one, with "
            "--output-format parquet."
        )


def check_shard_input(shard: tuple[int, int] | None, write: str, source: "Corpus") -> None:
    """Check that the input of shards is not a pipe: a task reads it again, as does a resumed run.

    Raises:
        click.UsageError: The input is a pipe.
    """
    if not source.is_stream:
        return
    if shard:
        raise click.UsageError(
            f"--shard reads its input in each task, and {source.name} can be read only once; name "
            "a file."
        )
    if write == "workers":
        raise click.UsageError(
            f"--write workers reads its input again to resume, and {source.name} can be read only "
            "once; "
            "name a file."
        )


def without_shard(arguments: list[str]) -> list[str]:
    """Return a command line without `--shard`: all tasks record the same command."""
    kept, skip = [], False
    for argument in arguments:
        if not skip and argument != "--shard" and not argument.startswith("--shard="):
            kept.append(argument)
        skip = argument == "--shard" and not skip
    return kept

"""The command line `elmo`: its commands, and what becomes of errors.

Exit codes: 0 done, 1 an error the user can fix (one line on stderr), 2 wrong usage, 128 + n stopped by signal n (130 for Ctrl-C). A bug
keeps its traceback.
"""

import codecs
import io
import os
import re
import signal
import sys
from collections import Counter
from errno import EAGAIN, EDQUOT, EMFILE, ENFILE, ENOMEM, ENOSPC
from importlib import import_module
from typing import Any, NoReturn

import click

from elmo_cli.cli.signals import STOPPING, occupy_stderr, stop, stop_again
from elmo_cli.errors import ElmoError, ReaderGone, printable, reason_of
from elmo_cli.version import __version__

COMMANDS = (
    "embed",
    "inspect",
    "verify",
    "convert",
    "models",
    "train",
    "evaluate",
    "probe",
    "fit",
    "predict",
    "bench",
    "guide",
)  # `command` in the module of that name in commands/
REFUSED = {  # what a process may need more of, and how it gets that
    EAGAIN: "end other processes, raise their limit (ulimit -u), or pass --threads 1",
    ENOMEM: "free memory, or raise the limit of this process (ulimit -v)",
    EMFILE: "raise the limit of open files (ulimit -n)",
    ENFILE: "close files of other processes",
}
NO_MEMORY = re.compile(  # the last but one is oneDNN's, the one before it the loader's
    r"(can't|cannot) allocate memory|not enough memory|out of memory|failed to map segment|could not create a primitive|std::bad_alloc",
    re.IGNORECASE,
)
NO_THREAD = re.compile(r"can't start new thread|pthread_create|temporarily unavailable", re.IGNORECASE)
FULL = (ENOSPC, EDQUOT)  # a disk, be it the one behind standard output


class Commands(click.Group):
    """The group: imports a command when it is asked for, and turns errors into lines and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Names, in the order of the help text."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's signature
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"elmo_cli.cli.commands.{cmd_name}").command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """The command and its arguments, among which an option stands once."""
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None:
            _check_given_once(command, name, rest, ctx)
        return name, command, rest

    def main(self, *args: Any, **extra: Any) -> Any:  # noqa: ANN401  # click's
        """Run all. Whatever is written may find the disk full, the group's own help too."""
        try:
            return super().main(*args, **extra)
        except OSError as error:
            if error.errno not in FULL:
                raise
            click.echo(f"Error: cannot write on ({error.strerror}); make room, or write elsewhere", err=True)
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> None:
        """Run the command."""
        occupy_stderr()
        _let_stdout_take_any_text()
        # Before torch starts OpenMP: threads that spin while they wait make a shared machine several times slower.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        before = {number: signal.signal(number, stop) for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN}
        hook, sys.unraisablehook = sys.unraisablehook, stop_again
        try:
            super().invoke(ctx)
        except ElmoError as error:
            _fail(ctx, str(error))
        except ReaderGone:  # of standard output: `| head` has seen enough
            ctx.exit(0)
        except (OSError, MemoryError, RuntimeError, ImportError) as error:
            if (refusal := _refusal(error)) is None:
                raise  # a bug, or a full disk, which `main` tells
            _fail(ctx, refusal)
        except KeyboardInterrupt as interruption:
            number, *words = interruption.args or (signal.SIGINT,)
            click.echo("; ".join([f"Stopped by {signal.Signals(number).name}", *filter(None, words)]) + ".", err=True)
            ctx.exit(128 + number)
        finally:
            sys.unraisablehook = hook
            for number, handler in before.items():
                signal.signal(number, handler)


def _check_given_once(command: click.Command, name: str | None, args: list[str], parent: click.Context) -> None:
    """Refuse an option of one value that is given twice, of which click would take the last; so for the commands of a group.

    Raises:
        click.UsageError: One is.
    """
    ctx = click.Context(command, parent, name, **command.context_settings)
    _, rest, given = command.make_parser(ctx).parse_args(list(args))
    for parameter, times in Counter(given).items():
        if times > 1 and isinstance(parameter, click.Option) and _has_one_value(parameter):
            raise click.UsageError(f"{max(parameter.opts, key=len)} is given {times} times; give it once.", ctx)
    if isinstance(command, click.Group) and rest and (below := command.get_command(ctx, rest[0])):
        _check_given_once(below, rest[0], rest[1:], ctx)


def _has_one_value(option: click.Option) -> bool:
    """Neither one that may be repeated, nor a flag that is on however often it stands there."""
    return not (option.multiple or option.count or (option.is_flag and not option.secondary_opts))


def _refusal(error: OSError | MemoryError | RuntimeError | ImportError) -> str | None:
    """A line for what the system refuses: a file, memory, threads; None for a bug, and for a full disk."""
    if isinstance(error, OSError) and error.filename is not None:  # a file that was named is the user's
        remedy = "" if error.errno in (EMFILE, ENFILE) else REFUSED.get(error.errno or 0, "")  # reason_of names the limit
        return printable("; ".join(filter(None, [f"{os.fsdecode(error.filename)}: {reason_of(error)}", remedy])))
    said = printable(next(iter(str(error).splitlines()), "out of memory"))[:200]
    if isinstance(error, OSError):
        if "temporary directory" in said:  # Python's own words
            return "no folder for temporary files takes one; set TMPDIR to a folder with room"
        reason = (error.strerror or said).lower()
        return f"the system refuses more ({reason}); {REFUSED[error.errno]}" if error.errno in REFUSED else None
    if isinstance(error, MemoryError) or NO_MEMORY.search(said):
        return f"memory does not suffice ({said}); {REFUSED[ENOMEM]}"
    return f"the system refuses more threads ({said}); {REFUSED[EAGAIN]}" if NO_THREAD.search(said) else None


def _let_stdout_take_any_text() -> None:
    """Write file names as the bytes that they are, and escape characters that the encoding of the terminal lacks."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        is_utf8 = codecs.lookup(sys.stdout.encoding).name == "utf-8"
        sys.stdout.reconfigure(errors="surrogateescape" if is_utf8 else "backslashreplace")


def _fail(ctx: click.Context, message: str) -> NoReturn:
    click.echo(f"Error: {message}", err=True)
    ctx.exit(1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="elmo", message="%(prog)s %(version)s")
def main() -> None:
    """ELMo representations of every token of a corpus (Peters et al. 2018).

    Example: elmo embed corpus.txt out.h5 --model path/to/model
    """

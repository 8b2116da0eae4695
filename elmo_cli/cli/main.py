"""The command line `elmo`: its commands, and what becomes of errors.

Exit codes: 0 done, 1 an error the user can fix (one line on stderr), 2 wrong usage, 128 + n stopped by signal n (130 for Ctrl-C). A bug
keeps its traceback.
"""

import os
import select
import signal
import sys
from errno import EDQUOT, ENOSPC
from importlib import import_module
from typing import Any, NoReturn

import click

from elmo_cli import __version__
from elmo_cli.cli.signals import STOPPING, _occupy_stderr, _stop, _stop_again
from elmo_cli.errors import ElmoError, ReaderGone, printable

COMMANDS = (
    "embed",
    "inspect",
    "verify",
    "convert",
    "models",
    "train",
    "evaluate",
    "bench",
)  # `command` in the module of that name in commands/
FULL = (ENOSPC, EDQUOT)  # a disk, be it the one behind standard output
NO_CONTROLS = (None, "dumb", "unknown")  # values of TERM: what takes no control sequences


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
        _occupy_stderr()
        # Before torch starts OpenMP: threads that spin while they wait make a shared machine several times slower.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        before = {number: signal.signal(number, _stop) for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN}
        hook, sys.unraisablehook = sys.unraisablehook, _stop_again
        try:
            super().invoke(ctx)
        except ElmoError as error:
            _fail(ctx, str(error))
        except ReaderGone:  # of standard output: `| head` has seen enough
            ctx.exit(0)
        except OSError as error:
            if error.filename is not None:  # a file that was named is the user's
                _fail(ctx, printable(f"{os.fsdecode(error.filename)}: {error.strerror}"))
            raise  # a bug, or a full disk, which `main` tells
        except KeyboardInterrupt as interruption:
            number, *words = interruption.args or (signal.SIGINT,)
            click.echo("; ".join([f"Stopped by {signal.Signals(number).name}", *filter(None, words)]) + ".", err=True)
            ctx.exit(128 + number)
        finally:
            sys.unraisablehook = hook
            for number, handler in before.items():
                signal.signal(number, handler)


def _clear_line() -> None:
    """Remove a bar and show the cursor, unless the terminal takes nothing just now: then one would wait here for ever."""
    if select.select([], [2], [], 0)[1]:
        os.write(2, b"\r\x1b[2K\x1b[?25h")


def _fail(ctx: click.Context, message: str) -> NoReturn:
    click.echo(f"Error: {message}", err=True)
    ctx.exit(1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="elmo", message="%(prog)s %(version)s")
def main() -> None:
    """ELMo representations of every token of a corpus (Peters et al. 2018).

    Example: elmo embed corpus.txt out.h5 --model path/to/model
    """

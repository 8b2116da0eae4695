"""Command line program `elmo`: commands, error messages and exit codes.

Exit codes: 0 success, 1 an error that the user can fix (one line on stderr), 2 wrong usage,
128 + n stopped by signal n (130 for Ctrl-C). A bug keeps its traceback.
"""

import codecs
import io
import os
import signal
import sys
from errno import EDQUOT, ENOSPC
from importlib import import_module
from typing import Any, NoReturn

import click

from elmo_cli.cli.refusals import describe_refusal
from elmo_cli.cli.repeated import check_given_once
from elmo_cli.cli.signals import STOPPING, occupy_stderr, stop, stop_again
from elmo_cli.errors import ElmoError, ReaderGone
from elmo_cli.version import __version__

# Name: line in `elmo --help`. commands/NAME.py has `command`, imported when it runs
COMMANDS = {
    "embed": "Compute the vectors of every token of a corpus.",
    "inspect": "Summarize a feature file.",
    "verify": "Check that a feature file is complete and correct.",
    "convert": "Write features in another layout.",
    "models": "List, download, verify and convert models.",
    "train": "Train a biLM on text.",
    "evaluate": "Measure a trained model's perplexity on text.",
    "probe": "Measure how well each layer predicts labels; learn a mix of the layers.",
    "fit": "Train a classifier of tokens or sentences.",
    "predict": "Label tokens or sentences with a classifier of elmo fit.",
    "plot": "Draw a word's vectors, the layers, or a training run.",
    "search": "Find similar sentences, or a word in similar contexts.",
    "bench": "Measure embedding speed on this machine.",
    "guide": "Show a guide of the documentation.",
}
FULL = (ENOSPC, EDQUOT)  # full disk, including that of standard output


class Commands(click.Group):
    """Command group that imports commands lazily and reports errors as one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Return the names, in the order of the help text."""
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's signature
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's signature
        """Return the command of a name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"elmo_cli.cli.commands.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command and its arguments, after checking for repeated options."""
        _suggest_command(ctx, args[0])
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None:
            check_given_once(command, name, rest, ctx)
        return name, command, rest

    def main(self, *args: Any, **extra: Any) -> Any:  # noqa: ANN401  # click's
        """Run the program; report a full disk, also while the help text is written."""
        try:
            return super().main(*args, **extra)
        except OSError as error:
            if error.errno not in FULL:
                raise
            click.echo(
                f"Error: cannot write ({error.strerror}); free disk space, or write elsewhere",
                err=True,
            )
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> None:
        """Run the command."""
        occupy_stderr()
        _let_stdout_take_any_text()
        # Before torch starts OpenMP: threads that spin while they wait make a shared machine
        # several times slower.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        before = {
            number: signal.signal(number, stop)
            for number in STOPPING
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        hook, sys.unraisablehook = sys.unraisablehook, stop_again
        try:
            super().invoke(ctx)
        except ElmoError as error:
            _fail(ctx, str(error))
        except ReaderGone:  # of standard output, such as `| head`
            ctx.exit(0)
        except (OSError, MemoryError, RuntimeError, ImportError) as error:
            if (refusal := describe_refusal(error)) is None:
                raise  # a bug, or a full disk, which `main` reports
            _fail(ctx, refusal)
        except KeyboardInterrupt as interruption:
            number, *words = interruption.args or (signal.SIGINT,)
            click.echo(
                "; ".join([f"Stopped by {signal.Signals(number).name}", *filter(None, words)])
                + ".",
                err=True,
            )
            ctx.exit(128 + number)
        finally:
            sys.unraisablehook = hook
            for number, handler in before.items():
                signal.signal(number, handler)


def _suggest_command(ctx: click.Context, name: str) -> None:
    """Name the command that a mistyped name resembles, if there is one."""
    if name in COMMANDS:
        return
    from difflib import get_close_matches

    if close := get_close_matches(name, COMMANDS, n=1):
        ctx.fail(f"No such command '{name}'; did you mean '{close[0]}'?")


def _let_stdout_take_any_text() -> None:
    """Write undecodable file names as bytes, and escape characters outside the encoding."""
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

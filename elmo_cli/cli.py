"""The command line `elmo`: its commands, and what becomes of errors.

Exit codes: 0 done, 1 an error the user can fix (one line on stderr), 2 wrong usage, 130 interrupted. A bug keeps its traceback.
"""

import os
from importlib import import_module

import click

from elmo_cli import __version__
from elmo_cli.errors import ElmoError

COMMANDS = ("embed",)  # each one is `command` in the module of that name in commands/
INTERRUPTED = 130


class Commands(click.Group):
    """The group: imports a command when it is asked for, and turns errors into lines and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Names, in the order of the help text."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's signature
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"elmo_cli.commands.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> None:
        """Run the command."""
        # Before torch starts OpenMP: threads that spin while they wait make a shared machine several times slower.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            super().invoke(ctx)
        except ElmoError as error:
            click.echo(f"Error: {printable(str(error))}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(INTERRUPTED)


def printable(message: str) -> str:
    """The message with control characters (a file's name may hold some) written as escapes."""
    return "".join(c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode() for c in message)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="elmo", message="%(prog)s %(version)s")
def main() -> None:
    """ELMo representations of every token of a corpus (Peters et al. 2018).

    Example: elmo embed corpus.txt out.h5 --model path/to/model
    """

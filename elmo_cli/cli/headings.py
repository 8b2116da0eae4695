"""Option groups: headings in `--help`, and one dataclass for each group."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import wraps
from typing import Any, TypeVar, cast

import click

from elmo_cli.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])
MODEL, INPUT, TRAINING, SEARCH, OUTPUT, COMPUTE, RESUME, ALLENNLP, OTHER = (
    "Model",
    "Input",
    "Training",
    "Search",
    "Output",
    "Compute",
    "Resume",
    "AllenNLP compatibility",
    "Other options",
)
# In the order of the help text
HEADINGS = (MODEL, INPUT, TRAINING, SEARCH, OUTPUT, COMPUTE, RESUME, ALLENNLP, OTHER)


def options(*added: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Return one decorator for several options, in the order of the help text."""

    def decorate(command: Command) -> Command:
        for option in reversed(added):
            command = option(command)
        return command

    return decorate


def headed(heading: str, *added: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Return one decorator for several options below a heading of the help text.

    Args:
        heading: One of HEADINGS.
        *added: The options.

    Returns:
        The decorator.
    """

    def decorate(command: Command) -> Command:
        before = len(getattr(command, "__click_params__", ()))
        command = options(*added)(command)
        for parameter in getattr(command, "__click_params__")[before:]:  # noqa: B009  # click's own
            parameter.heading = heading
        return command

    return decorate


def grouped(
    name: str, kind: Callable[..., Any], *added: Callable[[Any], Any]
) -> Callable[[Command], Command]:
    """Return a decorator that adds options and passes them to the command as one dataclass.

    Args:
        name: Name of the command's argument.
        kind: The dataclass. Its fields have the names of the options, or of arguments of the
            command; it raises UsageError for options that contradict one another.
        *added: The options.

    Returns:
        The decorator.
    """

    def decorate(command: Command) -> Command:
        @wraps(command)
        def with_group(*args: Any, **given: Any) -> Any:  # noqa: ANN401  # any command's
            taken = {
                field.name: given.pop(field.name)
                for field in fields(cast("Any", kind))
                if field.name in given
            }
            with usage_errors():
                group = kind(**taken)
            return command(*args, **{name: group}, **given)

        return options(*added)(cast("Command", with_group))

    return decorate


@contextmanager
def usage_errors() -> Iterator[None]:
    """Convert UsageError to click.UsageError, which ends with exit code 2."""
    try:
        yield
    except UsageError as error:
        raise click.UsageError(str(error)) from None


class HeadedCommand(click.Command):
    """Command that lists its options below headings in the help text."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, group by group."""
        _write_options(self, ctx, formatter)


class HeadedGroup(click.Group):
    """Group of commands, whose help lists options below headings and a sentence per command."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, group by group, and the commands."""
        _write_options(self, ctx, formatter)
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, command.get_short_help_str(limit=200))
                    for name, command in sorted(self.commands.items())
                ]
            )


def _write_options(
    command: click.Command, ctx: click.Context, formatter: click.HelpFormatter
) -> None:
    records: dict[str, list[tuple[str, str]]] = {heading: [] for heading in HEADINGS}
    for parameter in command.get_params(ctx):
        if (
            isinstance(parameter, click.Option)
            and (record := parameter.get_help_record(ctx)) is not None
        ):
            records[getattr(parameter, "heading", OTHER)].append(record)
    for heading, listed in records.items():
        if listed:
            with formatter.section(heading):
                formatter.write_dl(listed)

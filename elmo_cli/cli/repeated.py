"""Refusal of single-valued options that are given twice, of which click would take the last."""

from collections import Counter

import click


def check_given_once(command: click.Command, name: str | None, args: list[str], parent: click.Context) -> None:
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
        check_given_once(below, rest[0], rest[1:], ctx)


def _has_one_value(option: click.Option) -> bool:
    """Neither one that may be repeated, nor a flag that is on however often it stands there."""
    return not (option.multiple or option.count or (option.is_flag and not option.secondary_opts))

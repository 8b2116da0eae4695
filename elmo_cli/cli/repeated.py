"""Check for repeated single-valued options, of which click would take the last."""

from collections import Counter

import click


def check_given_once(
    command: click.Command, name: str | None, args: list[str], parent: click.Context
) -> None:
    """Check that no single-valued option is repeated, also in the commands of a group.

    Raises:
        click.UsageError: An option is repeated.
    """
    ctx = click.Context(command, parent, name, **command.context_settings)
    _, rest, given = command.make_parser(ctx).parse_args(list(args))
    for parameter, times in Counter(given).items():
        if times > 1 and isinstance(parameter, click.Option) and _has_one_value(parameter):
            raise click.UsageError(
                f"{max(parameter.opts, key=len)} is given {times} times; give it once.", ctx
            )
    if isinstance(command, click.Group) and rest and (below := command.get_command(ctx, rest[0])):
        check_given_once(below, rest[0], rest[1:], ctx)


def _has_one_value(option: click.Option) -> bool:
    """Return whether an option takes one value: neither repeatable nor a flag."""
    return not (option.multiple or option.count or (option.is_flag and not option.secondary_opts))

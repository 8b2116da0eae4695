"""`elmo guide`: guides of the documentation on the terminal."""

import sys
from pathlib import Path

import click

GUIDES = Path(__file__).parents[1] / "guides"
EPILOG = """\b
Examples:
  elmo guide
  elmo guide formats
  elmo guide resume | less
"""


def guide_names() -> list[str]:
    """Return the names of all guides, sorted."""
    return sorted(path.stem for path in GUIDES.glob("*.md"))


def read_guide(name: str) -> str:
    """Return the text of a guide, in Markdown."""
    return (GUIDES / f"{name}.md").read_text(encoding="utf-8")


@click.command(epilog=EPILOG)
@click.argument("name", metavar="[NAME]", required=False)
def command(name: str | None) -> None:
    """Show the guide NAME, or list all guides.

    On a terminal the guide is rendered; otherwise its Markdown source is written.
    """
    if name is None:
        for known in guide_names():
            click.echo(f"{known:<16}{read_guide(known).splitlines()[0].lstrip('# ')}")
        return
    if name not in guide_names():
        raise click.UsageError(
            f"no guide is named {name!r}; choose one of {', '.join(guide_names())}."
        )
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(read_guide(name)))
    else:
        click.echo(read_guide(name), nl=False)

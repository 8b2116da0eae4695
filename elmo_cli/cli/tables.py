"""Tables on stdout: with lines on a terminal, as aligned text elsewhere."""

import sys
from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from elmo_cli.errors import printable

GAP = 3  # columns of a terminal between two columns of a table


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table to stdout: with lines on a terminal, else as aligned text.

    On a terminal that is too narrow, the other columns follow below, beside the first one again.

    Args:
        header: Names of the columns.
        rows: Cells; all columns but the first contain numbers.
    """
    columns = [[printable(cell) for cell in column] for column in zip(header, *rows, strict=True)]
    if sys.stdout.isatty():
        console = Console()
        for number, part in enumerate(_parts(columns, console.width)):
            if number:
                console.print()
            console.print(_ruled(part, console.width))
        return
    widths = [max(map(len, column)) for column in columns]
    for row in zip(*columns, strict=True):
        cells = [
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def _parts(columns: Sequence[Sequence[str]], room: int) -> Iterator[list[Sequence[str]]]:
    """Iterate over tables of the first column and as many of the others as the width allows."""
    first, *others = columns
    part, used = [first], _least_width(first)
    for column in others:
        width = GAP + _least_width(column)
        if used + width > room and len(part) > 1:
            yield part
            part, used = [first], _least_width(first)
        part.append(column)
        used += width
    yield part


def _least_width(column: Sequence[str]) -> int:
    """Return the width of the cells of a column, whose header may be wrapped."""
    header, *cells = column
    return max(cell_len(text) for text in [*header.split(), *cells])


def _ruled(columns: Sequence[Sequence[str]], room: int) -> Table:
    widths = [max(map(cell_len, column)) for column in columns]
    if sum(widths) + GAP * (len(widths) - 1) > room:
        widths = list(map(_least_width, columns))
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for number, (width, (header, *_)) in enumerate(zip(widths, columns, strict=True)):
        table.add_column(Text(header), justify="right" if number else "left", width=width)
    for row in zip(*(cells for _, *cells in columns), strict=True):
        table.add_row(*map(Text, row))
    return table

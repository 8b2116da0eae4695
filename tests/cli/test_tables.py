import io
import sys

import pytest
from rich.cells import cell_len
from rich.text import Text

from elmo_cli.cli.tables import print_table


@pytest.mark.parametrize(("width", "tables"), [(40, 1), (30, 1), (24, 2)])
def test_a_table_that_is_too_wide_is_continued_below(
    monkeypatch: pytest.MonkeyPatch, width: int, tables: int
):
    file = io.StringIO()
    file.isatty = lambda: True
    monkeypatch.setattr(sys, "stdout", file)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    print_table(["name", "score [interval]", "number"], [["all", "0.5 [0.4, 0.6]", "12,345"]])
    lines = [Text.from_ansi(line).plain for line in file.getvalue().splitlines()]
    assert max(map(cell_len, lines)) <= width
    assert sum(line.startswith("all") for line in lines) == tables
    assert all(cell in "\n".join(lines) for cell in ("0.5 [0.4, 0.6]", "12,345"))

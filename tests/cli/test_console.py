import io
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from elmo_cli.cli import console
from elmo_cli.cli.console import UserConsole, count, size
from elmo_cli.cli.progress_bar import Bar
from elmo_cli.types import Progress

JOB = [Progress(10, 100), Progress(20, 200)]


def words_on(file: io.StringIO, *, terminal: bool, quiet: bool = False) -> UserConsole:
    words = UserConsole(quiet=quiet)
    file.isatty = lambda: terminal
    words._console = Console(
        file=file, force_terminal=terminal, width=100, markup=False, highlight=False
    )
    return words


def test_what_others_write_to_stderr_comes_above_the_bar(monkeypatch: pytest.MonkeyPatch):
    file = io.StringIO()
    file.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", file)
    monkeypatch.setenv("TERM", "xterm")
    words = UserConsole(quiet=False)

    def job() -> Iterator[Progress]:
        yield JOB[0]
        time.sleep(0.3)  # until the bar is drawn
        sys.stderr.write("a library's warning\n")
        words.warning("ours")
        yield JOB[1]

    words.track(job(), 200)
    assert sys.stderr is file
    assert "\r\x1b[2Ka library's warning\n" in file.getvalue()
    assert "\r\x1b[2KWarning: ours\n" in file.getvalue()
    assert "\x1b[?25l" not in file.getvalue()


@pytest.mark.parametrize("width", [1, 10, 20, 40, 80, 200])
def test_a_bar_is_one_line_of_any_width(width: int):
    file = io.StringIO()
    screen = Console(file=file, force_terminal=True, width=width, soft_wrap=True, color_system=None)
    for share in (None, 0.0, 0.3, 1.0):
        bar = Bar("a word")
        bar.show("12,345 sentences, 日本 \n", share)
        screen.print(bar)
        screen.print()
    lines = file.getvalue().splitlines()
    assert len(lines) == 4
    assert all(cell_len(line) <= max(width - 1, 2) for line in lines)
    assert ("12,345 sentences, 日本 \\n" in lines[3]) == (width >= 80)


def test_the_remaining_time_counts_down_between_two_changes(monkeypatch: pytest.MonkeyPatch):
    bar, now = Bar(""), [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    screen = Console(file=io.StringIO(), width=80, color_system=None)

    def line_after(seconds: float, share: float) -> str:
        now[0] = seconds
        bar.show("", share)
        with screen.capture() as drawn:
            screen.print(bar)
        return drawn.get()

    line_after(0, 0.0)
    assert ", 0:00:30 left" in line_after(10, 0.25)
    assert ", 0:00:27 left" in line_after(13, 0.25)
    assert ", 0:00:00 left" in line_after(50, 0.25)
    assert ", 0:01:00 left" in line_after(60, 0.5)


def test_on_a_terminal_progress_is_drawn_and_taken_away():
    file = io.StringIO()
    assert words_on(file, terminal=True).track(JOB, 200) == JOB[-1]
    assert "20 sentences" in file.getvalue()
    assert "100%" in file.getvalue()
    assert file.getvalue().endswith("\x1b[2K")


@pytest.mark.parametrize(
    ("total", "start"), [(200, "50.0 %: 10 sentences"), (None, "10 sentences")]
)
def test_elsewhere_it_is_a_plain_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, total: int | None, start: str
):
    monkeypatch.setattr(console, "LOG_SECONDS", 0)
    file = io.StringIO()
    assert words_on(file, terminal=False).track(JOB, total) == JOB[-1]
    assert file.getvalue().startswith(start)
    assert file.getvalue().count("\n") == len(JOB)
    assert "\x1b" not in file.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_ends_with_what_the_workers_do(monkeypatch: pytest.MonkeyPatch, terminal: bool):
    monkeypatch.setattr(console, "LOG_SECONDS", 0)
    file = io.StringIO()
    words_on(file, terminal=terminal).track(JOB, 200, lambda: ", 2 workers, 1 window in work")
    assert re.search(r"20 sentences, [\d,]+ tokens/s, 2 workers, 1 window in work", file.getvalue())


def fetching(words: UserConsole) -> None:
    with words.cache(Path("cache"), offline=False) as cache:
        for done in (0, 5_000, 10_000):
            cache.progress("weights.hdf5", done, 10_000)


def test_a_download_is_drawn_on_a_terminal_and_a_line_now_and_then_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(console, "LOG_SECONDS", 0)
    drawn, logged, quiet = io.StringIO(), io.StringIO(), io.StringIO()
    fetching(words_on(drawn, terminal=True))
    fetching(words_on(logged, terminal=False))
    fetching(words_on(quiet, terminal=False, quiet=True))
    assert "weights.hdf5" in drawn.getvalue()
    assert "\x1b" in drawn.getvalue()
    assert logged.getvalue().startswith("fetching weights.hdf5, 10.0 kB\n")
    assert "weights.hdf5: 5.0 kB of 10.0 kB\n" in logged.getvalue()
    assert "\x1b" not in logged.getvalue()
    assert quiet.getvalue() == ""


def test_quiet_leaves_warnings():
    file = io.StringIO()
    words = words_on(file, terminal=True, quiet=True)
    assert words.track(JOB, 200) == JOB[-1]
    with words.status("scanning"):
        words.info("done")
    assert file.getvalue() == ""
    words.warning("a \x1b[31m name")
    assert file.getvalue() == "Warning: a \\x1b[31m name\n"


def test_a_job_without_windows_ends_at_nothing():
    for terminal in (True, False):
        assert words_on(io.StringIO(), terminal=terminal).track([], 0) == Progress(0, 0)


def test_numbers_are_said_with_their_units():
    assert [count(1, "token"), count(12345, "token")] == ["1 token", "12,345 tokens"]
    assert [size(999), size(1000), size(2.5e9), size(3e13)] == [
        "999 bytes",
        "1.0 kB",
        "2.5 GB",
        "30.0 TB",
    ]


def test_epochs_are_counted_while_classifiers_learn(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(console, "LOG_SECONDS", 0.0)
    file = io.StringIO()
    words_on(file, terminal=False).track_epochs([0.5, 1.5, 2.0], 2)
    assert file.getvalue().splitlines() == [
        "25.0 %: epoch 1 of 2",
        "75.0 %: epoch 2 of 2",
        "100.0 %: epoch 2 of 2",
    ]

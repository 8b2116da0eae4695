"""Commands with a progress bar at a terminal: they end, draw the bar, and show the cursor again."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from rich.text import Text

from tests.cli.test_models import zipped
from tests.conftest import SAMPLE, make_options
from tests.helpers.flaky_server import FlakyServer, stall, whole
from tests.helpers.terminal import ERASED, Seen, Terminal

CTRL_C = "\x03"
QUICK = ("--threads", 1, "--streams", 2, "--unroll", 5, "--warm-up", 1, "--precision", "fp32")


@pytest.fixture(scope="module")
def opened() -> Iterator[dict[str, Terminal]]:
    """The terminal of this module, made anew when its process has been ended."""
    terminals: dict[str, Terminal] = {}
    yield terminals
    for one in terminals.values():
        one.close()


@pytest.fixture
def terminal(opened: dict[str, Terminal]) -> Terminal:
    """A terminal of 80 columns."""
    if "one" not in opened or opened["one"].ended:
        opened["one"] = Terminal()
    opened["one"].resize(80)
    return opened["one"]


@pytest.fixture
def features(elmo: Callable[..., Result], model: Path, text: Path, tmp_path: Path) -> Path:
    """Features to convert."""
    assert elmo("embed", text, tmp_path / "features.h5", "--model", model).exit_code == 0
    return tmp_path / "features.h5"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """The start of the sample corpus."""
    path = tmp_path / "text.txt"
    path.write_text("".join(SAMPLE.read_text().splitlines(keepends=True)[:60]))
    return path


@pytest.fixture
def options(tmp_path: Path) -> Path:
    """The architecture of a tiny model to train."""
    (tmp_path / "arch.json").write_text(json.dumps(make_options()))
    return tmp_path / "arch.json"


def assert_drawn(seen: Seen, columns: int = 80) -> None:
    """A bar, each time in one line, removed at the end."""
    assert seen.drawings, seen.output
    assert max(Text.from_ansi(line).cell_len for line in seen.drawings) < columns
    assert seen.has_cursor
    assert seen.output.count(ERASED) >= len(seen.drawings)


@pytest.mark.parametrize("columns", [20, 80, 200])
def test_embed_draws_a_bar_of_one_line(
    terminal: Terminal, text: Path, model: Path, tmp_path: Path, columns: int
):
    terminal.resize(columns)
    seen = terminal.run(
        "embed", text, tmp_path / "out.h5", "--model", model, "--window-tokens", 300
    )
    assert seen.code == 0, seen.output
    assert_drawn(seen, columns)
    assert (tmp_path / "out.h5").is_file()
    assert "tokens/s): " in seen.output.replace("\r\n", "")


def test_the_bar_moves_and_follows_the_width(
    terminal: Terminal, text: Path, model: Path, tmp_path: Path
):
    seen = terminal.run(
        *("embed", text, tmp_path / "out.h5", "--model", model, "--window-tokens", 300),
        at=[
            ("%", lambda: terminal.resize(20)),
            (ERASED, lambda: None),
            (ERASED, lambda: terminal.type(CTRL_C)),
        ],
        hold=1,
    )
    assert seen.code == 130, seen.output
    widths = [Text.from_ansi(line).cell_len for line in seen.drawings]
    assert max(widths) > 40
    assert widths[-1] < 20
    assert "scanning" in seen.drawings[0]
    assert any("%" in line for line in seen.drawings)
    assert seen.has_cursor
    assert "pass --resume to continue" in seen.output


def test_convert_draws_a_bar(terminal: Terminal, features: Path, tmp_path: Path):
    seen = terminal.run("convert", features, tmp_path / "out.parquet")
    assert seen.code == 0, seen.output
    assert_drawn(seen)
    assert (tmp_path / "out.parquet").is_file()
    stopped = terminal.run(
        "convert",
        features,
        tmp_path / "half.parquet",
        at=[("tokens/s", lambda: terminal.type(CTRL_C))],
        hold=1,
    )
    assert stopped.code == 130, stopped.output
    assert_drawn(stopped)
    assert not (tmp_path / "half.parquet").exists()


def test_train_draws_a_bar_and_evaluate_ends(
    terminal: Terminal, text: Path, options: Path, tmp_path: Path
):
    seen = terminal.run(
        "train",
        text,
        tmp_path / "model",
        "--options",
        options,
        "--steps",
        3,
        "--held-out",
        text,
        *QUICK,
    )
    assert seen.code == 0, seen.output
    assert_drawn(seen)
    assert (tmp_path / "model" / "weights.hdf5").is_file()
    # The line is above the bar
    assert "\n100.0 %: step 3" in seen.output.replace(ERASED, "\n")
    seen = terminal.run("evaluate", tmp_path / "model", text)
    assert (seen.code, "perplexity" in seen.output or "average" in seen.output) == (0, True), (
        seen.output
    )


def test_train_is_stopped_with_a_checkpoint(
    terminal: Terminal, text: Path, options: Path, tmp_path: Path
):
    seen = terminal.run(
        *("train", text, tmp_path / "model", "--options", options, "--steps", 100_000, *QUICK),
        at=[("step ", lambda: terminal.type(CTRL_C))],
    )
    assert seen.code == 130, seen.output
    assert_drawn(seen)
    assert "checkpoint saved" in seen.output


def test_a_download_draws_a_bar(
    terminal: Terminal, server: FlakyServer, model: Path, tmp_path: Path
):
    content = zipped(model, tmp_path / "a.zip")
    seen = terminal.run(
        "models",
        "download",
        server.url("/a.zip", whole(content)),
        "--cache-dir",
        tmp_path / "cache",
    )
    assert seen.code == 0, seen.output
    assert_drawn(seen)
    assert "fetching a.zip" in seen.output
    stalled = server.url("/b.zip", stall(content, 20_000))
    stopped = terminal.run(
        "models",
        "download",
        stalled,
        "--cache-dir",
        tmp_path / "cache",
        at=[("%", lambda: terminal.type(CTRL_C))],
    )
    assert stopped.code == 130, stopped.output
    assert_drawn(stopped)


def held(
    terminal: Terminal,
    text: Path,
    model: Path,
    output: Path,
    *at: tuple[str, Callable[[], object]],
    **more: object,
) -> Seen:
    """A run of embed that waits for the acts."""
    return terminal.run(
        "embed",
        text,
        output,
        "--model",
        model,
        "--window-tokens",
        300,
        at=at,
        **{"hold": 1, **more},
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_leaves_the_cursor(
    terminal: Terminal, text: Path, model: Path, tmp_path: Path, number: int, code: int
):
    seen = held(terminal, text, model, tmp_path / "out.h5", ("%", terminal.signal(number)))
    assert seen.code == code, seen.output
    assert_drawn(seen)


def test_a_run_that_was_stopped_for_a_while_draws_on(
    terminal: Terminal, text: Path, model: Path, tmp_path: Path
):
    def pause() -> None:
        terminal.signal(signal.SIGSTOP)()
        terminal.signal(signal.SIGCONT)()

    seen = held(
        terminal,
        text,
        model,
        tmp_path / "out.h5",
        ("%", pause),
        ("%", lambda: terminal.type(CTRL_C)),
    )
    assert seen.code == 130, seen.output
    assert_drawn(seen)


def test_a_second_ctrl_c_leaves_at_once_without_the_bar(
    terminal: Terminal, text: Path, model: Path, tmp_path: Path
):
    press = ("%", lambda: terminal.type(CTRL_C))
    seen = held(terminal, text, model, tmp_path / "out.h5", press, press, hold=2)
    assert seen.code == 130, seen.output
    assert seen.has_cursor
    assert seen.output.endswith("\r\x1b[2K\x1b[?25h")


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"FORCE_COLOR": "1"}])
def test_colours_are_as_the_environment_says(
    terminal: Terminal, text: Path, model: Path, tmp_path: Path, environment: dict[str, str]
):
    seen = held(terminal, text, model, tmp_path / "out.h5", hold=0, **environment)
    assert seen.code == 0, seen.output
    assert_drawn(seen)
    assert ("\x1b[9" in seen.output or "\x1b[3" in seen.output) == ("FORCE_COLOR" in environment)


def test_what_is_no_screen_gets_plain_lines(
    terminal: Terminal, text: Path, model: Path, tmp_path: Path
):
    dumb = held(terminal, text, model, tmp_path / "a.h5", hold=0, TERM="dumb")
    assert (dumb.code, "\x1b" in dumb.output, dumb.output.count("\n")) == (0, False, 1), dumb.output
    log = tmp_path / "log.txt"
    filed = held(terminal, text, model, tmp_path / "b.h5", hold=0, stderr=log, FORCE_COLOR="1")
    assert (filed.code, filed.output) == (0, "")
    assert "\x1b" not in log.read_text()
    assert log.read_text().count("\n") == 1
    data = terminal.run("embed", text, "-", "--model", model, "--output-format", "jsonl")
    assert (data.code, "\x1b" in data.output) == (0, False)


def test_quiet_is_silent(terminal: Terminal, text: Path, model: Path, tmp_path: Path):
    assert terminal.run("embed", text, tmp_path / "out.h5", "--model", model, "--quiet") == Seen(
        0, ""
    )

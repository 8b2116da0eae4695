"""Messages to the user on stderr: a bar while a job runs, a closing line, warnings. All uses of rich are here."""

import math
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, TextIO, cast

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from elmo_cli.errors import printable
from elmo_cli.io.stdout import STDOUT
from elmo_cli.models.cache import Cache, default_offline
from elmo_cli.types import Progress as Committed

if TYPE_CHECKING:
    from elmo_cli.training.loop import TrainProgress

LOG_SECONDS = 60.0  # between plain progress lines, where no bar is drawn
BAR_WIDTHS = (8, 40)  # columns, at least and at most
NARROW = 30  # columns, below which there is a bar without words
DRAWINGS = 8  # a second
HIDE_CURSOR = "\x1b[?25l"


class UserConsole:
    """Messages on stderr.

    Args:
        quiet: Only warnings are written.
        output: Where the command writes data. No bar is drawn between data on a terminal.
    """

    def __init__(self, *, quiet: bool, output: Path | None = None) -> None:
        self.quiet = quiet
        self._bars = not quiet and not (output == STDOUT and sys.stdout and sys.stdout.isatty())
        # In a notebook rich would bypass stderr; plain lines are right there.
        self._console = Console(
            file=cast("IO[str]", _Stderr(_behind_proxy(sys.stderr))),
            force_jupyter=False,
            markup=False,
            highlight=False,
            soft_wrap=True,
            emoji=False,
        )

    @property
    def draws(self) -> bool:
        """Whether bars are drawn: on a terminal that can. FORCE_COLOR makes no terminal of a file."""
        return self._bars and self._console.is_interactive and self._console.file.isatty()

    def info(self, words: str) -> None:
        """Write a line, unless quiet."""
        if not self.quiet:
            self._console.print(printable(words))

    def warning(self, words: str) -> None:
        """Write a line, even if quiet."""
        self._console.print(printable(f"Warning: {words}"))

    def status(self, what: str) -> AbstractContextManager[object]:
        """Show that something is done that has no measure, if on a terminal."""
        return self._drawn(_Bar(what))

    @contextmanager
    def _drawn(self, bar: "_Bar", *, at_once: bool = True) -> Iterator[Live]:
        """Draw a bar below all that is written, while its line changes; it is removed at the end.

        stdout is data and stays as it is. Python's stderr goes through rich meanwhile, so that others' lines come above the bar.
        """
        live = Live(bar, console=self._console, transient=True, redirect_stdout=False, refresh_per_second=DRAWINGS)
        try:
            if at_once and self.draws:
                live.start()  # the first drawing is its thread's too: a signal in the middle of one would repeat it
            yield live
        finally:
            live.stop()

    @contextmanager
    def cache(self, folder: Path | None, *, offline: bool) -> Iterator[Cache]:
        """The cache of models, whose downloads are shown: a bar on a terminal, a line now and then elsewhere."""
        bar, started, said = _Bar(""), dict[str, tuple[float, int]](), time.perf_counter()
        with self._drawn(bar, at_once=False) as live:

            def show(name: str, done: int, total: int | None) -> None:
                nonlocal said
                if name not in started:
                    started[name] = time.perf_counter(), done
                    self.info(f"fetching {name}" + (f", {size(total)}" if total else ""))
                since, before = started[name]
                so_far = f"{name}: {size(done)}" + (f" of {size(total)}" if total else "")
                rate = (done - before) / max(time.perf_counter() - since, 1e-9)
                bar.show(f"{so_far}, {size(rate)}/s", done / total if total else None)
                if self.draws:
                    live.start()  # does nothing after the first time
                elif time.perf_counter() - said >= LOG_SECONDS:
                    said = time.perf_counter()
                    self.info(so_far)

            yield Cache(folder, offline or default_offline(), show, self.info)

    def track(self, job: Iterable[Committed], total_tokens: int | None) -> Committed:
        """Run a job to its end, showing how far it is; returns its last word."""
        bar, last, start = _Bar("starting"), Committed(0, 0), time.perf_counter()
        said = start
        with self._drawn(bar):
            for last in job:
                share = last.tokens / total_tokens if total_tokens else None
                bar.show(_so_far(last, start), share)
                if not self.draws and time.perf_counter() - said >= LOG_SECONDS:
                    said = time.perf_counter()
                    self.info(("" if share is None else f"{100 * share:.1f} %: ") + _so_far(last, start))
        return last

    def track_training(self, job: "Iterable[TrainProgress]") -> "TrainProgress | None":
        """Run a training job to its end, showing how well it does; returns its last word."""
        bar, last, clock = _Bar("starting", share=0.0), None, _Clock()
        with self._drawn(bar):
            for last in job:
                words = clock.words(last)
                bar.show(words, last.share_done)
                if last.held_out or (not self.draws and clock.is_time()):
                    self.info(f"{100 * last.share_done:.1f} %: {words}{clock.left(last)}")
        return last


@dataclass
class _Bar:
    """One line: a spinner, the bar, the share that is done, words and the time left, as far as there is room.

    Args:
        words: The state of the work.
        share: Of the work, between 0 and 1; None where its size is unknown.
    """

    words: str
    share: float | None = None
    spinner: Spinner = field(default_factory=lambda: Spinner("line"))  # ASCII, for every encoding
    first: tuple[float, float] | None = None  # when a share was known first, and the share: a run may be a resumed one

    def show(self, words: str, share: float | None) -> None:
        """Change what the next drawing shows."""
        if share is not None and (self.first is None or share < self.first[1]):
            self.first = time.perf_counter(), share
        self.words, self.share = words, share

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = max(options.max_width - 3, 0)  # the spinner, a space, and the last column, after which some terminals wrap
        share = "" if self.share is None or room < NARROW // 2 else f" {100 * self.share:3.0f}%"
        words = Text(f" {printable(self.words)}{self._left()}" if room >= NARROW else "")
        width = max(min(room - len(share) - words.cell_len, BAR_WIDTHS[1]), min(BAR_WIDTHS[0], room))
        words.truncate(max(room - len(share) - width, 0))
        yield Text(f"{self.spinner.render(console.get_time())} ", end="")
        if width:  # 0 is the full width to rich
            yield ProgressBar(1.0, self.share or 0.0, width=width, pulse=self.share is None)
        yield Text.assemble(share, words, no_wrap=True, end="")

    def _left(self) -> str:
        if self.share is None or self.first is None or not self.first[1] < self.share < 1:
            return ""
        since, share = self.first
        seconds = round((time.perf_counter() - since) * (1 - self.share) / (self.share - share))
        return f", {seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"


def _behind_proxy(stream: TextIO | None) -> TextIO | None:
    """The stream itself, where a live display of rich has put its proxy, which would write to us again."""
    return cast("TextIO | None", getattr(stream, "rich_proxied_file", stream))


class _Stderr:
    """Standard error, whose reader may go away or never have been there: words are discarded then, and the work continues.

    The stream is the one that was there at the start: rich puts a proxy in its place that writes to its console, which is to say here.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:
        """The stream's encoding."""
        return self._stream.encoding if self._stream else "utf-8"

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream is not None and self._stream.isatty()

    def write(self, words: str) -> int:
        """Write what can be written. The cursor is never hidden: who is killed or stopped could not show it again."""
        try:
            if self._stream:
                self._stream.write(words.replace(HIDE_CURSOR, ""))
        except OSError:
            _forget_stderr()
        return len(words)

    def flush(self) -> None:
        """Flush the stream."""
        try:
            if self._stream:
                self._stream.flush()
        except OSError:
            _forget_stderr()


def _forget_stderr() -> None:
    """Let all further words come to nothing, those too that Python holds back until its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


class _Clock:
    """How fast training goes, and when it was last spoken of."""

    def __init__(self) -> None:
        self.said = time.perf_counter()
        self.first: TrainProgress | None = None

    def is_time(self) -> bool:
        """Whether a plain line is due."""
        if due := time.perf_counter() - self.said >= LOG_SECONDS:
            self.said = time.perf_counter()
        return due

    def words(self, now: "TrainProgress") -> str:
        """Loss, perplexity and tokens a second."""
        self.first = self.first or now
        start = self.first if now.step > self.first.step else now._replace(words=0, seconds=0.0)
        rate = (now.words - start.words) / max(now.seconds - start.seconds, 1e-9)
        held_out = f", held-out perplexity {now.held_out:.1f}" if now.held_out else ""
        return f"step {now.step:,}, loss {now.loss:.3f}, perplexity {math.exp(min(now.loss, 700)):,.1f}{held_out}, {rate:,.0f} tokens/s"

    def left(self, now: "TrainProgress") -> str:
        """The time that is left, in words."""
        if now.share_done >= 1 or now.share_done == 0:
            return ""
        return f", {now.seconds / now.share_done * (1 - now.share_done) / 60:.1f} min left"


def count(number: int, noun: str) -> str:
    """A number and its noun: "1 token", "12,345 tokens"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size(n_bytes: float) -> str:
    """A number of bytes in words, decimal units."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "bytes" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def _so_far(progress: Committed, start: float) -> str:
    rate = progress.tokens / max(time.perf_counter() - start, 1e-9)
    return f"{count(progress.sentences, 'sentence')}, {rate:,.0f} tokens/s"


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout: drawn on a terminal, aligned text elsewhere. All columns but the first are numbers."""
    if sys.stdout.isatty():
        table = Table(box=SIMPLE_HEAD)
        for number, name in enumerate(header):
            table.add_column(Text(name), justify="right" if number else "left", no_wrap=number == 0)
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        Console().print(table)
        return
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        cells = [
            printable(cell).rjust(width) if i else printable(cell).ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")

"""Words for the user, on stderr: progress while a job runs, a closing line, warnings. All the rich code there is."""

import math
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from elmo_cli.errors import printable
from elmo_cli.models.cache import Cache, default_offline
from elmo_cli.types import Progress as Committed

if TYPE_CHECKING:
    from elmo_cli.training.loop import TrainProgress

LOG_SECONDS = 60.0  # between plain progress lines, where stderr is no terminal


class UserConsole:
    """Says things on stderr. `quiet` leaves warnings only."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self._console = Console(file=cast("IO[str]", _Stderr()), markup=False, highlight=False, soft_wrap=True, emoji=False)

    def info(self, words: str) -> None:
        """A line, unless quiet."""
        if not self.quiet:
            self._console.print(printable(words))

    def warning(self, words: str) -> None:
        """A line that is said even if quiet."""
        self._console.print(printable(f"Warning: {words}"))

    def status(self, what: str) -> AbstractContextManager[object]:
        """A sign of life while something is done that has no measure; nothing unless on a terminal."""
        return nullcontext() if self.quiet or not self._console.is_terminal else self._console.status(what)

    @contextmanager
    def cache(self, folder: Path | None, *, offline: bool) -> Iterator[Cache]:
        """The cache of models, whose downloads are shown: a bar on a terminal, a line now and then elsewhere."""
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        drawn = self._console.is_terminal and not self.quiet
        with Progress(*columns, console=self._console, transient=True, disable=not drawn) as bars:
            tasks: dict[str, TaskID] = {}
            said = time.perf_counter()

            def show(name: str, done: int, total: int | None) -> None:
                nonlocal said
                if name not in tasks:
                    tasks[name] = bars.add_task(printable(name), total=total)
                    self.info(f"fetching {name}" + (f", {size(total)}" if total else ""))
                bars.update(tasks[name], completed=done, total=total)
                if not drawn and time.perf_counter() - said >= LOG_SECONDS:
                    said = time.perf_counter()
                    self.info(f"{name}: {size(done)}" + (f" of {size(total)}" if total else ""))

            yield Cache(folder, offline or default_offline(), show, self.info)

    def track(self, job: Iterable[Committed], total_tokens: int | None) -> Committed:
        """Run a job to its end, showing how far it is; returns its last word."""
        if self.quiet:
            return _last(job)
        return self._draw(job, total_tokens) if self._console.is_terminal else self._log(job, total_tokens)

    def _draw(self, job: Iterable[Committed], total_tokens: int | None) -> Committed:
        columns = (SpinnerColumn(), BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
        last, start = Committed(0, 0), time.perf_counter()
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task("starting", total=total_tokens)
            for last in job:
                progress.update(task, completed=last.tokens, description=_so_far(last, start))
        return last

    def _log(self, job: Iterable[Committed], total_tokens: int | None) -> Committed:
        last, start = Committed(0, 0), time.perf_counter()
        said = start
        for last in job:
            if time.perf_counter() - said >= LOG_SECONDS:
                said = time.perf_counter()
                share = f"{100 * last.tokens / total_tokens:.1f} %: " if total_tokens else ""
                self.info(share + _so_far(last, start))
        return last

    def track_training(self, job: "Iterable[TrainProgress]") -> "TrainProgress | None":
        """Run a training job to its end, showing how well it does; returns its last word."""
        last, clock = None, _Clock()
        columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
        drawn = self._console.is_terminal and not self.quiet
        with Progress(*columns, console=self._console, transient=True, disable=not drawn) as progress:
            task = progress.add_task("starting", total=1.0)
            for last in job:
                words = clock.words(last)
                progress.update(task, completed=last.share_done, description=words)
                if last.held_out or (not drawn and clock.is_time()):
                    self.info(f"{100 * last.share_done:.1f} %: {words}{clock.left(last)}")
        return last


class _Stderr:
    """Standard error, whose reader may go away or never have been there: words are lost then, and the work goes on."""

    @property
    def encoding(self) -> str:
        """Of the stream as it is now."""
        return sys.stderr.encoding if sys.stderr else "utf-8"

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return sys.stderr is not None and sys.stderr.isatty()

    def write(self, words: str) -> int:
        """Write what can be written."""
        try:
            if sys.stderr:
                sys.stderr.write(words)
        except OSError:
            _forget_stderr()
        return len(words)

    def flush(self) -> None:
        """Send it off."""
        try:
            if sys.stderr:
                sys.stderr.flush()
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


def _last(job: Iterable[Committed]) -> Committed:
    last = Committed(0, 0)
    for progress in job:
        last = progress
    return last


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

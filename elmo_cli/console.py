"""Words for the user, on stderr: progress while a job runs, a closing line, warnings. All the rich code there is."""

import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

from elmo_cli.errors import printable
from elmo_cli.pipeline import Progress as Committed

LOG_SECONDS = 60.0  # between plain progress lines, where stderr is no terminal


class Words:
    """Says things on stderr. `quiet` leaves warnings only."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self._console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True, emoji=False)

    def say(self, words: str) -> None:
        """A line, unless quiet."""
        if not self.quiet:
            self._console.print(printable(words))

    def warn(self, words: str) -> None:
        """A line that is said even if quiet."""
        self._console.print(printable(f"Warning: {words}"))

    def busy(self, what: str) -> AbstractContextManager[object]:
        """A sign of life while something is done that has no measure; nothing unless on a terminal."""
        return nullcontext() if self.quiet or not self._console.is_terminal else self._console.status(what)

    def follow(self, job: Iterable[Committed], total_tokens: int | None) -> Committed:
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
                self.say(share + _so_far(last, start))
        return last


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

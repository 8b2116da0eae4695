"""Console messages on stderr: progress bars, summaries and warnings."""

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from rich.console import Console
from rich.live import Live

from elmo_cli.cli.progress_bar import Bar
from elmo_cli.cli.stderr import Stderr, behind_proxy
from elmo_cli.errors import printable
from elmo_cli.io.stdout import STDOUT
from elmo_cli.models.cache import Cache, default_offline
from elmo_cli.types import Progress as Committed

if TYPE_CHECKING:
    from elmo_cli.training.loop import TrainProgress

LOG_SECONDS = 60.0  # between plain progress lines, if no bar is drawn
DRAWINGS = 8  # per second


class UserConsole:
    """Messages on stderr.

    Args:
        quiet: Whether to write warnings only.
        output: Output of the command. No bar is drawn while data are written to a terminal.
    """

    def __init__(self, *, quiet: bool, output: Path | None = None) -> None:
        self.quiet = quiet
        self._bars = not quiet and not (output == STDOUT and sys.stdout and sys.stdout.isatty())
        # In a notebook rich would bypass stderr; plain lines are written there.
        self._console = Console(
            file=cast("IO[str]", Stderr(behind_proxy(sys.stderr))),
            force_jupyter=False,
            markup=False,
            highlight=False,
            soft_wrap=True,
            emoji=False,
        )

    @property
    def draws(self) -> bool:
        """Whether bars are drawn: on a capable terminal, irrespective of FORCE_COLOR."""
        return self._bars and self._console.is_interactive and self._console.file.isatty()

    def info(self, words: str) -> None:
        """Write a line, unless `quiet`."""
        if not self.quiet:
            self._console.print(printable(words))

    def warning(self, words: str) -> None:
        """Write a warning, even if `quiet`."""
        self._console.print(printable(f"Warning: {words}"))

    def status(self, what: str) -> AbstractContextManager[object]:
        """Show a bar without a percentage on a terminal."""
        return self._drawn(Bar(what))

    @contextmanager
    def _drawn(self, bar: Bar, *, at_once: bool = True) -> Iterator[Live]:
        """Draw a bar below all other messages, and remove it at the end.

        stdout is not redirected. Python's stderr goes through rich meanwhile, so that lines of
        other libraries appear above the bar.
        """
        live = Live(
            bar,
            console=self._console,
            transient=True,
            redirect_stdout=False,
            refresh_per_second=DRAWINGS,
        )
        try:
            if at_once and self.draws:
                live.start()  # drawn by its thread only: a signal during a drawing would repeat it
            yield live
        finally:
            live.stop()

    @contextmanager
    def cache(self, folder: Path | None, *, offline: bool) -> Iterator[Cache]:
        """Return the model cache; downloads are shown by a bar on a terminal, else by lines."""
        bar, started, plain = Bar(""), dict[str, tuple[float, int]](), _PlainLines()
        with self._drawn(bar, at_once=False) as live:

            def show(name: str, done: int, total: int | None) -> None:
                if name not in started:
                    started[name] = time.perf_counter(), done
                    self.info(f"fetching {name}" + (f", {size(total)}" if total else ""))
                since, before = started[name]
                so_far = f"{name}: {size(done)}" + (f" of {size(total)}" if total else "")
                rate = (done - before) / max(time.perf_counter() - since, 1e-9)
                bar.show(f"{so_far}, {size(rate)}/s", done / total if total else None)
                if self.draws:
                    live.start()  # no effect after the first call
                elif plain.is_due():
                    self.info(so_far)

            yield Cache(folder, offline or default_offline(), show, self.info)

    def track(
        self,
        job: Iterable[Committed],
        total_tokens: int | None,
        workers: Callable[[], str] = lambda: "",
    ) -> Committed:
        """Run a job, show its progress, and return the last progress.

        Args:
            job: The job.
            total_tokens: Tokens of the job; None if they are unknown.
            workers: Function that returns a text about the workers; empty without any.
        """
        bar, last, start = Bar("starting", workers=workers), Committed(0, 0), time.perf_counter()
        plain = _PlainLines()
        with self._drawn(bar):
            for last in job:
                share = last.tokens / total_tokens if total_tokens else None
                bar.show(words := _so_far(last, start), share)
                if not self.draws and plain.is_due():
                    percent = "" if share is None else f"{100 * share:.1f} %: "
                    self.info(percent + words + workers())
        return last

    def track_epochs(self, job: Iterable[float], epochs: int) -> None:
        """Run a training job that yields the number of epochs done, and show its progress."""
        bar, plain = Bar("starting", share=0.0), _PlainLines()
        with self._drawn(bar):
            for done in job:
                words, share = f"epoch {min(int(done) + 1, epochs):,} of {epochs:,}", done / epochs
                bar.show(words, share)
                if not self.draws and plain.is_due():
                    self.info(f"{100 * share:.1f} %: {words}")

    def track_training(
        self, job: "Iterable[TrainProgress]", beginning: str = "starting"
    ) -> "TrainProgress | None":
        """Run a training job, show its progress, and return the last progress.

        Args:
            job: The job.
            beginning: What it does before the first step.
        """
        bar, last = Bar(beginning, share=0.0), None
        clock, plain = _Clock(), _PlainLines()
        with self._drawn(bar):
            for last in job:
                words = clock.words(last)
                bar.show(words, last.share_done)
                if last.held_out or (not self.draws and plain.is_due()):
                    self.info(f"{100 * last.share_done:.1f} %: {words}{clock.left(last)}")
        return last


class _PlainLines:
    """Times of the lines that are written where no bar is drawn."""

    def __init__(self) -> None:
        self.last = time.perf_counter()

    def is_due(self) -> bool:
        """Return whether a line is due, which is then the last one."""
        if due := time.perf_counter() - self.last >= LOG_SECONDS:
            self.last = time.perf_counter()
        return due


class _Clock:
    """Rate of a training run."""

    def __init__(self) -> None:
        self.first: TrainProgress | None = None

    def words(self, now: "TrainProgress") -> str:
        """Return loss, perplexity and tokens per second as text."""
        self.first = self.first or now
        start = self.first if now.step > self.first.step else now._replace(words=0, seconds=0.0)
        rate = (now.words - start.words) / max(now.seconds - start.seconds, 1e-9)
        held_out = f", held-out perplexity {now.held_out:.1f}" if now.held_out else ""
        return (
            f"step {now.step:,}, loss {now.loss:.3f}, perplexity "
            f"{math.exp(min(now.loss, 700)):,.1f}{held_out}, {rate:,.0f} tokens/s"
        )

    def left(self, now: "TrainProgress") -> str:
        """Return the remaining time as text."""
        if now.share_done >= 1 or now.share_done == 0:
            return ""
        return f", {now.seconds / now.share_done * (1 - now.share_done) / 60:.1f} min left"


def count(number: int, noun: str) -> str:
    """Return a number with its noun: "1 token", "12,345 tokens"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size(n_bytes: float) -> str:
    """Return a number of bytes as text, in decimal units."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "bytes" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def _so_far(progress: Committed, start: float) -> str:
    rate = progress.tokens / max(time.perf_counter() - start, 1e-9)
    return f"{count(progress.sentences, 'sentence')}, {rate:,.0f} tokens/s"

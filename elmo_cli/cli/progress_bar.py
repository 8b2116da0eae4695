"""Progress line on a terminal: spinner, bar, percentage, text and remaining time."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.text import Text

from elmo_cli.errors import printable

BAR_WIDTHS = (8, 40)  # columns, at least and at most
NARROW = 30  # columns, below which a bar has no text


@dataclass
class Bar:
    """Progress line: spinner, bar, percentage, text and remaining time, as the width allows.

    Args:
        words: Text of the line.
        share: Completed share, between 0 and 1; None if the size of the job is unknown.
        workers: Function that returns the end of the text.
    """

    words: str
    share: float | None = None
    spinner: Spinner = field(default_factory=lambda: Spinner("line"))  # ASCII, for every encoding
    workers: Callable[[], str] = lambda: ""
    # Times and values of the first known share (a resumed run does not start at 0) and the last
    first: tuple[float, float] | None = None
    last: tuple[float, float] | None = None

    def show(self, words: str, share: float | None) -> None:
        """Change the text and share of the next drawing."""
        if share is not None:
            now = time.perf_counter(), share
            self.first = now if self.first is None or share < self.first[1] else self.first
            self.last = now if self.last is None or share != self.last[1] else self.last
        self.words, self.share = words, share

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # Without spinner, space, and the last column, after which some terminals wrap
        room = max(options.max_width - 3, 0)
        share = "" if self.share is None or room < NARROW // 2 else f" {100 * self.share:3.0f}%"
        text = f" {printable(self.words)}{self._left()}{self.workers()}"
        words = Text(text if room >= NARROW else "")
        width = max(
            min(room - len(share) - words.cell_len, BAR_WIDTHS[1]), min(BAR_WIDTHS[0], room)
        )
        words.truncate(max(room - len(share) - width, 0))
        yield Text(f"{self.spinner.render(console.get_time())} ", end="")
        if width:  # rich takes 0 as the full width
            yield ProgressBar(1.0, self.share or 0.0, width=width, pulse=self.share is None)
        yield Text.assemble(share, words, no_wrap=True, end="")

    def _left(self) -> str:
        """Return the remaining time as text: the estimate of the last change, counted down."""
        if self.share is None or not self.first or not self.last:
            return ""
        if not self.first[1] < self.last[1] < 1:
            return ""
        (began, first), (then, share) = self.first, self.last
        estimate = (then - began) * (1 - share) / (share - first)
        seconds = max(round(estimate - (time.perf_counter() - then)), 0)
        return f", {seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"

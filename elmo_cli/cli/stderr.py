"""Standard error that discards messages if it is closed or its reader ends."""

import os
from typing import TextIO, cast

HIDE_CURSOR = "\x1b[?25l"


def behind_proxy(stream: TextIO | None) -> TextIO | None:
    """Return the stream behind a proxy of rich, which would write to this console again."""
    return cast("TextIO | None", getattr(stream, "rich_proxied_file", stream))


class Stderr:
    """Standard error. If it is closed or its reader ends, messages are discarded.

    The stream is the original one: rich replaces it by a proxy, which writes to this class.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:
        """Encoding of the stream."""
        return self._stream.encoding if self._stream else "utf-8"

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._stream is not None and self._stream.isatty()

    def write(self, words: str) -> int:
        """Write, if possible, and never hide the cursor: a killed process could not restore it."""
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
    """Discard all further messages, including those in Python's buffer."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)

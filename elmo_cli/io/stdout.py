"""Standard output as an output target."""

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from elmo_cli.errors import OutputError, ReaderGone
from elmo_cli.io.remote import is_uri
from elmo_cli.io.remote_path import features_path

STDOUT = Path("-")


def output_path(given: str) -> Path:
    """Return the path that a user names: "-" is standard output, "./-" a file of that name."""
    if is_uri(given):
        return features_path(given)
    path = Path(given)
    return path.absolute() if path == STDOUT and given != str(STDOUT) else path


@dataclass(frozen=True)
class Stdout:
    """Standard output as a target: it has no size, and nothing that could be replaced."""

    path: Path = STDOUT
    overwrite: bool = False

    def check(self) -> None:
        """Check that standard output is open.

        Raises:
            OutputError: It is closed.
        """
        if sys.stdout is None:
            raise OutputError("standard output: is closed; name a file")

    def check_space(self, n_bytes: int, remedy: str = "") -> None:
        """Do nothing: standard output has no size limit."""

    def check_is_none_of(self, inputs: Iterable[Path]) -> None:
        """Do nothing: standard output is not a file."""

    def size(self) -> int:
        """Return 0: standard output stores nothing."""
        return 0


class Pipe:
    """Unbuffered standard output for a library to write to.

    Raises:
        ReaderGone: By `write`, when the other end has been closed.
    """

    closed = False

    def __init__(self) -> None:
        self._file: IO[bytes] = sys.stdout.buffer

    def write(self, data: Any) -> int:  # noqa: ANN401  # any buffer
        """Write all of `data` and return its size."""
        try:
            written = self._file.write(data)
            self._file.flush()
        except BrokenPipeError:
            # Otherwise Python would report its buffer at exit
            with suppress(OSError), Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), self._file.fileno())
            raise ReaderGone from None
        return written

    def flush(self) -> None:
        """Do nothing: every write is flushed."""

    def close(self) -> None:
        """Do nothing: standard output stays open."""

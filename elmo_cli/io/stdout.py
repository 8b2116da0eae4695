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
    """The path that a user names: "-" is standard output, and "./-" a file of that name."""
    if is_uri(given):
        return features_path(given)
    path = Path(given)
    return path.absolute() if path == STDOUT and given != str(STDOUT) else path


@dataclass(frozen=True)
class Stdout:
    """Standard output: what has been written is gone, so it is never half there in the sense of a file."""

    path: Path = STDOUT
    overwrite: bool = False

    def check(self) -> None:
        """Make sure that it is open.

        Raises:
            OutputError: It is not.
        """
        if sys.stdout is None:
            raise OutputError("standard output: is closed; name a file")

    def check_space(self, n_bytes: int, remedy: str = "") -> None:
        """There is always room."""

    def check_is_none_of(self, inputs: Iterable[Path]) -> None:
        """It is no file."""

    def size(self) -> int:
        """Nothing lies anywhere."""
        return 0


class Pipe:
    """Standard output for a library to write to: every write goes out at once.

    Raises:
        ReaderGone: By `write`, when the other end has been closed.
    """

    closed = False

    def __init__(self) -> None:
        self._file: IO[bytes] = sys.stdout.buffer

    def write(self, data: Any) -> int:  # noqa: ANN401  # any buffer
        """Write all of it."""
        try:
            written = self._file.write(data)
            self._file.flush()
        except BrokenPipeError:
            with suppress(OSError), Path(os.devnull).open("wb") as nowhere:  # or Python would complain at exit of what it holds
                os.dup2(nowhere.fileno(), self._file.fileno())
            raise ReaderGone from None
        return written

    def flush(self) -> None:
        """All has been written."""

    def close(self) -> None:
        """Standard output stays open."""

"""Reader of a feature file that several threads, forked processes and unpickled copies may use.

The objects of the libraries do not support this: an open HDF5 file cannot be pickled and shares
its position with a forked process, and readers of tables cache the last chunk. Here one thread
reads at a time; a process that did not open the file opens it itself.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from elmo_cli.errors import FeaturesError
from elmo_cli.features.formats.registry import FORMATS, load
from elmo_cli.features.protocols import Checks, Chunk, FeatureReader
from elmo_cli.features.spec import FeatureSpec
from elmo_cli.io.forks import Lock
from elmo_cli.types import Array, Sentence


class SharedReader:
    """Reader that opens a file by its format, and again in each process.

    Args:
        path: Path of the file, or of a folder of shards.
        layout: Name of the format, one of FORMATS.

    Raises:
        FeaturesError: The file cannot be read.
    """

    def __init__(self, path: Path, layout: str) -> None:
        self.path = path.absolute()
        self.layout = layout
        self._lock = Lock()
        self._open(path)
        self.description: FeatureSpec = self._reader.description

    def _open(self, path: Path) -> None:
        self._process, self._state = os.getpid(), _state(self.path)
        self._reader: FeatureReader = load(FORMATS[self.layout].reader)(path)

    @contextmanager
    def _reading(self) -> Iterator[FeatureReader]:
        with self._lock:
            if self._process != os.getpid():
                if _state(self.path) != self._state:
                    raise FeaturesError(
                        f"{self.path}: has been replaced since it was opened; open it again"
                    )
                self._reader.close()  # closes only the handle of this process
                self._open(self.path)
            yield self._reader

    def __reduce__(self) -> tuple[type["SharedReader"], tuple[Path, str]]:
        return SharedReader, (self.path, self.layout)

    def __len__(self) -> int:
        with self._reading() as reader:
            return len(reader)

    def keys(self) -> list[str]:
        """Return the name of each sentence."""
        with self._reading() as reader:
            return reader.keys()

    def sentence(self, index: int) -> Sentence:
        """Return a sentence."""
        with self._reading() as reader:
            return reader.sentence(index)

    def read(self, index: int, layers: Sequence[int] | None = None) -> Array:
        """Return the array of a sentence, with some of its layers or all."""
        with self._reading() as reader:
            return reader.read(index, layers)

    def token_counts(self) -> Iterable[int]:
        """Iterate over the number of tokens of each sentence."""
        with self._reading() as reader:
            counts = iter(reader.token_counts())
        while True:
            with self._lock:
                count = next(counts, None)
            if count is None:
                return
            yield count

    def windows(self, first: int = 0) -> Iterator[Chunk]:
        """Iterate over the sentences from `first` with their arrays, some at a time."""
        while True:
            with self._reading() as reader:
                process, windows = self._process, reader.windows(first)
            while process == os.getpid():  # otherwise a fork opens its own reader for the rest
                with self._reading():
                    window = next(windows, None)
                if window is None:
                    return
                first += len(window[0])
                yield window

    def checks(self) -> Checks:
        """Return the checksums of the file."""
        with self._reading() as reader:
            return reader.checks()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._reader.close()


def _state(path: Path) -> tuple[int, ...]:
    """Return the facts that change when a file is replaced."""
    found = path.stat() if path.exists() else None
    return (found.st_ino, found.st_size, found.st_mtime_ns) if found else ()

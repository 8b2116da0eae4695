"""What every layout offers when it is read back."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from errno import EACCES, EDQUOT, ENOMEM, ENOSPC, EPERM
from pathlib import Path
from typing import NamedTuple, Protocol

from elmo_cli.errors import FeaturesError, reason_of, refuse_limit
from elmo_cli.features.spec import FeatureSpec
from elmo_cli.io.remote_path import RemotePath
from elmo_cli.types import Array, Sentence


class FeatureWriter(Protocol):
    """An open output of features.

    A module of features/formats/ provides a context manager of one, by which the output appears
    when the block ends, and not if the block fails. `OSError` becomes a DiskError outside of it:

        @contextmanager
        def open_writer(output: OutputFile, spec: FeatureSpec, options: WriteOptions) -> Iterator[FeatureWriter]:
            with open_output(output) as file:
                writer = NpyWriter(file, spec)
                yield writer
                writer.finish()
    """

    @property
    def skipped_duplicates(self) -> int:
        """Number of sentences that were left out because another one has the same name."""

    def write(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        """Commit the features of a window: all of it or nothing."""


Chunk = tuple[list[Sentence], list[Array]]
READ_BYTES = 1 << 26  # of arrays, read together when a file is streamed


def _no_texts(index: int, sentence: Sentence) -> Iterable[str]:  # noqa: ARG001  # the signature of `told`
    return ()


class Checks(NamedTuple):
    """The checksums of a file. Those of its format are looked at whenever it is read, ours (see checksums.py) by who asks for them."""

    words: str
    expected: Sequence[tuple[int, int]] | None = None  # ours: pairs (sentences, checksum)
    told: Callable[[int, Sentence], Iterable[str]] = _no_texts  # the texts that they cover, of a sentence by its index


NO_CHECKS = Checks("none in this file")


def refusal(path: Path, error: BaseException) -> FeaturesError | None:
    """The error for a file that the system does not let this process read; None where the file itself is at fault."""
    refuse_limit(error, path)
    if isinstance(path, RemotePath) and isinstance(error, OSError):
        return FeaturesError(f"{path}: cannot be read ({reason_of(error)[:200]}); check the address, your credentials and the file")
    number = error.errno if isinstance(error, OSError) else None
    if number in (EACCES, EPERM):
        return FeaturesError(f"{path}: cannot be read (permission denied); check its permissions")
    if number in (ENOSPC, EDQUOT):  # for what is unpacked
        return FeaturesError(f"{path}: cannot be unpacked: the folder of temporary files is full; set TMPDIR to one with room")
    if isinstance(error, MemoryError) or number == ENOMEM:
        return FeaturesError(f"{path}: reading it takes more memory than this process may use; free some, or raise its limit")
    return None


class FeatureReader(Protocol):
    """An open file of features. Arrays are as `description` says; sentences stand in the order of the input."""

    layout: str
    description: FeatureSpec

    def __len__(self) -> int: ...

    def keys(self) -> list[str]:
        """What each sentence is called."""

    def sentence(self, index: int) -> Sentence:
        """A sentence; tokens that the file does not tell are empty strings, and the text then is empty."""

    def read(self, index: int, layers: Sequence[int] | None = None) -> Array:
        """A sentence's array, of some of its layers or all."""

    def token_counts(self) -> Iterable[int]:
        """How many tokens each sentence has, in order."""

    def windows(self, first: int = 0) -> Iterator[Chunk]:
        """All sentences from one on with their arrays, in order, some at a time."""

    def checks(self) -> Checks:
        """Its checksums, or NO_CHECKS."""

    def close(self) -> None:
        """Close the file."""


def guess_tokens(text: str, count: int | None, path: Path) -> list[str]:
    """The tokens of a line of which only the text and their number are known.

    Raises:
        FeaturesError: The text has not so many.
    """
    ways = (text.split(), text.split("\t"), text.split(" "))
    for tokens in ways:
        if count in (None, len(tokens)):
            return tokens
    raise FeaturesError(f"{path}: the sentence {text[:60]!r} has {len(ways[0])} tokens, and its array {count}; the file is damaged")

"""Protocols of the writers and readers of feature files."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from errno import EACCES, EDQUOT, ENOMEM, ENOSPC, EPERM
from pathlib import Path
from typing import NamedTuple, Protocol

from elmo_cli.errors import FeaturesError, reason_of, refuse_limit
from elmo_cli.features.spec import FeatureSpec
from elmo_cli.io.remote_path import RemotePath
from elmo_cli.types import Array, Sentence


class FeatureWriter(Protocol):
    """Writer of a feature file: an implementer writes `write` and `skipped_duplicates`.

    `write` appends the vectors of a window and must leave the output unchanged if it fails. The
    windows arrive in the order of the corpus. A writer that changes what it is given may also have
    `warnings`, a list of sentences for the user.

    A module of features/formats/ provides `open_writer`, a context manager that yields a writer:
    the output appears when the block ends, and does not appear if the block fails. The caller
    turns `OSError` into a DiskError. Example:

        @contextmanager
        def open_writer(output: OutputFile, spec: FeatureSpec, options: WriteOptions) ->
        Iterator[FeatureWriter]:
            with open_output(output) as file:
                writer = NpyWriter(file, spec)
                yield writer
                writer.finish()
    """

    @property
    def skipped_duplicates(self) -> int:
        """Number of sentences that were not written because another one has the same name."""

    def write(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        """Write the features of a window: all of them, or none if it fails.

        Args:
            window: The sentences, in the order of the corpus.
            arrays: The array of each sentence, with the axes of the FeatureSpec: (layer, token,
                dim), without the layer axis for a single layer, without the token axis if pooled.

        Raises:
            OutputError: The disk is full, or the format cannot contain a sentence.
        """


Chunk = tuple[list[Sentence], list[Array]]
READ_BYTES = 1 << 26  # of arrays that are read together when a file is streamed


def _no_texts(index: int, sentence: Sentence) -> Iterable[str]:  # noqa: ARG001  # the signature of `told`
    return ()


class Checks(NamedTuple):
    """Checksums of a file.

    Checksums of the file's format are compared whenever the file is read. Those of checksums.py are
    compared only by a caller that requests it.

    Attributes:
        words: Description of the checksums for the user.
        expected: Pairs (number of sentences, checksum) of checksums.py; None without any.
        told: Function that takes the index of a sentence and the sentence, and returns the texts
            that its checksum covers.
    """

    words: str
    expected: Sequence[tuple[int, int]] | None = None
    told: Callable[[int, Sentence], Iterable[str]] = _no_texts


NO_CHECKS = Checks("none in this file")


def refusal(path: Path, error: BaseException) -> FeaturesError | None:
    """Return the error for a file that the system does not let this process read.

    Args:
        path: Path of the file.
        error: Exception that the reading raised.

    Returns:
        The error to raise; None if the file itself is the cause.
    """
    refuse_limit(error, path)
    if isinstance(path, RemotePath) and isinstance(error, OSError):
        return FeaturesError(
            f"{path}: cannot be read ({reason_of(error)[:200]}); check the address, your "
            "credentials and the file"
        )
    number = error.errno if isinstance(error, OSError) else None
    if number in (EACCES, EPERM):
        return FeaturesError(f"{path}: cannot be read (permission denied); check its permissions")
    if number in (ENOSPC, EDQUOT):  # for what is unpacked
        return FeaturesError(
            f"{path}: cannot be unpacked: the folder of temporary files is full; set TMPDIR to one "
            "with free space"
        )
    if isinstance(error, MemoryError) or number == ENOMEM:
        return FeaturesError(
            f"{path}: reading it takes more memory than this process may use; free some, or raise "
            "its limit"
        )
    return None


class FeatureReader(Protocol):
    """Reader of a feature file: an implementer writes all of the methods below.

    Sentences are numbered from 0 in the order of the file, which is that of the input. Arrays have
    the axes and the dtype of `description`.

    Attributes:
        layout: Name of the format, one of FORMATS.
        description: Layers, dimension and dtype of the arrays, and the metadata.
    """

    layout: str
    description: FeatureSpec

    def __len__(self) -> int: ...

    def keys(self) -> list[str]:
        """Return the name of each sentence: its number in the input, its id or its text."""

    def sentence(self, index: int) -> Sentence:
        """Return a sentence.

        Tokens that the file does not contain are empty strings, and the text is then empty.
        """

    def read(self, index: int, layers: Sequence[int] | None = None) -> Array:
        """Return the array of a sentence, with some of its layers or all (None)."""

    def token_counts(self) -> Iterable[int]:
        """Iterate over the number of tokens of each sentence, in order; read no vectors."""

    def windows(self, first: int = 0) -> Iterator[Chunk]:
        """Iterate over the sentences from `first` with their arrays, in order, some at a time."""

    def checks(self) -> Checks:
        """Return the checksums of the file, or NO_CHECKS."""

    def close(self) -> None:
        """Close the file."""


def guess_tokens(text: str, count: int | None, path: Path) -> list[str]:
    """Return the tokens of a line of which only the text and the number of tokens are known.

    Args:
        text: The line.
        count: Number of tokens; None if it is not known.
        path: Path of the file, for the message.

    Returns:
        The tokens, separated at white space, at tabs or at single spaces.

    Raises:
        FeaturesError: The text does not have that number of tokens.
    """
    ways = (text.split(), text.split("\t"), text.split(" "))
    for tokens in ways:
        if count in (None, len(tokens)):
            return tokens
    raise FeaturesError(
        f"{path}: the sentence {text[:60]!r} has {len(ways[0])} tokens, and its array {count}; the "
        "file is damaged"
    )

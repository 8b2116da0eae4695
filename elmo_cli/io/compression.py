"""Decompression of input files, by their suffix."""

import bz2
import gzip
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO

from elmo_cli.errors import CorpusError
from elmo_cli.io.inputs import STDIN, InputFile
from elmo_cli.io.limits import ResourceLimitError, open_xz

BLOCK_BYTES = 1 << 20


def read_blocks(file: InputFile) -> Iterator[bytes]:
    """Iterate over the content of a file in blocks, decompressed by its suffix.

    Args:
        file: The file; `-` is standard input.

    Raises:
        CorpusError: The file is missing, unreadable or a directory, or its compressed data is
            damaged or truncated.
    """
    with failing_as_corpus_error(file), ExitStack() as opened:
        if file == STDIN:
            stream = _stdin()
        else:
            stream = opened.enter_context(file.open("rb"))
            if decompress := OPENERS.get(file.suffix.lower()):
                stream = opened.enter_context(decompress(stream))
        while block := stream.read(BLOCK_BYTES):
            yield block


@contextmanager
def failing_as_corpus_error(file: InputFile) -> Iterator[None]:
    """Convert errors of opening or reading a file into a CorpusError.

    Raises:
        CorpusError: The block failed to open or read the file.
    """
    try:
        yield
    except FileNotFoundError:
        raise CorpusError(f"{file}: no such file") from None
    except IsADirectoryError:
        raise CorpusError(f"{file}: is a directory; name a file of tokenized text") from None
    except PermissionError:
        raise CorpusError(f"{file}: permission denied; check its permissions") from None
    except ResourceLimitError as problem:
        raise CorpusError(f"{file}: {problem}") from None
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise CorpusError(
            f"{file}: cannot be read to its end ({error}); check that the file is complete"
        ) from None


def buffered_stdin() -> BinaryIO:
    """Return standard input as a buffered binary stream: `read` waits for all requested bytes.

    Raises:
        CorpusError: Standard input is closed.
    """
    return _stdin(buffering=-1)


def _stdin(buffering: int = 0) -> BinaryIO:
    """Return standard input, by default unbuffered.

    Reading then returns the bytes that a pipe or terminal has.

    Python's own object is not used: the interpreter crashes at exit if a thread still waits on it.
    """
    if sys.stdin is None:
        raise CorpusError("standard input: is closed; name a file")
    try:
        # By its number; the caller closes it
        return open(sys.stdin.fileno(), "rb", buffering, closefd=False)
    except (OSError, ValueError):  # a replacement of sys.stdin has no number
        return sys.stdin.buffer


def _open_zstd(stream: Any) -> Any:  # noqa: ANN401  # pyarrow is untyped
    import pyarrow  # imported here: only this suffix needs it

    return pyarrow.CompressedInputStream(stream, "zstd")


OPENERS: dict[str, Callable[[Any], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": open_xz,
    ".zst": _open_zstd,
}

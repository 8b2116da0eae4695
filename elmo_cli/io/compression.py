"""Compressed inputs, told by their suffix, read as the bytes they hold."""

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
    """The bytes of a file, or of standard input for `-`, a block at a time, decompressed where the suffix says so.

    Raises:
        CorpusError: The file is missing, unreadable, a directory, or compressed data that is damaged or ends early.
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
    """Say what is wrong with a file that cannot be opened or read."""
    try:
        yield
    except FileNotFoundError:
        raise CorpusError(f"{file}: no such file") from None
    except IsADirectoryError:
        raise CorpusError(f"{file}: is a directory; name a file of tokenized text") from None
    except PermissionError:
        raise CorpusError(f"{file}: may not be read; check its permissions") from None
    except ResourceLimitError as problem:
        raise CorpusError(f"{file}: {problem}") from None
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise CorpusError(f"{file}: cannot be read to its end ({error}); check that the file is whole") from None


def buffered_stdin() -> BinaryIO:
    """Standard input as bytes: reading waits for all that is asked for.

    Raises:
        CorpusError: It is closed.
    """
    return _stdin(buffering=-1)


def _stdin(buffering: int = 0) -> BinaryIO:
    """Unbuffered: what a pipe or a terminal has is taken as it comes. Not Python's own: it ends badly where a thread still waits there."""
    if sys.stdin is None:
        raise CorpusError("standard input: is closed; name a file")
    try:
        return open(sys.stdin.fileno(), "rb", buffering, closefd=False)  # a number; its reader holds it
    except (OSError, ValueError):  # what stands for it has none
        return sys.stdin.buffer


def _open_zstd(stream: Any) -> Any:  # noqa: ANN401  # pyarrow is untyped
    import pyarrow  # imported here: only this suffix needs it

    return pyarrow.CompressedInputStream(stream, "zstd")


OPENERS: dict[str, Callable[[Any], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": open_xz, ".zst": _open_zstd}

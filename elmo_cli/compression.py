"""Compressed inputs, told by their suffix, read as the bytes they hold."""

import bz2
import gzip
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from elmo_cli.errors import CorpusError

STDIN = Path("-")
BLOCK_BYTES = 1 << 20


def read_blocks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, or of standard input for `-`, a block at a time, decompressed where the suffix says so.

    Raises:
        CorpusError: The file is missing, unreadable, a directory, or compressed data that is damaged or ends early.
    """
    try:
        with _open_stdin() if path == STDIN else OPENERS.get(path.suffix.lower(), _open_plain)(path) as stream:
            while block := stream.read(BLOCK_BYTES):
                yield block
    except FileNotFoundError:
        raise CorpusError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise CorpusError(f"{path}: is a directory; name a file of tokenized text") from None
    except PermissionError:
        raise CorpusError(f"{path}: may not be read; check its permissions") from None
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise CorpusError(f"{path}: cannot be read to its end ({error}); check that the file is whole") from None


def _open_stdin() -> Any:  # noqa: ANN401  # a file or what stands for it
    if sys.stdin is None:
        raise CorpusError("standard input: is closed; name a file")
    return getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)  # unbuffered: what a pipe or a terminal has is taken as it comes


def _open_plain(path: Path) -> IO[bytes]:
    return path.open("rb")


def _open_zstd(path: Path) -> Any:  # noqa: ANN401  # pyarrow is untyped
    import pyarrow  # imported here: only this suffix needs it

    with path.open("rb"):  # Python's own errors for a file that is not there
        return pyarrow.CompressedInputStream(str(path), "zstd")


OPENERS: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": _open_zstd}

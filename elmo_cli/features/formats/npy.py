"""NumPy's .npy for pooled features: one array, (sentence, dim) or (sentence, layer, dim), a row a sentence in the order of the input.

The format has no place for anything else: tokens, ids and metadata are left out, and sentences are called by the number of their row.
"""

import io
import mmap
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import numpy.typing as npt

from elmo_cli.errors import FeaturesError, OutputError, refuse_limit
from elmo_cli.features.protocols import NO_CHECKS, Checks, Chunk
from elmo_cli.features.spec import LAYER, FeatureSpec, WriteOptions
from elmo_cli.io.output_file import OutputFile, open_output
from elmo_cli.io.partial_file import PartialFile
from elmo_cli.types import Array, Sentence

MAGIC = b"\x93NUMPY\x01\x00"
HEADER_BYTES = 128  # reserved: the number of rows is known at the end
MAX_HEADER = 1 << 17  # bytes that are read of a header: its length is a number of 16 bits
WINDOW_ROWS = 1 << 10
DAMAGE = (TokenError, OSError, ValueError, TypeError, SyntaxError, OverflowError)  # NumPy's words for a header that is none


@contextmanager
def open_writer(output: OutputFile, description: FeatureSpec, options: WriteOptions) -> Iterator["NpyWriter"]:  # noqa: ARG001  # every format's
    """Open a writer of a file.

    Raises:
        OutputError: The features are not pooled.
    """
    if not description.pooled:
        raise OutputError(f"{output.path}: a .npy file holds one vector a sentence; pass --pool mean, or write .npz --layout arrays")
    with open_output(output) as file:
        writer = NpyWriter(file, description)
        yield writer
        writer.finish()


class NpyWriter:
    """Writes the rows as they come, and the header at the end."""

    def __init__(self, file: PartialFile, description: FeatureSpec) -> None:
        self.description = description
        self.skipped_duplicates = 0
        self._rows = 0
        self._file = file
        file.write(bytes(HEADER_BYTES))

    def write(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        """Write a window's rows.

        Raises:
            OutputError: The disk is full or gone.
        """
        if arrays:
            self._file.write(np.stack(arrays).astype(self.description.dtype).data)
        self._rows += len(window)

    def finish(self) -> None:
        """Write the header."""
        self._file.seek(0)
        self._file.write(self._header())

    def _header(self) -> bytes:
        shape = (self._rows, *self.description.shape(0))
        text = repr({"descr": np.dtype(self.description.dtype).str, "fortran_order": False, "shape": shape})
        room = HEADER_BYTES - len(MAGIC) - 2
        return MAGIC + struct.pack("<H", room) + f"{text:<{room - 1}}\n".encode()


class NpyReader:
    """Reads such a file, mapped into memory, also that of another program."""

    layout = "npy"

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self._rows = parse_npy(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)), path.name)
        except DAMAGE as error:
            refuse_limit(error, path)
            raise FeaturesError(f"{path}: is no .npy of features, or damaged ({error})") from None
        shape = self._rows.shape
        if self._rows.dtype.kind != "f" or len(shape) not in (2, 3) or not all(shape[1:]):
            raise FeaturesError(
                f"{path}: holds {self._rows.dtype} of the shape {shape}; features are numbers of (sentence, dim) or (sentence, layer, dim)"
            )
        names = tuple(f"{LAYER}{layer}" for layer in range(shape[1])) if len(shape) == 3 else ("vectors",)
        self.description = FeatureSpec(names, shape[-1], self._rows.dtype.name, pooled=True)

    def __len__(self) -> int:
        return len(self._rows)

    def keys(self) -> list[str]:
        """The numbers of the rows."""
        return list(map(str, range(len(self))))

    def sentence(self, index: int) -> Sentence:
        """A sentence of which nothing is known."""
        return Sentence(str(index), [], "")

    def read(self, index: int, layers: Sequence[int] | None = None) -> Array:
        """A row."""
        row = self._rows[index]
        return np.array(row if layers is None else row[list(layers)])

    def token_counts(self) -> Iterable[int]:
        """None is known."""
        return (0 for _ in range(len(self)))

    def windows(self, first: int = 0) -> Iterator[Chunk]:
        """Some rows at a time."""
        for begin in range(first, len(self), WINDOW_ROWS):
            rows = np.array(self._rows[begin : begin + WINDOW_ROWS])
            yield [self.sentence(begin + i) for i in range(len(rows))], list(rows)

    def checks(self) -> Checks:
        """None."""
        return NO_CHECKS

    def close(self) -> None:
        """Let the file go."""
        self._rows = self._rows[:0].copy()


def parse_npy(data: memoryview, name: str) -> npt.NDArray[Any]:
    """Return the array in the bytes of a .npy file, which is not copied.

    Args:
        data: All bytes of the file.
        name: What messages call it.

    Raises:
        ValueError: The bytes are not those of an array, or an array of Python's objects; NumPy raises others of DAMAGE too.
    """
    header = io.BytesIO(data[:MAX_HEADER])
    if np.lib.format.read_magic(header) != (1, 0):
        raise ValueError(f"{name} is of another version of NumPy's format")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(header)
    if dtype.hasobject or header.tell() + dtype.itemsize * int(np.prod(shape, dtype=object)) != len(data):
        raise ValueError(f"{name} holds something else than its header says")
    array: npt.NDArray[Any] = np.ndarray(shape, dtype, data, header.tell(), order="F" if fortran else "C")
    return array

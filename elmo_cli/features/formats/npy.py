"""NumPy's .npy for pooled features: one array, (sentence, dim) or (sentence, layer, dim).

A row is a sentence, in the order of the input. The format has no place for tokens, ids and
metadata, which are left out; the name of a sentence is the number of its row.
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
MAX_HEADER = 1 << 17  # bytes that are read of a header, whose length is a number of 16 bits
WINDOW_ROWS = 1 << 10
# Raised by NumPy for a damaged header
DAMAGE = (TokenError, OSError, ValueError, TypeError, SyntaxError, OverflowError)


@contextmanager
def open_writer(
    output: OutputFile,
    description: FeatureSpec,
    options: WriteOptions,  # noqa: ARG001  # every format's
) -> Iterator["NpyWriter"]:
    """Open a writer of a file.

    Raises:
        OutputError: The features are not pooled.
    """
    if not description.pooled:
        raise OutputError(
            f"{output.path}: a .npy file contains one vector per sentence; pass --pool mean, or "
            "write .npz --layout arrays"
        )
    with open_output(output) as file:
        writer = NpyWriter(file, description)
        yield writer
        writer.finish()


class NpyWriter:
    """Writer of the rows, and of the header at the end."""

    def __init__(self, file: PartialFile, description: FeatureSpec) -> None:
        self.description = description
        self.skipped_duplicates = 0
        self._rows = 0
        self._file = file
        file.write(bytes(HEADER_BYTES))

    def write(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        """Write the rows of a window.

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
        text = repr(
            {"descr": np.dtype(self.description.dtype).str, "fortran_order": False, "shape": shape}
        )
        room = HEADER_BYTES - len(MAGIC) - 2
        return MAGIC + struct.pack("<H", room) + f"{text:<{room - 1}}\n".encode()


class NpyReader:
    """Reader of a file of any program, mapped into memory."""

    layout = "npy"

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self._rows = parse_npy(
                    memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)), path.name
                )
        except DAMAGE as error:
            refuse_limit(error, path)
            raise FeaturesError(
                f"{path}: is not a .npy of features, or is damaged ({error})"
            ) from None
        shape = self._rows.shape
        if self._rows.dtype.kind != "f" or len(shape) not in (2, 3) or not all(shape[1:]):
            raise FeaturesError(
                f"{path}: contains {self._rows.dtype} of the shape {shape}; features are floats, "
                "(sentence, dim) or (sentence, layer, dim)"
            )
        names = (
            tuple(f"{LAYER}{layer}" for layer in range(shape[1]))
            if len(shape) == 3
            else ("vectors",)
        )
        self.description = FeatureSpec(names, shape[-1], self._rows.dtype.name, pooled=True)

    def __len__(self) -> int:
        return len(self._rows)

    def keys(self) -> list[str]:
        """Return the numbers of the rows."""
        return list(map(str, range(len(self))))

    def sentence(self, index: int) -> Sentence:
        """Return a sentence without tokens, which the file does not contain."""
        return Sentence(str(index), [], "")

    def read(self, index: int, layers: Sequence[int] | None = None) -> Array:
        """Return a row."""
        row = self._rows[index]
        return np.array(row if layers is None else row[list(layers)])

    def token_counts(self) -> Iterable[int]:
        """Iterate over zeros: the number of tokens is not known."""
        return (0 for _ in range(len(self)))

    def windows(self, first: int = 0) -> Iterator[Chunk]:
        """Iterate over the sentences, WINDOW_ROWS rows at a time."""
        for begin in range(first, len(self), WINDOW_ROWS):
            rows = np.array(self._rows[begin : begin + WINDOW_ROWS])
            yield [self.sentence(begin + i) for i in range(len(rows))], list(rows)

    def checks(self) -> Checks:
        """Return NO_CHECKS."""
        return NO_CHECKS

    def close(self) -> None:
        """Release the file."""
        self._rows = self._rows[:0].copy()


def parse_npy(data: memoryview, name: str) -> npt.NDArray[Any]:
    """Return the array in the bytes of a .npy file, without a copy.

    `np.load` would copy the values, and allocate what a header declares before it compares sizes.

    Args:
        data: All bytes of the file.
        name: Its name in messages.

    Raises:
        ValueError: The bytes are not those of an array, or the array contains Python objects; NumPy
            may raise the others of DAMAGE too.
    """
    header = io.BytesIO(data[:MAX_HEADER])
    if np.lib.format.read_magic(header) != (1, 0):
        raise ValueError(f"{name} has another version of NumPy's format")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(header)
    if dtype.hasobject or header.tell() + dtype.itemsize * int(np.prod(shape, dtype=object)) != len(
        data
    ):
        raise ValueError(f"{name} does not match its header")
    array: npt.NDArray[Any] = np.ndarray(
        shape, dtype, data, header.tell(), order="F" if fortran else "C"
    )
    return array

"""Parts of a run: Arrow IPC files with the sentences and arrays of one window, and a checksum.

A part is read back bit for bit. A row of the first record batch is a sentence: its texts, the shape
and the values of its array, and the columns that are carried over. The second record batch has no
rows; its metadata contain the number of sentences, and the number and the CRC-32 of all bytes
before it. Nothing is parsed of the first batch unless they match.
"""

import io
import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from elmo_cli.io.crc32 import crc32
from elmo_cli.types import Array, Sentence

TEXTS = {
    "key": pa.string(),
    "tokens": pa.list_(pa.string()),
    "text": pa.string(),  # null if it is the tokens, joined by spaces
    "id": pa.string(),
    "document": pa.string(),
}
KEPT = "kept_"  # and its number: a column that is carried over
_STREAM = 8  # bytes before the stream of messages in an Arrow file

Part = tuple[list[Sentence], list[Array]]


def write_part(
    path: Path, window: Sequence[Sentence], arrays: Sequence[Array], kept: pa.Schema | None = None
) -> None:
    """Write a part.

    Args:
        path: Path of the file.
        window: The sentences. Their texts are valid Unicode without lone surrogates, as readers
            guarantee.
        arrays: The array of each, all of one dtype.
        kept: Schema of `Sentence.kept`; None to let Arrow infer the types.

    Raises:
        OSError: The disk is full or gone.
    """
    size = sum(array.nbytes for array in arrays)
    unused = pa.py_buffer(mmap.mmap(-1, max(1, size))).slice(0, size)
    columns = _text_columns(window) | _array_columns(arrays, unused) | _kept_columns(window, kept)
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    with path.open("wb") as file:
        part = _PartFile(file, unused, chain.from_iterable(map(_pieces, arrays)))
        with pa.ipc.new_file(part, batch.schema) as writer:
            writer.write_batch(batch)
            writer.write_batch(batch.slice(0, 0), part.facts(len(window)))


def read_part(path: Path) -> Part | None:
    """Return the window and its arrays as written; None if the file is truncated or damaged."""
    with pa.OSFile(os.fsencode(path)) as file:
        content = file.read_buffer()
    facts = _read_facts(pa.BufferReader(content))
    if facts is None or not 0 <= facts["bytes"] <= content.size:
        return None
    summed = content.slice(0, facts["bytes"])
    if crc32(summed) != facts["crc32"]:
        return None
    with pa.ipc.open_stream(summed.slice(_STREAM)) as stream:
        batch = stream.read_next_batch()
    return _sentences(batch), list(_arrays(batch))


def count_sentences(path: Path) -> int:
    """Return the number of sentences that a part records; 0 if it is truncated."""
    with pa.OSFile(os.fsencode(path)) as file:
        facts = _read_facts(file)
    return facts["sentences"] if facts else 0


class _PartFile(io.RawIOBase):
    """File that writes and sums what Arrow writes, and the arrays in the place of a placeholder.

    Arrow writes a column from one buffer. The arrays would have to be copied to one; they are
    written from where they are.

    Args:
        file: The file.
        placeholder: Buffer of the values in the record batch, which is never read.
        pieces: The values.
    """

    def __init__(
        self, file: BinaryIO, placeholder: pa.Buffer, pieces: Iterable[memoryview]
    ) -> None:
        super().__init__()
        self._file = file
        self._placeholder = placeholder.address, placeholder.size
        self._pieces = pieces
        self._size = self._crc32 = 0

    def write(self, data: Any) -> int:  # noqa: ANN401  # any buffer
        for piece in self._pieces if self._is_placeholder(data) else (data,):
            # First: the file then copies from the caches
            self._crc32 = crc32(piece, self._crc32)
            self._size += len(piece)
            self._file.write(piece)
        return len(data)

    def _is_placeholder(self, data: Any) -> bool:  # noqa: ANN401  # any buffer
        return isinstance(data, pa.Buffer) and (data.address, data.size) == self._placeholder

    def facts(self, n_sentences: int) -> dict[str, str]:
        """Return the metadata of the second record batch."""
        if any(map(len, self._pieces)):  # none is left, except empty ones
            raise RuntimeError("Arrow has not written the buffer that it was given")
        return {"sentences": str(n_sentences), "bytes": str(self._size), "crc32": str(self._crc32)}

    def tell(self) -> int:
        return self._size

    def writable(self) -> bool:
        return True


def _read_facts(file: pa.NativeFile) -> dict[str, int] | None:
    """Return the metadata of the second record batch; None if the file is damaged."""
    try:
        _, found = pa.ipc.open_file(file).get_batch_with_custom_metadata(1)
        return {name: int(found[name]) for name in ("sentences", "bytes", "crc32")}
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
        return None


def _text_columns(window: Sequence[Sentence]) -> dict[str, pa.Array]:
    rows = [
        (s.key, s.tokens, None if s.text == " ".join(s.tokens) else s.text, s.id, s.document)
        for s in window
    ]
    columns = zip(*rows, strict=True) if rows else [()] * len(TEXTS)
    kinds = zip(TEXTS.items(), columns, strict=True)
    return {name: pa.array(column, kind) for (name, kind), column in kinds}


def _kept_columns(window: Sequence[Sentence], schema: pa.Schema | None) -> dict[str, pa.Array]:
    columns = list(zip(*(sentence.kept for sentence in window), strict=True))
    types = schema.types if schema is not None and columns else [None] * len(columns)
    kinds = zip(columns, types, strict=True)
    return {f"{KEPT}{i}": pa.array(column, kind) for i, (column, kind) in enumerate(kinds)}


def _array_columns(arrays: Sequence[Array], placeholder: pa.Buffer) -> dict[str, pa.Array]:
    kind = pa.from_numpy_dtype(arrays[0].dtype if arrays else np.float32)
    offsets = list(accumulate((array.size for array in arrays), initial=0))
    values = pa.Array.from_buffers(kind, offsets[-1], [None, placeholder])
    return {
        "shape": pa.array([array.shape for array in arrays], pa.list_(pa.int64())),
        "values": pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values),
    }


def _pieces(array: Array) -> Iterator[memoryview]:
    """Iterate over the values of an array in order, as buffers of bytes.

    A slice of a batch is stored in several pieces, which are not copied.
    """
    if array.flags.c_contiguous:
        yield array.reshape(-1).view(np.uint8).data
    else:
        yield from chain.from_iterable(map(_pieces, array))


def _sentences(batch: pa.RecordBatch) -> list[Sentence]:
    texts = [batch[name].to_pylist() for name in TEXTS]
    columns = [batch[name].to_pylist() for name in batch.schema.names if name.startswith(KEPT)]
    kept = zip(*columns, strict=True) if columns else [()] * len(batch)
    return [
        Sentence(key, tokens, " ".join(tokens) if text is None else text, id_, values, document)
        for key, tokens, text, id_, document, values in zip(*texts, kept, strict=True)
    ]


def _arrays(batch: pa.RecordBatch) -> Iterator[Array]:
    values = batch["values"].values.to_numpy(zero_copy_only=True)
    ends = pairwise(batch["values"].offsets.to_pylist())
    for (first, last), shape in zip(ends, batch["shape"].to_pylist(), strict=True):
        yield values[first:last].reshape(shape)

"""Parts of a run: files with the sentences and arrays of one window and a checksum.

A part is read back bit for bit. Layout, little-endian: magic, number of sentences, lengths of the
three sections, the sections, CRC-32 of all bytes before it. The sections are JSON (sentences,
shapes, dtype), an Arrow stream of the columns that are carried over (empty without any), and the
arrays' raw values.
"""

import json
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from elmo_cli.types import Array, Sentence

MAGIC = b"ELMOPART"
_HEAD = struct.Struct("<8s4Q")  # magic, sentences, bytes of each section
_CHECKSUM = struct.Struct("<I")

Part = tuple[list[Sentence], list[Array]]


def write_part(
    path: Path, window: Sequence[Sentence], arrays: Sequence[Array], kept: pa.Schema | None = None
) -> None:
    """Write a part.

    Args:
        path: Path of the file.
        window: The sentences.
        arrays: The array of each.
        kept: Schema of `Sentence.kept`; None to let Arrow infer the types.

    Raises:
        OSError: The disk is full or gone.
    """
    facts = json.dumps(
        {
            "sentences": [
                [
                    s.key,
                    s.tokens,
                    None if s.text == " ".join(s.tokens) else s.text,
                    s.id,
                    s.document,
                ]
                for s in window
            ],
            "shapes": [array.shape for array in arrays],
            "dtype": arrays[0].dtype.str if arrays else "<f4",
        },
        separators=(",", ":"),
    ).encode()
    columns = _encode_columns(window, kept)
    head = _HEAD.pack(
        MAGIC, len(window), len(facts), len(columns), sum(array.nbytes for array in arrays)
    )
    checksum = 0
    with path.open("wb") as file:
        for piece in chain((head, facts, columns), chain.from_iterable(map(_pieces, arrays))):
            checksum = zlib.crc32(piece, checksum)
            file.write(piece)
        file.write(_CHECKSUM.pack(checksum))


def read_part(path: Path) -> Part | None:
    """Return the window and its arrays as written; None if the file is truncated or damaged."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if (lengths := _read_head(file.read(_HEAD.size), size)) is None:
            return None
        file.seek(0)
        content = bytearray(size)
        if file.readinto(content) != size:
            return None
    view = memoryview(content)
    if zlib.crc32(view[: -_CHECKSUM.size]) != _CHECKSUM.unpack(view[-_CHECKSUM.size :])[0]:
        return None
    _, n_facts, n_columns, _ = lengths
    facts = json.loads(bytes(view[_HEAD.size : _HEAD.size + n_facts]))
    columns = _decode_columns(
        view[_HEAD.size + n_facts : _HEAD.size + n_facts + n_columns], len(facts["sentences"])
    )
    values = np.frombuffer(
        view[_HEAD.size + n_facts + n_columns : -_CHECKSUM.size], dtype=facts["dtype"]
    )
    sentences = [
        Sentence(key, tokens, " ".join(tokens) if text is None else text, id_, kept, *document)
        for (key, tokens, text, id_, *document), kept in zip(
            facts["sentences"], columns, strict=True
        )
    ]
    return sentences, list(_cut(values, facts["shapes"]))


def count_sentences(path: Path) -> int:
    """Return the number of sentences in the head of a part; 0 if it is truncated."""
    with path.open("rb") as file:
        lengths = _read_head(file.read(_HEAD.size), os.fstat(file.fileno()).st_size)
    return lengths[0] if lengths else 0


def _read_head(head: bytes, size: int) -> tuple[int, int, int, int] | None:
    """Return the number of sentences and the sections' lengths, if they match the size."""
    if len(head) < _HEAD.size:
        return None
    magic, n_sentences, *lengths = _HEAD.unpack(head)
    if magic != MAGIC or _HEAD.size + sum(lengths) + _CHECKSUM.size != size:
        return None
    return n_sentences, *lengths


def _pieces(array: Array) -> Iterator[Any]:
    """Iterate over the values of an array in order, as buffers of bytes.

    A slice of a batch is stored in several pieces, which are not copied.
    """
    if array.flags.c_contiguous:
        yield array.reshape(-1).view(np.uint8)
    else:
        yield from chain.from_iterable(map(_pieces, array))


def _cut(values: Array, shapes: Sequence[Sequence[int]]) -> Iterator[Array]:
    begin = 0
    for shape in shapes:
        end = begin + int(np.prod(shape))
        yield values[begin:end].reshape(shape)
        begin = end


def _encode_columns(window: Sequence[Sentence], schema: pa.Schema | None) -> bytes:
    if not window or not window[0].kept:
        return b""
    columns = list(zip(*(sentence.kept for sentence in window), strict=True))
    types = schema.types if schema is not None else [None] * len(columns)
    batch = pa.record_batch(
        [pa.array(column, type=kind) for column, kind in zip(columns, types, strict=True)],
        names=[str(i) for i in range(len(columns))],
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return bytes(sink.getvalue())


def _decode_columns(content: memoryview, n_sentences: int) -> list[tuple[Any, ...]]:
    if not content:
        return [()] * n_sentences
    with pa.ipc.open_stream(content) as stream:
        table = stream.read_all()
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))

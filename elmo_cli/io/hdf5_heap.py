"""Streaming of a string of any length into an HDF5 file, in constant memory.

AllenNLP's layout stores all sentences of a corpus in one variable-length string. The HDF5 library
takes such a string as a whole and copies it twice, so memory would grow with the corpus. The file
format does not require that: a variable-length element is a length and the address of a "global
heap collection" (HDF5 File Format Specification 3.0, III.E, and II.A for superblock 0). Therefore
the string is streamed to the end of the closed file, between the headers of a collection, and three
numbers are set.
"""

import mmap
import os
import shutil
import struct
from pathlib import Path
from typing import IO

import h5py

MAX_BYTES = (1 << 32) - 1  # the element's length has 32 bits
_END_OF_FILE_FIELD = 40  # offset in superblock 0 of the end-of-file address
# signature, version, size of the collection with this header
_COLLECTION_HEADER = struct.Struct("<4sB3xQ")
_OBJECT_HEADER = struct.Struct("<HH4xQ")  # index, reference count, size
_ELEMENT = struct.Struct("<IQI")  # length, address of the collection, index in it
_MIN_COLLECTION = 4096
_BEGINNING = b"GCOL\1\0\0\0"
# At each end of a file, where strings that are written first or last are stored
SEARCHED_BYTES = 1 << 25


def append_string(path: Path, dataset: str, content: IO[bytes]) -> None:
    """Add a data set with one variable-length UTF-8 string, shape (1,), to an HDF5 file.

    A file that was not made with h5py's default `libver` gets the string through the library
    instead.

    Args:
        path: The file, which must be closed.
        dataset: Name of the new data set.
        content: Seekable file of UTF-8 without NUL, all of which is copied.
    """
    size = content.seek(0, os.SEEK_END)
    content.seek(0)
    element = _create_element(path, dataset)
    with path.open("r+b") as file:
        superblock = file.read(48)
        can_patch = superblock[8] == 0 and superblock[13:15] == b"\x08\x08" and element is not None
        if can_patch:
            file.seek(0, os.SEEK_END)
            address = file.seek(-file.tell() % 8, os.SEEK_END)
            _write_collection(file, content, size)
            end = file.tell()
            _patch(file, _END_OF_FILE_FIELD, struct.pack("<Q", end))
            _patch(file, element or 0, _ELEMENT.pack(size, address, 1))
    if not can_patch:
        with h5py.File(path, "r+") as through_library:
            through_library[dataset][0] = content.read()


def _create_element(path: Path, name: str) -> int | None:
    """Make the data set and return the file offset of its only element, which is empty."""
    with h5py.File(path, "r+") as file:
        early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        early.set_obj_track_times(False)  # the same job writes the same bytes
        text = h5py.h5t.py_create(h5py.string_dtype("utf-8"), logical=True)
        dataset = h5py.h5d.create(
            file.id, name.encode(), text, h5py.h5s.create_simple((1,)), dcpl=early
        )
        offset: int | None = dataset.get_offset()
        return offset


def _write_collection(file: IO[bytes], content: IO[bytes], size: int) -> None:
    padded = -(-size // 8) * 8
    used = _COLLECTION_HEADER.size + _OBJECT_HEADER.size + padded
    total = max(_MIN_COLLECTION, used + _OBJECT_HEADER.size)
    file.write(_COLLECTION_HEADER.pack(b"GCOL", 1, total))
    file.write(_OBJECT_HEADER.pack(1, 1, size))
    shutil.copyfileobj(content, file)
    file.write(bytes(padded - size))
    # Object 0: the free space, its own header included
    file.write(_OBJECT_HEADER.pack(0, 0, total - used))
    file.write(bytes(total - used - _OBJECT_HEADER.size))


def _patch(file: IO[bytes], offset: int, value: bytes) -> None:
    file.seek(offset)
    file.write(value)


def find_damage(path: Path) -> int | None:
    """Return the offset of a collection with an invalid object size.

    The HDF5 library would loop forever on it.

    Only the first and last SEARCHED_BYTES of a file are searched.

    Returns:
        The offset; None if there is no such collection.
    """
    size = path.stat().st_size
    if size < _MIN_COLLECTION:
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for start, end in {(0, min(size, SEARCHED_BYTES)), (max(0, size - SEARCHED_BYTES), size)}:
            place = content.find(_BEGINNING, start, end)
            while place >= 0:
                if not _has_sound_objects(content, place):
                    return place
                place = content.find(_BEGINNING, place + 1, end)
    return None


def _has_sound_objects(content: mmap.mmap, place: int) -> bool:
    _, _, size = _COLLECTION_HEADER.unpack(
        content[place : place + _COLLECTION_HEADER.size].ljust(_COLLECTION_HEADER.size, b"\0")
    )
    end, at = min(place + size, len(content)), place + _COLLECTION_HEADER.size
    while at + _OBJECT_HEADER.size <= end:
        index, _, length = _OBJECT_HEADER.unpack(content[at : at + _OBJECT_HEADER.size])
        # Object 0 is the free space, its header included
        step = _OBJECT_HEADER.size + -(-length // 8) * 8 if index else length
        if not _OBJECT_HEADER.size <= step <= place + size - at:
            return False
        at += step
    return True

"""Check of the global heap of an untrusted HDF5 file, which contains strings of variable length.

Strings are in "global heap collections" (HDF5 File Format Specification 3.0, III.E): a header, then
objects, each with its size.
"""

import mmap
import struct
from pathlib import Path

# Signature, version, size of the collection with this header
_COLLECTION_HEADER = struct.Struct("<4sB3xQ")
_OBJECT_HEADER = struct.Struct("<HH4xQ")  # index, reference count, size
_MIN_COLLECTION = 4096
_BEGINNING = b"GCOL\1\0\0\0"
# At each end of a file, where strings that are written first or last are stored
SEARCHED_BYTES = 1 << 25


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

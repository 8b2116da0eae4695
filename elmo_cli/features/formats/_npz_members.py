"""Members of an untrusted .npz file, mapped into memory.

`np.load` is not used: it ignores `mmap_mode` for an .npz and reads a complete array, of the size
that its header declares. Opening and reading a file of 294 MiB takes 2 MiB of memory here, and 293
MiB with `np.load` (Python 3.11, NumPy 2.4). Archives are read by `zipfile`, headers of arrays by
`numpy.lib.format` (`parse_npy`); only the offset of a member in the file is computed here, since
`zipfile` does not report it.
"""

import mmap
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from elmo_cli.errors import FeaturesError
from elmo_cli.features.formats.npy import parse_npy
from elmo_cli.io.hdf5 import MAX_COMPRESSION
from elmo_cli.io.limits import ResourceLimitError, load_json

COPY_BYTES = 1 << 20
LOCAL_HEADER = struct.Struct("<26x2H")  # of a member: lengths of its name and its extra field


def check_sizes(archive: zipfile.ZipFile, path: Path) -> None:
    """Check the sizes that an archive declares, and that its compressed members can be unpacked.

    Args:
        archive: The archive.
        path: Its path.

    Raises:
        ResourceLimitError: A member is compressed by LZMA.
        FeaturesError: A member declares more bytes than its stored ones can contain, or the folder
            of temporary files has too little space.
    """
    unpacked = 0
    for info in archive.infolist():
        if info.compress_type == zipfile.ZIP_LZMA:
            raise ResourceLimitError(
                "is compressed by LZMA, which may need any amount of memory to unpack"
            )
        if (
            info.file_size > MAX_COMPRESSION * info.compress_size + COPY_BYTES
            or info.compress_size > path.stat().st_size
        ):
            raise FeaturesError(
                f"{path}: {info.filename} declares {info.file_size:,} bytes of which "
                f"{info.compress_size:,} are stored"
            )
        unpacked += info.file_size if info.compress_type != zipfile.ZIP_STORED else 0
    try:
        fits = not unpacked or unpacked <= shutil.disk_usage(tempfile.gettempdir()).free
    except FileNotFoundError:  # no folder for temporary files is writable
        fits = False
    if not fits:
        raise FeaturesError(
            f"{path}: unpacks to {unpacked:,} bytes, more than the free space of the folder of "
            "temporary files; set TMPDIR"
        )


def map_member(
    archive: zipfile.ZipFile, path: Path, name: str, *, check: bool = True
) -> memoryview:
    """Return the bytes of a member, mapped from the file or, if compressed, from a temporary file.

    Args:
        archive: The archive.
        path: Its path.
        name: Name of the member.
        check: Whether to compare the checksum of a member that is not compressed, which reads it.
    """
    info = archive.getinfo(name)
    with archive.open(info) as member:
        if info.compress_type != zipfile.ZIP_STORED:
            return _unpack(member)
        while check and member.read(COPY_BYTES):
            pass
    with path.open("rb") as file:
        file.seek(info.header_offset)
        name_length, extra_length = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
        begin = info.header_offset + LOCAL_HEADER.size + name_length + extra_length
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))[
            begin : begin + info.file_size
        ]


def _unpack(member: IO[bytes]) -> memoryview:
    """Return the bytes of a compressed member, mapped from a temporary file."""
    with tempfile.TemporaryFile() as unpacked:
        shutil.copyfileobj(member, unpacked, COPY_BYTES)
        unpacked.flush()
        return memoryview(mmap.mmap(unpacked.fileno(), 0, access=mmap.ACCESS_READ))


def load_array(
    archive: zipfile.ZipFile, path: Path, name: str, *, check: bool = True
) -> npt.NDArray[Any]:
    """Return the array of a member, mapped; see `map_member` and `parse_npy`."""
    return parse_npy(map_member(archive, path, name, check=check), name)


def load_json_list(archive: zipfile.ZipFile, path: Path, name: str, n: int) -> Sequence[Any]:
    """Return a list that is stored as JSON.

    Args:
        archive: The archive.
        path: Its path.
        name: Name of the member.
        n: Expected number of elements. If the text has one line per element, elements are parsed
            when they are accessed, otherwise now.

    Raises:
        ResourceLimitError: Parsing it would take too much memory.
        ValueError: It is not JSON.
    """
    text = map_member(archive, path, name)
    bytes_ = np.frombuffer(text, dtype=np.uint8)
    lines = 1 + sum(
        np.count_nonzero(bytes_[at : at + COPY_BYTES] == ord("\n"))
        for at in range(0, len(text), COPY_BYTES)
    )
    if lines == n and bytes(text[:1]) + bytes(text[-1:]) == b"[]":
        return _Lines(bytes_)
    whole: list[Any] = load_json(text)
    return whole


class _Lines(Sequence[Any]):
    """List in JSON with one line per element, which is parsed on access."""

    def __init__(self, text: npt.NDArray[np.uint8]) -> None:
        self._text = text
        ends = [
            np.flatnonzero(text[at : at + COPY_BYTES] == ord("\n")) + at
            for at in range(0, len(text), COPY_BYTES)
        ]
        # Ends of the lines; the character before is a comma, in the last line a bracket
        self._ends = np.append(np.concatenate(ends), len(text))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401  # JSON
        begin = self._ends[index - 1] if index else 1
        return load_json(self._text[begin : self._ends[index] - 1].tobytes())

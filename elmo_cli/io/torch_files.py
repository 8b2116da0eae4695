"""Checks of untrusted PyTorch files: `torch.load` takes any memory that a file declares.

A file is a zip of a pickle, data.pkl, and one record for each tensor, none of them compressed;
before PyTorch 1.6 it is five pickles followed by the tensors.

`weights_only=True` alone is not enough (measured with torch 2.13): it lets a pickle call
`bytearray`, so that a file of 931 bytes takes 4.3 GiB, and it unpacks compressed records before
their size is known, so that 1 MB takes 1.2 GiB.
"""

import io
import pickletools
import re
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import IO

from elmo_cli.io.limits import ResourceLimitError, ZipSource

ZIP_START = b"PK\x03\x04"  # torch distinguishes the two formats by it too
# A magic number, a version, the machine, the tensors' names and shapes, the order of their values
N_PICKLES = 5
MAX_PICKLE = 1 << 21  # bytes; about 300 name a tensor, and five can allocate a thousand
# Functions that a pickle of named tensors calls; torch allows more, such as a bytearray of any size
NEEDED = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor(_v2)?|parameter)|torch\.nn\.parameter "
    r"Parameter"
    r"|torch (Float|Double|Half|BFloat16|Long|Int|Short|Char|Byte|Bool)Storage"
)


def check_file(path: Path) -> None:
    """Check that loading a file takes little more memory than the size of the file.

    Raises:
        ResourceLimitError: The file requires more memory than named tensors need.
        UnpicklingError: It contains something other than tensors.
        ValueError: It is damaged, or not a PyTorch file.
        BadZipFile: It is damaged.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(MAX_PICKLE)
    if start.startswith(ZIP_START):
        _check_zip(path)
        return
    pickles = io.BytesIO(start)
    for _ in range(N_PICKLES):
        _check_pickle(pickles)


def _check_zip(path: Path) -> None:
    with ZipSource(path) as source, zipfile.ZipFile(source) as archive:
        entries = archive.infolist()
        if any(
            entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size
            for entry in entries
        ):
            raise ResourceLimitError(
                "contains compressed tensors, which torch.save does not write; if you trust it, "
                "load it and save it again"
            )
        size, stored = sum(entry.file_size for entry in entries), path.stat().st_size
        if size > stored:
            raise ResourceLimitError(
                f"declares {size:,} bytes of which {stored:,} are stored; check that the file is "
                "complete"
            )
        for entry in entries:
            if entry.filename.lower().endswith("data.pkl"):  # torch ignores case
                if entry.file_size > MAX_PICKLE:
                    raise ResourceLimitError(
                        f"names its tensors in {entry.file_size:,} bytes, more than "
                        f"{MAX_PICKLE:,}; save fewer tensors"
                    )
                _check_pickle(io.BytesIO(archive.read(entry)))


def _check_pickle(pickled: IO[bytes]) -> None:
    for operation, argument, _ in pickletools.genops(pickled):
        if operation.name in ("GLOBAL", "STACK_GLOBAL", "INST") and not NEEDED.fullmatch(
            str(argument)
        ):
            raise UnpicklingError(f"calls {argument}")

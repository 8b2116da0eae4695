"""Size checks of untrusted HDF5 files: declared size against stored size."""

import math
from typing import TYPE_CHECKING

from elmo_cli.io.sizes import is_oversize

if TYPE_CHECKING:
    import h5py

MAX_COMPRESSION = 1100  # deflate reaches 1032 : 1
MAX_CHUNK = 1 << 26  # bytes of a chunk that is larger than its data set: a chunk is read completely


def find_unstored(dataset: "h5py.Dataset", file_size: int, *, whole: bool = True) -> str | None:
    """Return why the values of a data set are not stored in its HDF5 file, or None if they are.

    HDF5 can fill in values that are not stored, or take them from other files.

    Args:
        dataset: The data set.
        file_size: Size of the file in bytes.
        whole: Whether the data set is read completely, so that its declared size must be plausible
            for the stored size.
    """
    if dataset.is_virtual or dataset.external:
        return "takes its values from another file; copy them into this one"
    stored = dataset.id.get_storage_size()
    if stored > file_size or dataset.nbytes > stored * (MAX_COMPRESSION if dataset.chunks else 1):
        return (
            f"declares {dataset.nbytes:,} bytes of which {stored:,} are stored; check that the "
            "file is complete"
        )
    if whole and is_oversize(dataset.nbytes, stored):
        return (
            f"declares {dataset.nbytes:,} bytes, far more than the {stored:,} that are stored; "
            "write it again without compression"
        )
    chunk = math.prod(dataset.chunks or ()) * dataset.dtype.itemsize
    if chunk > max(dataset.nbytes, MAX_CHUNK):
        return (
            f"has chunks of {chunk:,} bytes, more than its {dataset.nbytes:,} bytes; copy it "
            "without chunks"
        )
    return None

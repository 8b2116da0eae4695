"""What a stranger's file declares, held against what it stores: no compression makes more of it."""

import math
from typing import TYPE_CHECKING

from elmo_cli.io.sizes import is_oversize

if TYPE_CHECKING:
    import h5py

MAX_COMPRESSION = 1100  # deflate reaches 1032 : 1
MAX_CHUNK = 1 << 26  # bytes of a chunk beyond what its data set holds: a chunk is read whole


def find_unstored(dataset: "h5py.Dataset", file_size: int, *, whole: bool = True) -> str | None:
    """Why the values of a data set are not in its HDF5 file, of so many bytes: HDF5 can have them made up, or taken from other files.

    One that is read `whole` may be no larger than what is stored gives reason for.
    """
    if dataset.is_virtual or dataset.external:
        return "takes its values from another file; copy them into this one"
    stored = dataset.id.get_storage_size()
    if stored > file_size or dataset.nbytes > stored * (MAX_COMPRESSION if dataset.chunks else 1):
        return f"declares {dataset.nbytes:,} bytes of which {stored:,} are stored; check that the file is whole"
    if whole and is_oversize(dataset.nbytes, stored):
        return f"declares {dataset.nbytes:,} bytes, far more than the {stored:,} that are stored; write it anew without compression"
    chunk = math.prod(dataset.chunks or ()) * dataset.dtype.itemsize
    if chunk > max(dataset.nbytes, MAX_CHUNK):
        return f"is cut into chunks of {chunk:,} bytes, more than the {dataset.nbytes:,} that it holds; copy it without chunks"
    return None

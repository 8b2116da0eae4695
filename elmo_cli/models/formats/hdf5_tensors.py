"""Tensors of an untrusted HDF5 file of weights: names, checks and values."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch
from torch import Tensor

from elmo_cli.errors import ModelError
from elmo_cli.io.hdf5 import find_unstored

ROWS_TRANSPOSED = 16  # rows at a time: their part of a column fills a cache line


class Layout(NamedTuple):
    """Conversion between a tensor of the file and a parameter of the network."""

    to_parameter: Callable[[Tensor], Tensor]
    to_file: Callable[[Tensor], Tensor]


SAME = Layout(lambda tensor: tensor, lambda parameter: parameter)
TRANSPOSED = Layout(lambda tensor: tensor.T.contiguous(), lambda parameter: parameter.T)


def own_tensors(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Return the data sets of a file by name; links to other files are not followed.

    Args:
        file: An open HDF5 file.

    Returns:
        Data sets by their complete names.
    """
    found: dict[str, h5py.Dataset] = {}
    file.visititems(
        lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None
    )
    return found


def check_tensor(
    tensors: Mapping[str, h5py.Dataset],
    name: str,
    expected: tuple[int, ...],
    weights: Path,
    required_by: str,
) -> None:
    """Check that a file stores a tensor of a given shape, without reading its values.

    Args:
        tensors: Data sets of the file by name.
        name: Name of the tensor.
        expected: Required shape.
        weights: Path of the file, for messages.
        required_by: Source of the required shape, for messages.

    Raises:
        ModelError: The tensor is missing, has another shape or type, or is not stored completely.
    """
    if name not in tensors:
        raise ModelError(
            f"{weights}: lacks the tensor {name} of shape {expected} that {required_by} requires"
        )
    tensor = tensors[name]
    if tensor.shape != expected:
        raise ModelError(
            f"{weights}: {name} has shape {tensor.shape}, but {required_by} requires {expected}"
        )
    if tensor.dtype.kind != "f":
        raise ModelError(f"{weights}: {name} has type {tensor.dtype}, not a floating-point type")
    problem = find_unstored(tensor, weights.stat().st_size)
    if problem:
        raise ModelError(f"{weights}: {name} {problem}")


def read_tensor(tensor: h5py.Dataset, layout: Layout = SAME) -> Tensor:
    """Read a data set that `check_tensor` has accepted.

    Args:
        tensor: The data set.
        layout: Conversion to the layout of the network.

    Returns:
        The values, float32.

    Raises:
        ModelError: Some values are NaN or infinite.
    """
    values = (
        _read_transposed(tensor)
        if layout is TRANSPOSED and tensor.chunks is None
        else layout.to_parameter(_read_rows(tensor))
    )
    lowest, highest = torch.aminmax(values)  # both are NaN if any value is
    if not torch.isfinite(lowest + highest):
        raise ModelError(
            f"{tensor.file.filename}: {tensor.name.lstrip('/')} has values that are NaN or "
            "infinite; use another file of weights"
        )
    return values


def _read_rows(tensor: h5py.Dataset, rows: slice = slice(None)) -> Tensor:
    values = np.empty((len(range(*rows.indices(len(tensor)))), *tensor.shape[1:]), dtype=np.float32)
    tensor.read_direct(values, rows)
    return torch.from_numpy(values)


def _read_transposed(tensor: h5py.Dataset) -> Tensor:
    """Read a matrix and transpose it in blocks: without a second copy, at nearly the same speed."""
    n_rows, n_columns = tensor.shape
    values = torch.empty(n_columns, n_rows)
    for start in range(0, n_rows, ROWS_TRANSPOSED):
        rows = slice(start, start + ROWS_TRANSPOSED)
        values[:, rows] = _read_rows(tensor, rows).T
    return values

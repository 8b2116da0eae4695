"""The elementwise half of an LSTM step, in place: by the compiled `_cell` where the package was built with a compiler, else in torch.

The compiled step is one pass over the gates where torch makes a dozen; `step_in_torch` is its oracle. No gradients.
"""

import math

import torch
from torch import Tensor

try:
    from elmo_cli import _cell  # not there where there was no compiler
except ImportError:
    _cell = None

COMPILED = _cell is not None
_TYPES = {torch.float32: False, torch.bfloat16: True}  # of the gates that the compiled step reads


def step(products: Tensor, inputs: Tensor | None, rows: Tensor | None, cell: Tensor, clip: float | None, output: Tensor) -> None:
    """One step: the next cell state into `cell`, and what the projection reads, o * tanh(cell), into `output`.

    Args:
        products: What the gates get from the step before, (row, 4 * cell), gates in the order i, j, f, o; may be overwritten.
        inputs: What they get from the step's inputs, (any, 4 * cell), float32, bias included; None if `products` hold it.
        rows: Which row of `inputs` each row takes, (row,) int64; None: the same.
        cell: (row, cell) float32.
        clip: Limit of the cell state.
        output: (row, cell), of the type of `products`.
    """
    if _cell is None or products.dtype not in _TYPES or not all(_is_plain(x) for x in (products, cell, output)):
        step_in_torch(products, inputs, rows, cell, clip, output)
        return
    addresses = [0 if x is None else x.data_ptr() for x in (inputs, rows)]
    limit = math.inf if clip is None else clip
    _cell.step(_TYPES[products.dtype], products.data_ptr(), *addresses, *cell.shape, limit, cell.data_ptr(), output.data_ptr())


def step_in_torch(products: Tensor, inputs: Tensor | None, rows: Tensor | None, cell: Tensor, clip: float | None, output: Tensor) -> None:
    """As `step`, an operation after another."""
    gates = products.to(cell.dtype)
    if inputs is not None:
        gates = gates.add_(inputs[: len(gates)] if rows is None else inputs[rows])
    i, j, f, o = gates.chunk(4, dim=-1)
    cell.mul_(f.sigmoid_()).addcmul_(i.sigmoid_(), j.tanh_())
    if clip is not None:
        cell.clamp_(-clip, clip)
    torch.mul(torch.tanh(cell, out=i), o.sigmoid_(), out=i)  # i is spent: its place serves again
    output.copy_(i)


def _is_plain(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.is_contiguous()

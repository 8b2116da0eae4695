"""The elementwise half of an LSTM step, in place, in one pass over the gates where torch makes a dozen.

On a CPU by the compiled `_cell`, where the package was built with a compiler; on a CUDA GPU by a Triton kernel, where there is Triton; else
in torch: `step_in_torch` is the oracle of both. No gradients.
"""

import math
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor


def _load_compiled() -> Any:  # noqa: ANN401  # a module that mypy does not know
    try:
        return import_module("elmo_cli._cell")
    except ImportError:  # there was no compiler
        return None


_cell = _load_compiled()
COMPILED = _cell is not None
_CPU_TYPES = {torch.float32: False, torch.bfloat16: True}  # of the gates that the compiled step reads
_GPU_TYPES = (torch.float32, torch.bfloat16, torch.float16)
Step = Callable[[Tensor, Tensor | None, Tensor | None, Tensor, float | None, Tensor], None]


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
    parts = [part for part in (products, inputs, rows, cell, output) if part is not None]
    on_gpu = products.is_cuda
    run: Step = step_in_torch
    if all(part.is_contiguous() for part in parts) and products.dtype in (_GPU_TYPES if on_gpu else _CPU_TYPES):
        run = (_triton_step() if on_gpu else _compiled_step()) or step_in_torch
    run(products, inputs, rows, cell, clip, output)


def _compiled_step() -> Step | None:
    return None if _cell is None else _step_compiled


def _step_compiled(products: Tensor, inputs: Tensor | None, rows: Tensor | None, cell: Tensor, clip: float | None, output: Tensor) -> None:
    addresses = [0 if x is None else x.data_ptr() for x in (inputs, rows)]
    limit = math.inf if clip is None else clip
    _cell.step(_CPU_TYPES[products.dtype], products.data_ptr(), *addresses, *cell.shape, limit, cell.data_ptr(), output.data_ptr())


@cache
def _triton_step() -> Step | None:
    try:
        from elmo_cli.cell_triton import step as step_on_gpu
    except ImportError:
        return None
    return step_on_gpu


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

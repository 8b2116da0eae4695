"""Elementwise half of an LSTM step, in place, in one pass over the gates instead of a dozen.

Implementations: the compiled `_lstm_step` on a CPU, if the package was built with a compiler; a
Triton kernel on a CUDA GPU, if Triton is installed; otherwise `step_in_torch`, the reference of
both. Gradients are not supported.
"""

import math
from collections.abc import Callable
from functools import cache
from importlib import import_module
from subprocess import SubprocessError
from typing import Any

import torch
from torch import Tensor

from elmo_cli.nn.lstm import step_in_torch


def _load_compiled() -> Any:  # noqa: ANN401  # a module that mypy does not know
    try:
        compiled = import_module("elmo_cli.nn.kernels._lstm_step")
    except ImportError:  # built without a compiler
        return None
    return compiled if hasattr(compiled, "step_from") else None  # in a checkout it may be outdated


_cell = _load_compiled()
COMPILED = _cell is not None
# Of the gates that the compiled step reads
_CPU_TYPES = {torch.float32: False, torch.bfloat16: True}
_GPU_TYPES = (torch.float32, torch.bfloat16, torch.float16)
Step = Callable[
    [
        Tensor,
        Tensor | None,
        Tensor | None,
        Tensor,
        float | None,
        Tensor,
        Tensor | None,
        Tensor | None,
    ],
    None,
]


def lstm_step(
    products: Tensor,
    inputs: Tensor | None,
    rows: Tensor | None,
    cell: Tensor,
    clip: float | None,
    output: Tensor,
    before: Tensor | None = None,
    parents: Tensor | None = None,
) -> None:
    """Compute one step: write the next cell state to `cell`, and o * tanh(cell) to `output`.

    Args:
        products: Recurrent part of the gates, (row, 4 * cell), in the order i, j, f, o; may be
            overwritten.
        inputs: Input part of the gates, (any, 4 * cell) float32, bias included; None if included in
            `products`.
        rows: Index of the row of `inputs` for each row, (row,) int64; None: the same row.
        cell: Cell states, (row, cell) float32.
        clip: Limit of the cell state.
        output: (row, cell), in the dtype of `products`.
        before: Cell states before the step, (any, cell) float32, not overlapping `cell`; None:
            `cell` contains them.
        parents: Index of the row of `before` for each row, (row,) int64; given with `before`.
    """
    run: Step = step_in_torch
    if _is_as_told(products, inputs, rows, cell, output) and _are_cells(before, parents, cell):
        run = (
            _triton_step(products.device) if products.is_cuda else _compiled_step()
        ) or step_in_torch
    run(products, inputs, rows, cell, clip, output, before, parents)


def _is_as_told(
    products: Tensor, inputs: Tensor | None, rows: Tensor | None, cell: Tensor, output: Tensor
) -> bool:
    """Return whether shapes, types and layout are those that the compiled steps require."""
    n_rows, dim = cell.shape
    types = _GPU_TYPES if products.is_cuda else tuple(_CPU_TYPES)
    return (
        products.dtype in types
        and products.dtype == output.dtype
        and cell.dtype == torch.float32
        and products.shape == (n_rows, 4 * dim)
        and output.shape == cell.shape
        and (
            inputs is None
            or (
                inputs.dtype == torch.float32
                and inputs.shape[1] == 4 * dim
                and inputs.is_contiguous()
            )
        )
        and (
            rows is None
            or (rows.dtype == torch.int64 and len(rows) == n_rows and rows.is_contiguous())
        )
        and (inputs is None or rows is not None or len(inputs) >= n_rows)
        and all(part.is_contiguous() for part in (products, cell, output))
    )


def _are_cells(before: Tensor | None, parents: Tensor | None, cell: Tensor) -> bool:
    """Return whether `before` and `parents` are valid for the compiled steps, or both None."""
    if before is None or parents is None:
        return before is parents
    fits = (
        before.dtype == torch.float32
        and before.shape[1] == cell.shape[1]
        and before.is_contiguous()
    )
    return (
        fits
        and parents.dtype == torch.int64
        and len(parents) == len(cell)
        and parents.is_contiguous()
    )


def _compiled_step() -> Step | None:
    return None if _cell is None else _step_compiled


def _step_compiled(
    products: Tensor,
    inputs: Tensor | None,
    rows: Tensor | None,
    cell: Tensor,
    clip: float | None,
    output: Tensor,
    before: Tensor | None,
    parents: Tensor | None,
) -> None:
    inputs_at, rows_at, before_at, parents_at = (
        0 if x is None else x.data_ptr() for x in (inputs, rows, before, parents)
    )
    limit = math.inf if clip is None else clip
    places = before_at, parents_at, cell.data_ptr(), output.data_ptr()
    _cell.step_from(
        _CPU_TYPES[products.dtype],
        products.data_ptr(),
        inputs_at,
        rows_at,
        *cell.shape,
        limit,
        *places,
    )


@cache
def _triton_step(device: torch.device) -> Step | None:
    """Return the Triton kernel, if it runs on this device with correct results.

    Triton needs a C compiler at run time, and a sufficiently recent GPU.
    """
    products, cell = torch.ones(1, 4, device=device), torch.zeros(1, 1, device=device)
    outputs = torch.empty_like(cell), torch.empty_like(cell)
    try:
        from elmo_cli.nn.kernels.lstm_step_triton import step as step_on_gpu

        step_on_gpu(products, None, None, cell.clone(), None, outputs[0])
    # KeyError: its cache folder, for a user without a name
    except (ImportError, OSError, RuntimeError, KeyError, SubprocessError):
        return None
    step_in_torch(products, None, None, cell, None, outputs[1])
    return step_on_gpu if torch.allclose(*outputs, atol=1e-6) else None

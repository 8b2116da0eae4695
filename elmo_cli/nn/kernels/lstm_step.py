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

from elmo_cli.nn.lstm import StepTensors, step_in_torch


def _load_compiled() -> Any:  # noqa: ANN401  # a module that mypy does not know
    try:
        compiled = import_module("elmo_cli.nn.kernels._lstm_step")
    except ImportError:  # built without a compiler
        return None
    return compiled if hasattr(compiled, "step_from") else None  # in a checkout it may be outdated


_cell = _load_compiled()
COMPILED = _cell is not None
# Dtypes of the gates that the compiled step reads, and whether they are bfloat16
_CPU_TYPES = {torch.float32: False, torch.bfloat16: True}
_GPU_TYPES = (torch.float32, torch.bfloat16, torch.float16)
ComputeStep = Callable[[StepTensors], None]


def lstm_step(step: StepTensors) -> None:
    """Compute the elementwise half of a step by the fastest implementation for its tensors.

    Args:
        step: The tensors. The compiled steps take `inputs`, `cell` and `before` in float32.
    """
    compute: ComputeStep = step_in_torch
    if _fits(step) and _fits_states(step):
        compute = (
            _triton_step(step.products.device) if step.products.is_cuda else _compiled_step()
        ) or step_in_torch
    compute(step)


def _fits(step: StepTensors) -> bool:
    """Return whether shapes, types and layout are those that the compiled steps require."""
    products, cell, _, output, inputs, rows, *_ = step
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


def _fits_states(step: StepTensors) -> bool:
    """Return whether `before` and `parents` are valid for the compiled steps, or both None."""
    before, parents, cell = step.before, step.parents, step.cell
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


def _compiled_step() -> ComputeStep | None:
    return None if _cell is None else _step_compiled


def _step_compiled(step: StepTensors) -> None:
    products, cell, clip, output, *optional = step
    inputs_at, rows_at, before_at, parents_at = (0 if x is None else x.data_ptr() for x in optional)
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
def _triton_step(device: torch.device) -> ComputeStep | None:
    """Return the Triton kernel, if it runs on this device with correct results.

    Triton needs a C compiler at run time, and a sufficiently recent GPU.
    """
    products, cell = torch.ones(1, 4, device=device), torch.zeros(1, 1, device=device)
    outputs = torch.empty_like(cell), torch.empty_like(cell)
    try:
        from elmo_cli.nn.kernels.lstm_step_triton import step as step_on_gpu

        step_on_gpu(StepTensors(products, cell.clone(), None, outputs[0]))
    # KeyError: its cache folder, for a user without a name
    except (ImportError, OSError, RuntimeError, KeyError, SubprocessError):
        return None
    step_in_torch(StepTensors(products, cell, None, outputs[1]))
    return step_on_gpu if torch.allclose(*outputs, atol=1e-6) else None

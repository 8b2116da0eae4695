"""Triton kernel of the elementwise half of an LSTM step, for CUDA GPUs with Triton installed."""

import math
from contextlib import nullcontext

import torch
import triton
import triton.language as tl

from elmo_cli.nn.lstm import StepTensors

BLOCK = 1024  # cells of one row that a program computes


def step(tensors: StepTensors) -> None:
    """Compute the elementwise half of a step; the tensors are contiguous, on one device."""
    products, cell, clip, output, inputs, rows, before, parents = tensors
    n_rows, dim = cell.shape
    # An argument that is not given is replaced by another tensor, which is not read
    given, chosen = products if inputs is None else inputs, products if rows is None else rows
    states, places = cell if before is None else before, products if parents is None else parents
    # Triton launches on the current device
    with torch.cuda.device(products.device) if products.is_cuda else nullcontext():
        _step[(n_rows, triton.cdiv(dim, BLOCK))](
            products,
            given,
            chosen,
            states,
            places,
            cell,
            output,
            dim,
            math.inf if clip is None else clip,
            HAS_INPUTS=inputs is not None,
            HAS_ROWS=rows is not None,
            HAS_PARENTS=parents is not None,
            BLOCK=BLOCK,
        )


@triton.jit  # type: ignore[untyped-decorator]
def _step(  # type: ignore[no-untyped-def]  # noqa: ANN202  # Triton's language
    products,  # noqa: ANN001
    inputs,  # noqa: ANN001
    rows,  # noqa: ANN001
    before,  # noqa: ANN001
    parents,  # noqa: ANN001
    cells,  # noqa: ANN001
    outputs,  # noqa: ANN001
    dim,  # noqa: ANN001
    clip,  # noqa: ANN001
    HAS_INPUTS: tl.constexpr,  # noqa: N803
    HAS_ROWS: tl.constexpr,  # noqa: N803
    HAS_PARENTS: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
):
    row = tl.program_id(0).to(tl.int64)
    k = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = k < dim
    z = products + row * 4 * dim + k
    i = tl.load(z, mask=mask, other=0.0).to(tl.float32)
    j = tl.load(z + dim, mask=mask, other=0.0).to(tl.float32)
    f = tl.load(z + 2 * dim, mask=mask, other=0.0).to(tl.float32)
    o = tl.load(z + 3 * dim, mask=mask, other=0.0).to(tl.float32)
    if HAS_INPUTS:
        source = tl.load(rows + row) if HAS_ROWS else row
        x = inputs + source * 4 * dim + k
        i += tl.load(x, mask=mask, other=0.0)
        j += tl.load(x + dim, mask=mask, other=0.0)
        f += tl.load(x + 2 * dim, mask=mask, other=0.0)
        o += tl.load(x + 3 * dim, mask=mask, other=0.0)
    place = row * dim + k
    origin = tl.load(parents + row) * dim + k if HAS_PARENTS else place
    c = tl.sigmoid(f) * tl.load(before + origin, mask=mask, other=0.0) + tl.sigmoid(i) * _tanh(j)
    c = tl.minimum(tl.maximum(c, -clip), clip)
    tl.store(cells + place, c, mask=mask)
    tl.store(outputs + place, (tl.sigmoid(o) * _tanh(c)).to(outputs.dtype.element_ty), mask=mask)


@triton.jit
def _tanh(x):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202  # Triton's language
    return 2 * tl.sigmoid(2 * x) - 1

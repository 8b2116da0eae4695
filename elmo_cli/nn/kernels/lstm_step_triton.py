"""The elementwise half of an LSTM step as one Triton kernel, for CUDA GPUs. Imported only where Triton is there."""

import math
from contextlib import nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024  # cells of one row that a program computes


def step(products: Tensor, inputs: Tensor | None, rows: Tensor | None, cell: Tensor, clip: float | None, output: Tensor) -> None:
    """As `elmo_cli.nn.kernels.lstm_step.lstm_step`, for contiguous tensors on one device."""
    n_rows, dim = cell.shape
    given, chosen = products if inputs is None else inputs, products if rows is None else rows  # what is not there is not read
    with torch.cuda.device(products.device) if products.is_cuda else nullcontext():  # Triton launches on the current one
        _step[(n_rows, triton.cdiv(dim, BLOCK))](
            products,
            given,
            chosen,
            cell,
            output,
            dim,
            math.inf if clip is None else clip,
            HAS_INPUTS=inputs is not None,
            HAS_ROWS=rows is not None,
            BLOCK=BLOCK,
        )


@triton.jit  # type: ignore[untyped-decorator]
def _step(products, inputs, rows, cells, outputs, dim, clip, HAS_INPUTS: tl.constexpr, HAS_ROWS: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, N803  # Triton's language
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
    c = tl.sigmoid(f) * tl.load(cells + place, mask=mask, other=0.0) + tl.sigmoid(i) * _tanh(j)
    c = tl.minimum(tl.maximum(c, -clip), clip)
    tl.store(cells + place, c, mask=mask)
    tl.store(outputs + place, (tl.sigmoid(o) * _tanh(c)).to(outputs.dtype.element_ty), mask=mask)


@triton.jit
def _tanh(x):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202  # Triton's language
    return 2 * tl.sigmoid(2 * x) - 1

"""Elementwise part of an LSTM step and its gradient, in place.

An allocation or a pass over memory takes as long as the arithmetic. All gates are sigmoids: the
pre-activation of the candidate is doubled, since tanh(j) = 2 sigmoid(2 j) - 1, and torch's tanh
takes as long as ten sigmoids on a CPU. Cell states are (row, cell) in the type of the weights;
gates may be in a smaller type.
"""

import torch
from torch import Tensor


def step_forward(z: Tensor, before: Tensor, cell: Tensor, output: Tensor, clip: float) -> None:
    """Compute the gates and the cell state of a step.

    Args:
        z: Pre-activations, (row, 4 * cell); replaced by the gates.
        before: Cell state before the step, (row, cell).
        cell: Receives the cell state after the step, (row, cell).
        output: Receives o * tanh(cell), (row, cell).
        clip: Limit of the absolute values of the cell.
    """
    gates = z.to(before.dtype).sigmoid_()
    z.copy_(gates)
    i, j, f, o = gates.chunk(4, -1)
    torch.mul(f, before, out=cell).addcmul_(i, j, value=2).sub_(i).clamp_(-clip, clip)
    output.copy_(_tanh(cell).mul_(o))


def step_backward(
    d_output: Tensor,
    d_cell: Tensor,
    gates: Tensor,
    before: Tensor,
    cell: Tensor,
    d_z: Tensor,
    clip: float,
) -> None:
    """Compute the gradients of a step.

    Args:
        d_output: Gradient of the output, (row, cell).
        d_cell: Gradient of the cell state after the step, (row, cell); replaced by that of the
            state before it.
        gates: Gates of the step, (row, 4 * cell).
        before: Cell state before the step, (row, cell).
        cell: Cell state after the step, (row, cell).
        d_z: Receives the gradient of the pre-activations, (row, 4 * cell).
        clip: Limit of the absolute values of the cell.
    """
    upstream, gates = d_output.to(cell.dtype), gates.to(cell.dtype)
    i, j, f, o = gates.chunk(4, -1)
    d_gates = torch.empty_like(gates)
    d_i, d_j, d_f, d_o = d_gates.chunk(4, -1)
    tanh_cell = _tanh(cell)
    torch.mul(upstream, tanh_cell, out=d_o)
    d_cell += torch.ops.aten.tanh_backward(upstream * o, tanh_cell)
    # Zero where the cell was clipped
    d_cell.copy_(torch.ops.aten.hardtanh_backward(d_cell, cell, -clip, clip))
    torch.mul(d_cell, i, out=d_j).mul_(2)
    torch.mul(d_cell, j, out=d_i).mul_(2).sub_(d_cell)
    torch.mul(d_cell, before, out=d_f)
    d_cell *= f
    d_z.copy_(torch.ops.aten.sigmoid_backward(d_gates, gates))


def _tanh(x: Tensor) -> Tensor:
    return (2 * x).sigmoid_().mul_(2).sub_(1)

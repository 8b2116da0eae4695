"""LSTM over packed sequences with an explicit gradient.

One product yields the weights' gradient of all steps.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from elmo_cli.nn.lstm import LstmCellWithProjection, LstmState


class Clips(NamedTuple):
    """Limits of the cell and of the projection."""

    cell: float
    projection: float


def run_with_gradient(
    lstm: LstmCellWithProjection, inputs: Tensor, batch_sizes: Sequence[int], state: LstmState
) -> tuple[Tensor, LstmState]:
    """Run the cell with a gradient: arguments and results are those of `run_by_definition`.

    The states have no gradient.
    """
    if not batch_sizes:
        return inputs.new_empty(0, state.hidden.shape[1]), state
    clips = Clips(
        *(math.inf if clip is None else clip for clip in (lstm.cell_clip, lstm.projection_clip))
    )
    outputs, *end = _Layer.apply(
        inputs, *state, lstm.weight, lstm.bias, lstm.projection, batch_sizes, clips
    )  # type: ignore[no-untyped-call]
    return outputs, LstmState(*end)


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, hidden: Tensor, cell: Tensor,
        weight: Tensor, bias: Tensor, projection: Tensor | None,
        batch_sizes: Sequence[int], clips: Clips,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        hidden, cell = hidden.clone(), cell.clone()
        from_input, from_hidden = weight[:, : inputs.shape[1]], weight[:, inputs.shape[1] :]
        gates = torch.addmm(bias, inputs, from_input.T)
        before = LstmState(
            inputs.new_empty(len(inputs), hidden.shape[1]),
            inputs.new_empty(len(inputs), cell.shape[1]),
        )
        outputs, cells, raw = (
            torch.empty_like(part) for part in (before.hidden, before.cell, before.cell)
        )
        start = 0
        for active in batch_sizes:
            now = slice(start, start + active)
            before.hidden[now], before.cell[now] = hidden[:active], cell[:active]
            i, j, f, o = gates[now].addmm_(hidden[:active], from_hidden.T).chunk(4, dim=-1)
            f.sigmoid_(), i.sigmoid_(), j.tanh_(), o.sigmoid_()
            torch.mul(f, cell[:active], out=cells[now]).addcmul_(i, j).clamp_(
                -clips.cell, clips.cell
            )
            torch.mul(o, torch.tanh(cells[now]), out=raw[now])
            output = (
                raw[now]
                if projection is None
                else (raw[now] @ projection.T).clamp_(-clips.projection, clips.projection)
            )
            outputs[now] = hidden[:active] = output
            cell[:active] = cells[now]
            start += active
        ctx.save_for_backward(inputs, weight, projection, gates, *before, outputs, cells, raw)
        ctx.batch_sizes, ctx.clips = batch_sizes, clips
        ctx.mark_non_differentiable(hidden, cell)
        return outputs, hidden, cell

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight, projection, _, hidden_before, *_, raw = ctx.saved_tensors
        d_gates, d_projected = _unrolled_gradient(ctx, d_outputs)
        d_weight = torch.cat([d_gates.T @ inputs, d_gates.T @ hidden_before], dim=1)
        d_projection = None if projection is None else d_projected.T @ raw
        return (
            d_gates @ weight[:, : inputs.shape[1]],
            None,
            None,
            d_weight,
            d_gates.sum(dim=0),
            d_projection,
            None,
            None,
        )


def _unrolled_gradient(ctx: Any, d_outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return gradients of pre-activations and unclipped projections, from the last step."""
    inputs, weight, projection, gates, hidden_before, cell_before, outputs, cells, _ = (
        ctx.saved_tensors
    )
    from_hidden, clips, most = weight[:, inputs.shape[1] :], ctx.clips, ctx.batch_sizes[0]
    d_gates, d_projected = torch.empty_like(gates), torch.empty_like(d_outputs)
    d_hidden, d_cell = (
        hidden_before.new_zeros(most, hidden_before.shape[1]),
        cell_before.new_zeros(most, cell_before.shape[1]),
    )
    end = len(inputs)
    for active in reversed(ctx.batch_sizes):
        now = slice(end - active, end)
        i, j, f, o = gates[now].chunk(4, dim=-1)
        d_output = d_hidden[:active] + d_outputs[now]
        if projection is not None:
            d_projected[now] = torch.ops.aten.hardtanh_backward(
                d_output, outputs[now], -clips.projection, clips.projection
            )
            d_output = d_projected[now] @ projection
        tanh_cell = torch.tanh(cells[now])
        d_new = d_cell[:active] + torch.ops.aten.tanh_backward(d_output * o, tanh_cell)
        # Zero where the cell was clipped
        d_new = torch.ops.aten.hardtanh_backward(d_new, cells[now], -clips.cell, clips.cell)
        d_i, d_j, d_f, d_o = d_gates[now].chunk(4, dim=-1)
        d_i.copy_(torch.ops.aten.sigmoid_backward(d_new * j, i))
        d_j.copy_(torch.ops.aten.tanh_backward(d_new * i, j))
        d_f.copy_(torch.ops.aten.sigmoid_backward(d_new * cell_before[now], f))
        d_o.copy_(torch.ops.aten.sigmoid_backward(d_output * tanh_cell, o))
        d_cell[:active] = d_new * f
        d_hidden[:active] = d_gates[now] @ from_hidden
        end -= active
    return d_gates, d_projected

"""Projected, clipped LSTM layer over a window of running text, with an explicit gradient.

A step is two small matrix products and one elementwise pass; everything that does not depend on the
previous step (input products, weight gradients) is one large product. Axes are (step, row, dim).
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from elmo_cli.nn.lstm import LstmCellWithProjection, LstmState
from elmo_cli.training.lstm_step import step_backward, step_forward

FORGET_ALL = -1e4  # a pre-activation whose sigmoid is 0 in every floating-point type


class Clips(NamedTuple):
    """Limits of the cell and of the projection."""

    cell: float
    projection: float


def train_layer(
    lstm: LstmCellWithProjection,
    inputs: Tensor,
    state: LstmState,
    reset: Tensor | None,
    dtype: torch.dtype,
) -> tuple[Tensor, LstmState]:
    """Run a layer over a window; the states have no gradient.

    Products, gates and outputs are in `dtype`; cell states and weight gradients keep the type of
    the weights.

    Args:
        lstm: The cell.
        inputs: (step, row, input)
        state: State before the window.
        reset: Whether the state is set to zero before a step, (step, row) bool; None: never.
        dtype: Type of the products.

    Returns:
        Outputs, (step, row, output), and the state after the window.
    """
    if lstm.projection is None:
        return run_window_by_definition(lstm, inputs.to(lstm.weight.dtype), state, reset)
    clips = Clips(lstm.cell_clip or math.inf, lstm.projection_clip or math.inf)
    outputs, hidden, cell = _Layer.apply(
        inputs, *state, lstm.weight, lstm.bias, lstm.projection, reset, clips, dtype
    )  # type: ignore[no-untyped-call]
    return outputs, LstmState(hidden, cell)


def run_window_by_definition(
    lstm: LstmCellWithProjection, inputs: Tensor, state: LstmState, reset: Tensor | None
) -> tuple[Tensor, LstmState]:
    """Run a layer as `train_layer` does, step by step under autograd.

    It serves as the reference of the tests, and for layers without a projection.

    Args:
        lstm: The cell.
        inputs: (step, row, input)
        state: State before the window.
        reset: Whether the state is set to zero before a step, (step, row) bool; None: never.

    Returns:
        Outputs, (step, row, output), and the state after the window.
    """
    outputs = []
    for step, rows in enumerate(inputs):
        if reset is not None:
            state = LstmState(*(part.masked_fill(reset[step, :, None], 0) for part in state))
        state = lstm(rows, state)
        outputs.append(state.hidden)
    return torch.stack(outputs), LstmState(state.hidden.detach(), state.cell.detach())


def _double_candidate(weights: Tensor) -> Tensor:
    """Double the rows of j in place: the cell computes tanh(j) as 2 sigmoid(2 j) - 1."""
    weights.chunk(4)[1].mul_(2)
    return weights


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, hidden: Tensor, cell: Tensor,
        weight: Tensor, bias: Tensor, projection: Tensor,
        reset: Tensor | None, clips: Clips, dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        (steps, rows, size), (width, out) = inputs.shape, projection.T.shape
        x, w_projection = inputs.to(dtype), projection.to(dtype).T.contiguous()
        w = _double_candidate(weight.clone()).to(dtype).T.contiguous()  # (input + output, 4 * cell)
        gates = torch.addmm(
            _double_candidate(bias.clone()).to(dtype), x.reshape(-1, size), w[:size]
        ).view(steps, rows, 4 * width)
        if reset is not None:
            gates[..., 2 * width : 3 * width].masked_fill_(reset[..., None], FORGET_ALL)
        outputs = x.new_empty(steps + 1, rows, out)
        raw = x.new_empty(steps, rows, width)
        cells = cell.new_empty(steps + 1, rows, width)
        outputs[0], cells[0] = hidden, cell
        for t in range(steps):
            gates[t].addmm_(_reset_hidden(outputs[t], reset, t), w[size:])
            step_forward(gates[t], cells[t], cells[t + 1], raw[t], clips.cell)
            torch.clamp(
                raw[t] @ w_projection, -clips.projection, clips.projection, out=outputs[t + 1]
            )
        ctx.saved = x, outputs, raw, gates, cells, w, w_projection, reset
        ctx.clips = clips
        last = outputs[-1].to(hidden.dtype), cells[-1].clone()
        ctx.mark_non_differentiable(*last)
        return outputs[1:], *last

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, outputs, raw, _, cells, w, _, reset = ctx.saved
        d_z, d_projected = _unrolled_gradient(ctx, d_outputs.to(x.dtype))
        flat = d_z.flatten(0, 1)
        d_inputs = (flat @ w[: x.shape[-1]].T).view_as(x)
        hidden = outputs[:-1] if reset is None else outputs[:-1].masked_fill(reset[..., None], 0)
        d_weight = torch.cat([flat.T @ part.flatten(0, 1) for part in (x, hidden)], -1).to(
            cells.dtype
        )
        # sum() in bfloat16 takes ten times as long
        d_bias = (flat.new_ones(1, len(flat)) @ flat)[0].to(cells.dtype)
        d_projection = (d_projected.flatten(0, 1).T @ raw.flatten(0, 1)).to(cells.dtype)
        return (
            d_inputs,
            None,
            None,
            _double_candidate(d_weight),
            _double_candidate(d_bias),
            d_projection,
            None,
            None,
            None,
        )


def _unrolled_gradient(ctx: Any, d_outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return gradients of pre-activations and unclipped projections, from the last step."""
    x, outputs, _, gates, cells, w, w_projection, reset = ctx.saved
    w_state, w_back, clips = w[x.shape[-1] :].T, w_projection.T, ctx.clips
    d_z, d_projected = torch.empty_like(gates), torch.empty_like(d_outputs)
    d_hidden, d_cell = torch.zeros_like(outputs[0]), torch.zeros_like(cells[0])
    for t in reversed(range(len(x))):
        d_hidden += d_outputs[t]
        d_projected[t] = torch.ops.aten.hardtanh_backward(
            d_hidden, outputs[t + 1], -clips.projection, clips.projection
        )
        step_backward(
            d_projected[t] @ w_back, d_cell, gates[t], cells[t], cells[t + 1], d_z[t], clips.cell
        )
        d_hidden = _reset_hidden(d_z[t] @ w_state, reset, t)
    return d_z, d_projected


def _reset_hidden(hidden: Tensor, reset: Tensor | None, step: int) -> Tensor:
    """Return the hidden state that enters a step: zero in rows that are reset."""
    return hidden if reset is None else hidden.masked_fill(reset[step, :, None], 0)

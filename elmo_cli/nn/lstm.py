"""Projected, clipped LSTM of Peters et al. (2018): its cell, and two runs over packed sequences.

Packed sequences have no padding. The rows of step t are the sequences of more than t tokens,
longest first: a step computes these rows only, and shorter sequences keep their final state. All
runs have the signature `RunLstm`; `run_by_definition` is the reference of the tests.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

BLOCK_ROWS = 1024  # rows per input product: large products, with bounded memory


class LstmState(NamedTuple):
    """State of one layer and direction between two steps."""

    hidden: Tensor  # (sequence, output)
    cell: Tensor  # (sequence, cell)


class LstmCellWithProjection(nn.Module):
    """LSTM cell: gates, clipped cell, clipped projection.

    `weight` (4 * cell, input + output) and `bias` (4 * cell,) contain the gates in the file's order
    i, j (candidate), f, o, with TensorFlow's forget bias of 1 added to `bias`; `projection` is
    (output, cell).

    Args:
        input_size: Dimension of the input.
        cell_size: Dimension of the cell.
        output_size: Dimension of the output.
        projected: Whether there is a projection; without, output and cell have the same dimension.
        cell_clip: Limit of the absolute values of the cell; None: no limit.
        projection_clip: Limit of the absolute values of the projection; None: no limit.
    """

    def __init__(
        self,
        input_size: int,
        cell_size: int,
        output_size: int,
        *,
        projected: bool,
        cell_clip: float | None,
        projection_clip: float | None,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.cell_clip = cell_clip
        self.projection_clip = projection_clip
        self.weight = nn.Parameter(torch.empty(4 * cell_size, input_size + output_size))
        self.bias = nn.Parameter(torch.empty(4 * cell_size))
        self.projection = nn.Parameter(torch.empty(output_size, cell_size)) if projected else None

    def forward(self, inputs: Tensor, state: LstmState) -> LstmState:
        """Compute one step.

        Args:
            inputs: (sequence, input).
            state: State before the step.

        Returns:
            State after the step; its `hidden` is the output.
        """
        gates = functional.linear(torch.cat([inputs, state.hidden], dim=-1), self.weight, self.bias)
        i, j, f, o = gates.chunk(4, dim=-1)
        cell = _clip(
            torch.sigmoid(f) * state.cell + torch.sigmoid(i) * torch.tanh(j), self.cell_clip
        )
        hidden = torch.sigmoid(o) * torch.tanh(cell)
        if self.projection is not None:
            hidden = _clip(functional.linear(hidden, self.projection), self.projection_clip)
        return LstmState(hidden, cell)


RunLstm = Callable[
    [LstmCellWithProjection, Tensor, Sequence[int], LstmState], tuple[Tensor, LstmState]
]


def run_by_definition(
    lstm: LstmCellWithProjection, inputs: Tensor, batch_sizes: Sequence[int], state: LstmState
) -> tuple[Tensor, LstmState]:
    """Run the cell step by step over packed sequences.

    Args:
        lstm: The cell.
        inputs: (row, input), rows in packed order.
        batch_sizes: Number of active sequences of each step.
        state: States before the first step, longest sequence first.

    Returns:
        Outputs, (row, output) in packed order, and the final state of each sequence.
    """
    if not batch_sizes:
        return inputs.new_empty(0, state.hidden.shape[1]), state
    outputs = []
    for rows in torch.split(inputs, list(batch_sizes)):
        active = len(rows)
        step = lstm(rows, LstmState(state.hidden[:active], state.cell[:active]))
        outputs.append(step.hidden)
        state = LstmState(
            torch.cat([step.hidden, state.hidden[active:]]),
            torch.cat([step.cell, state.cell[active:]]),
        )
    return torch.cat(outputs), state


def run_packed(
    lstm: LstmCellWithProjection, inputs: Tensor, batch_sizes: Sequence[int], state: LstmState
) -> tuple[Tensor, LstmState]:
    """Run the cell for inference: arguments and results are those of `run_by_definition`.

    Inputs are projected in blocks of steps; other operations are in place.
    """
    hidden, cell = state.hidden.clone(), state.cell.clone()
    outputs = inputs.new_empty(len(inputs), hidden.shape[1])
    # Weights (out, in), as stored: with few rows, sums are more accurate than with (in, out)
    from_input, from_hidden = torch.split(lstm.weight, [lstm.input_size, hidden.shape[1]], dim=1)
    start = 0
    for block in _blocks(batch_sizes, BLOCK_ROWS):
        block_gates = torch.addmm(lstm.bias, inputs[start : start + sum(block)], from_input.T)
        for gates in torch.split(block_gates, block):
            active = len(gates)
            gates.addmm_(hidden[:active], from_hidden.T)
            _step_in_place(lstm, gates, hidden[:active], cell[:active])
            outputs[start : start + active] = hidden[:active]
            start += active
    return outputs, LstmState(hidden, cell)


def _step_in_place(
    lstm: LstmCellWithProjection, gates: Tensor, hidden: Tensor, cell: Tensor
) -> None:
    output = hidden if lstm.projection is None else torch.empty_like(cell)
    step_in_torch(StepTensors(gates, cell, lstm.cell_clip, output))
    if lstm.projection is not None:
        torch.mm(output, lstm.projection.T, out=hidden)
        if lstm.projection_clip is not None:
            hidden.clamp_(-lstm.projection_clip, lstm.projection_clip)


def _blocks(batch_sizes: Sequence[int], max_rows: int) -> list[list[int]]:
    """Group consecutive steps into blocks of at most `max_rows` rows, or of one step."""
    blocks: list[list[int]] = []
    rows = max_rows
    for size in batch_sizes:
        if rows + size > max_rows:
            blocks.append([])
            rows = 0
        blocks[-1].append(size)
        rows += size
    return blocks


def _clip(values: Tensor, limit: float | None) -> Tensor:
    return values if limit is None else values.clamp(-limit, limit)


class Packing(NamedTuple):
    """Rows of a ragged batch in the order of the steps of both directions."""

    order: npt.NDArray[np.int64]  # (sequence,): indices, longest first
    batch_sizes: list[int]  # (step,): active sequences
    forward_rows: npt.NDArray[np.int64]  # (row,): ragged position of each row, first to last
    backward_rows: npt.NDArray[np.int64]  # (row,): the same, last to first


def pack(lengths: Sequence[int]) -> Packing:
    """Order the rows of sequences for the two directions of a biLM.

    Args:
        lengths: Length of each sequence; a sequence of length 0 has no rows.

    Returns:
        The order of sequences and rows.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-sizes, kind="stable")
    longest_first = sizes[order]
    starts = (np.cumsum(sizes) - sizes)[order]
    step, sequence = np.nonzero(np.arange(sizes.max(initial=0))[:, None] < longest_first)
    return Packing(
        order=order,
        batch_sizes=np.bincount(step).tolist(),
        forward_rows=starts[sequence] + step,
        backward_rows=starts[sequence] + longest_first[sequence] - 1 - step,
    )


class StepTensors(NamedTuple):
    """Arguments of the elementwise half of a step, which each of its implementations takes.

    The half that is not elementwise is the matrix products before it. A step writes the next cell
    states to `cell`, and o * tanh(cell) to `output`.
    """

    products: Tensor  # (row, 4 * cell): recurrent part of the gates i, j, f, o; may be overwritten
    cell: Tensor  # (row, cell): receives the cell states after the step
    clip: float | None  # limit of the absolute values of the cell states; None: no limit
    output: Tensor  # (row, cell), in the dtype of `products`
    # Input part of the gates, with bias, (any, 4 * cell); None: part of `products`
    inputs: Tensor | None = None
    rows: Tensor | None = None  # (row,) int64: row of `inputs` for each row; None: the same row
    # Cell states before the step, (any, cell), not overlapping `cell`; None: `cell`
    before: Tensor | None = None
    parents: Tensor | None = None  # (row,) int64: row of `before` for each row; given with `before`


def step_in_torch(step: StepTensors) -> None:
    """Compute the elementwise half of a step in place, with torch operations."""
    products, cell, clip, output, inputs, rows, before, parents = step
    gates = products.to(cell.dtype)
    if inputs is not None:
        gates = gates.add_(inputs[: len(gates)] if rows is None else inputs[rows])
    if before is not None and parents is not None:
        torch.index_select(before, 0, parents, out=cell)
    i, j, f, o = gates.chunk(4, dim=-1)
    cell.mul_(f.sigmoid_()).addcmul_(i.sigmoid_(), j.tanh_())
    if clip is not None:
        cell.clamp_(-clip, clip)
    torch.mul(torch.tanh(cell, out=i), o.sigmoid_(), out=i)  # reuses the memory of i
    output.copy_(i)

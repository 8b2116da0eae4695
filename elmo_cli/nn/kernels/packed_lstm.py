"""One layer and direction of the fast biLM: an LSTM with packed weights over a prefix tree.

The input products of the first layer are computed once for each word type.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from elmo_cli.nn.kernels.lstm_step import lstm_step
from elmo_cli.nn.kernels.packed_linear import PackedLinear
from elmo_cli.nn.lstm import LstmCellWithProjection, LstmState, StepTensors
from elmo_cli.nn.prefixes import PrefixTree

# Numbers of rows of a product, with the multiples of the last: oneDNN builds a kernel for each
# number of rows, and caches few kernels
FEW_ROWS = (1, 4, 8, 16)
# Rows of a step, on a CPU: the gates fit the caches, larger products are no faster
BLOCK_ROWS = 256
# Word types whose input products are held at a time (128 MiB for each direction of a published
# model)
STEP_TYPES = 2048


class Step(NamedTuple):
    """One step: some nodes of a prefix tree."""

    nodes: slice
    # Places among the nodes of the step before, (node,) int64; None: the same places
    parents: Tensor | None
    # Word types whose input products are computed before the step, (type,) int64; or None
    types: Tensor | None


class Steps(NamedTuple):
    """A prefix tree on a device."""

    steps: list[Step]
    rows: Tensor  # (node,) int64: the row of the input products that a node takes
    node_of_token: Tensor  # (token,) int64
    widest: int  # nodes of a step
    is_branching: bool


def schedule(tree: PrefixTree, max_types: int, device: torch.device) -> Steps:
    """Return the steps over a prefix tree; those of `max_types` types share input products."""
    rows, steps = np.empty_like(tree.types), []
    node_of_token, parents = (
        torch.from_numpy(index).to(device) for index in (tree.node_of_token, tree.parents)
    )
    for first, last in _groups(tree, max_types):
        nodes = slice(tree.depths[first].nodes.start, tree.depths[last - 1].nodes.stop)
        distinct, rows[nodes] = np.unique(tree.types[nodes], return_inverse=True)
        types: Tensor | None = torch.from_numpy(distinct).to(device)
        for depth in tree.depths[first:last]:
            steps.append(
                Step(depth.nodes, parents[depth.nodes] if depth.is_branching else None, types)
            )
            types = None
    widest = max((step.nodes.stop - step.nodes.start for step in steps), default=0)
    is_branching = any(depth.is_branching for depth in tree.depths)
    return Steps(steps, torch.from_numpy(rows).to(device), node_of_token, widest, is_branching)


def _groups(tree: PrefixTree, max_types: int) -> Iterator[tuple[int, int]]:
    """Iterate over ranges of depths with at most `max_types` distinct types, or of one depth."""
    seen, first, n_types = np.zeros(tree.types.max(initial=0) + 1, dtype=bool), 0, 0
    for number, depth in enumerate(tree.depths):
        new = np.unique(tree.types[depth.nodes])
        n_new = int(np.count_nonzero(~seen[new]))
        if number > first and n_types + n_new > max_types:
            yield first, number
            seen[:], first, n_types, n_new = False, number, 0, len(new)
        seen[new] = True
        n_types += n_new
    if tree.depths:
        yield first, len(tree.depths)


def proceed() -> None:
    """Do nothing: the default function called before each step."""


class PackedLstm:
    """One layer and direction with packed weights.

    The input part of the first layer is separate: its products are shared by word type.
    """

    def __init__(self, lstm: LstmCellWithProjection, dtype: torch.dtype, *, first: bool) -> None:
        weight, bias = lstm.weight.to(dtype), lstm.bias.to(dtype)
        self.dtype = dtype
        self.cell_clip = lstm.cell_clip
        self.input = PackedLinear(weight[:, : lstm.input_size], bias) if first else None
        self.recurrent = (
            PackedLinear(weight[:, lstm.input_size :]) if first else PackedLinear(weight, bias)
        )
        self.projection = (
            None
            if lstm.projection is None
            else PackedLinear(lstm.projection.to(dtype), clip=lstm.projection_clip)
        )

    def run(
        self, inputs: Tensor, steps: Steps, state: LstmState, check: Callable[[], None] = proceed
    ) -> tuple[Tensor, Tensor]:
        """Compute the outputs of all nodes.

        Args:
            inputs: Vectors of the nodes (node, input) or, in the first layer, of word types (type,
                input).
            steps: What to compute, in order.
            state: States from which sequences start.
            check: Called before each step.

        Returns:
            Outputs (node, output), and cell states (sequence, cell): the final ones where no step
            branches.
        """
        size, gates = state.hidden.shape[1], None
        outputs = inputs.new_empty(len(steps.rows), size, dtype=self.dtype)
        hidden, cell = state.hidden.to(self.dtype), state.cell.clone()
        # If steps branch, each reads cell states from one of two buffers and writes to the other
        buffers = (
            [cell.new_empty(steps.widest, cell.shape[1]) for _ in range(2)]
            if steps.is_branching
            else [cell]
        )
        scratch = self._scratch(
            min(steps.widest, _block_rows(inputs.device)),
            0 if self.input else inputs.shape[1],
            state,
        )
        for step in steps.steps:
            check()
            if self.input is not None and step.types is not None:
                gates = self.input(inputs[step.types].to(self.dtype)).float()
            after = cell if step.parents is None else buffers[cell is buffers[0]]
            self._step(step, inputs, steps.rows, gates, (hidden, cell, after), scratch, outputs)
            hidden, cell = outputs[step.nodes], after
        return outputs, cell

    def _scratch(self, n_rows: int, width: int, state: LstmState) -> tuple[Tensor, Tensor]:
        """Return buffers for a product's input (step inputs and state) and the cells' output."""
        n_rows = _rounded(n_rows)
        joined = state.cell.new_zeros(n_rows, width + state.hidden.shape[1], dtype=self.dtype)
        return joined, state.cell.new_zeros(n_rows, state.cell.shape[1], dtype=self.dtype)

    def _step(
        self,
        step: Step,
        inputs: Tensor,
        rows: Tensor,
        gates: Tensor | None,
        states: tuple[Tensor, Tensor, Tensor],
        scratch: tuple[Tensor, Tensor],
        outputs: Tensor,
    ) -> None:
        """Compute the nodes of a step in blocks.

        `states` are the hidden and cell states before the step, and the buffer of new cell states.
        """
        (hidden, before, after), (joined, raw) = states, scratch
        width = joined.shape[1] - hidden.shape[1]
        for block in _blocks(step.nodes.stop - step.nodes.start, _block_rows(inputs.device)):
            nodes = slice(step.nodes.start + block.start, step.nodes.start + block.stop)
            n_rows, rounded = block.stop - block.start, _rounded(block.stop - block.start)
            parents = None if step.parents is None else step.parents[block]
            if width:
                joined[:n_rows, :width] = inputs[nodes]
            joined[:n_rows, width:] = hidden[block] if parents is None else hidden[parents]
            products = self.recurrent(joined[:rounded])[:n_rows]
            source = None if parents is None else before
            lstm_step(
                StepTensors(
                    products,
                    after[block],
                    self.cell_clip,
                    raw[:n_rows],
                    gates,
                    rows[nodes],
                    source,
                    parents,
                )
            )
            outputs[nodes] = (
                raw[:n_rows] if self.projection is None else self.projection(raw[:rounded])[:n_rows]
            )


def _block_rows(device: torch.device) -> int:
    return BLOCK_ROWS if device.type == "cpu" else 1 << 30


def _rounded(n_rows: int) -> int:
    """Return the number of rows, rounded up, of a product."""
    return next(
        (few for few in FEW_ROWS if n_rows <= few), -(-n_rows // FEW_ROWS[-1]) * FEW_ROWS[-1]
    )


def _blocks(n_rows: int, max_rows: int) -> Iterator[slice]:
    """Iterate over slices of similar size: a small product costs more per row."""
    n_blocks = -(-n_rows // max_rows)
    size = min(max_rows, _rounded(-(-n_rows // n_blocks)))
    return (slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size))

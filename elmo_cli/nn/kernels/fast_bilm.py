"""Optimized biLM for inference with frozen parameters, equivalent to `BiLM`.

Sentences that start from one state share common parts: each distinct prefix is computed once
forward, each distinct suffix once backward (`elmo_cli.nn.prefixes`). The input products of the
first layer are computed once for each word type. On a CPU, matrices are packed for the processor,
the two directions run in parallel with half of the threads each, and the elementwise half of a step
is one compiled pass if the package was built with a compiler.

With bfloat16 or float16, products take and give that type and sum in float32; cell states and
layers stay in float32. So does the character CNN, except its highways with bfloat16.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from elmo_cli.nn.bilm import DIRECTIONS, BiLM, BiLMState, Highway
from elmo_cli.nn.devices import PRECISIONS
from elmo_cli.nn.kernels.lstm_step import lstm_step
from elmo_cli.nn.kernels.packed_linear import PackedConvolution, PackedLinear, RoundedInputs
from elmo_cli.nn.lstm import LstmCellWithProjection, LstmState, pack
from elmo_cli.nn.parallel import InThreads, RunBoth, in_sequence
from elmo_cli.nn.prefixes import PrefixTree, build_prefix_tree

# oneDNN builds a kernel for each number of rows and caches few: a product has one of these numbers
# of rows, or a multiple of the last
FEW_ROWS = (1, 4, 8, 16)
# Rows of a step, on a CPU: the gates fit the caches, larger products are no faster
BLOCK_ROWS = 256
# Word types whose input products are held at a time: 128 MiB for each direction of the published
# shape
STEP_TYPES = 2048


class Step(NamedTuple):
    """One step: some nodes of a prefix tree."""

    nodes: slice
    # The shape is (node,) int64, among the nodes of the step before; None: the same places
    parents: Tensor | None
    # The shape is (type,) int64: types whose input products are computed before the step; None:
    # none
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
        # where steps branch, the states before a step are read from one of two buffers and written
        # to the other
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
                products,
                gates,
                rows[nodes],
                after[block],
                self.cell_clip,
                raw[:n_rows],
                source,
                parents,
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


class FastBiLM(nn.Module):
    """Optimized float32 biLM, on the device of the given network.

    It takes ownership of the network: its weights are packed one by one, and freed. `dtype` is that
    of the matrix products of the LSTMs and, if bfloat16, of the highways.
    """

    def __init__(self, bilm: BiLM, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config = bilm.config
        self.mapper = bilm.mapper
        self.character_encoder = bilm.character_encoder
        self.run_both: RunBoth = (
            InThreads() if next(bilm.parameters()).device.type == "cpu" else in_sequence
        )
        # the highways are most of the encoder's work; with its other products too, layer 0 loses
        # 0.0045 of its norm
        _pack_products(
            self.character_encoder, torch.bfloat16 if dtype == torch.bfloat16 else torch.float32
        )
        self.lstms = [
            [_pack_lstm(bilm, direction, layer, dtype) for layer in range(bilm.config.n_layers)]
            for direction in range(DIRECTIONS)
        ]

    def zero_state(self, n_sequences: int) -> BiLMState:
        """Return the zero state."""
        return BiLMState.zero(self.config, n_sequences, next(self.parameters()))

    def forward_types(
        self,
        type_vectors: Tensor,
        token_to_type: Tensor,
        lengths: list[int],
        state: BiLMState,
        check: Callable[[], None] = proceed,
    ) -> tuple[Tensor, BiLMState]:
        """Compute `BiLM.forward_types`, up to rounding."""
        shared = state.hidden.shape[2] == 1 and len(lengths) > 1
        order = torch.from_numpy(pack(lengths).order).to(type_vectors.device)
        layers = type_vectors.new_empty(
            self.config.n_output_layers, len(token_to_type), self.config.output_dim
        )
        final = (
            BiLMState.zero(self.config, 0, type_vectors)
            if shared
            else BiLMState(*(part.clone() for part in state))
        )
        types_of_tokens = token_to_type.cpu().numpy()

        @torch.inference_mode()  # a thread has its own mode
        def run(direction: int) -> None:
            columns = slice(
                direction * self.config.projection_dim, (direction + 1) * self.config.projection_dim
            )
            tree = build_prefix_tree(
                types_of_tokens, lengths, backward=direction == 1, shared=shared
            )
            steps, inputs = schedule(tree, STEP_TYPES, type_vectors.device), type_vectors
            layers[0, :, columns] = type_vectors[token_to_type]
            for layer, lstm in enumerate(self.lstms[direction]):
                start = LstmState(
                    *(
                        part[direction, layer] if shared else part[direction, layer, order]
                        for part in state
                    )
                )
                outputs, cell = lstm.run(inputs, steps, start, check)
                if not shared:
                    ended = torch.from_numpy(tree.ends).to(type_vectors.device)
                    final.hidden[direction, layer, order[ended >= 0]] = outputs[
                        ended[ended >= 0]
                    ].float()
                    final.cell[direction, layer, order] = cell
                inputs = (
                    outputs + inputs if layer > 0 and self.config.use_skip_connections else outputs
                ).float()
                layers[layer + 1, :, columns] = inputs[steps.node_of_token]

        self.run_both(run)
        return layers, final


def _pack_products(module: nn.Module, dtype: torch.dtype) -> None:
    """Replace a character encoder's products by packed ones, its highways' in `dtype`."""
    for name, child in module.named_children():
        if isinstance(child, nn.Conv1d):
            setattr(module, name, PackedConvolution(child.weight, child.bias))
        elif isinstance(child, nn.Linear) and (
            dtype == torch.float32 or not isinstance(module, Highway)
        ):
            setattr(module, name, PackedLinear(child.weight, child.bias))
        elif isinstance(child, nn.Linear):
            setattr(
                module,
                name,
                RoundedInputs(PackedLinear(child.weight.to(dtype), child.bias.to(dtype)), dtype),
            )
        else:
            _pack_products(child, dtype)


def _pack_lstm(bilm: BiLM, direction: int, layer: int, dtype: torch.dtype) -> PackedLstm:
    lstms = cast("nn.ModuleList", bilm.directions[direction])
    packed = PackedLstm(cast("LstmCellWithProjection", lstms[layer]), dtype, first=layer == 0)
    lstms[layer] = nn.Identity()
    return packed


Network = BiLM | FastBiLM


def compile_bilm(bilm: BiLM, device: str, precision: str = "fp32") -> Network:
    """The network on a device: the fast one if it applies, else `bilm` itself.

    The fast one takes `bilm` over, and is for float32 weights on a CPU or a CUDA GPU.
    """
    bilm = bilm.to(device)
    if device == "mps" or next(bilm.parameters()).dtype != torch.float32:
        return bilm
    if precision == "tf32":  # for all of the process, as PyTorch has it; off unless asked for
        torch.backends.cuda.matmul.allow_tf32 = True
    return FastBiLM(bilm, PRECISIONS[precision])

"""The biLM as fast as the machine runs it: the numbers of `BiLM`, by another way.

What the first layer's gates get from a token is computed once for each word type. On a CPU, matrices are packed for the processor, each
direction runs on a thread of its own with half of the threads, and the elementwise half of a step is one compiled pass where a compiler
was at hand.

With bfloat16 or float16, products take and give that type and sum in float32; cell states, layers and the character CNN stay in float32.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from elmo_cli.nn.bilm import DIRECTIONS, BiLM, BiLMState
from elmo_cli.nn.devices import PRECISIONS
from elmo_cli.nn.kernels.lstm_step import lstm_step
from elmo_cli.nn.kernels.packed_linear import PackedConvolution, PackedLinear
from elmo_cli.nn.lstm import LstmCellWithProjection, LstmState, pack
from elmo_cli.nn.parallel import InThreads, RunBoth, in_sequence

ROWS = 16  # a product's rows are a multiple of it: oneDNN makes, and keeps, a kernel for each number of rows


class PackedLstm:
    """One layer and direction, its weights packed. The first layer's input part stands apart: its products are shared by word type."""

    def __init__(self, lstm: LstmCellWithProjection, dtype: torch.dtype, *, first: bool) -> None:
        weight, bias = lstm.weight.to(dtype), lstm.bias.to(dtype)
        self.dtype = dtype
        self.cell_clip = lstm.cell_clip
        self.input = PackedLinear(weight[:, : lstm.input_size], bias) if first else None
        self.recurrent = PackedLinear(weight[:, lstm.input_size :]) if first else PackedLinear(weight, bias)
        self.projection = None if lstm.projection is None else PackedLinear(lstm.projection.to(dtype), clip=lstm.projection_clip)

    def run(self, inputs: Tensor, rows: Tensor, batch_sizes: Sequence[int], state: LstmState) -> tuple[Tensor, LstmState]:
        """Outputs (row, output), rows in packed order, and each sequence's final state.

        `inputs` are the rows themselves or, in the first layer, the vectors that `rows` (row,) int64 names.
        """
        gates = None if self.input is None else self.input(inputs.to(self.dtype)).float()
        n_sequences, size = state.hidden.shape
        width = 0 if gates is not None else inputs.shape[1]
        outputs = inputs.new_empty(len(rows), size, dtype=self.dtype)
        # A step's inputs, unless they are in `gates`, beside the state before it: one product computes both
        joined = inputs.new_zeros(n_sequences, width + size, dtype=self.dtype)
        hidden, cell = joined[:, width:], state.cell.clone()
        hidden.copy_(state.hidden)
        raw = cell.new_zeros(cell.shape, dtype=self.dtype)
        start = 0
        for active in batch_sizes:
            now, rounded = slice(start, start + active), min(n_sequences, -(-active // ROWS) * ROWS)
            if gates is None:
                joined[:active, :width] = inputs[now]
            lstm_step(self.recurrent(joined[:rounded])[:active], gates, rows[now], cell[:active], self.cell_clip, raw[:active])
            outputs[now] = raw[:active] if self.projection is None else self.projection(raw[:rounded])[:active]
            hidden[:active] = outputs[now]  # what has ended stays as it was
            start += active
        return outputs, LstmState(hidden.float(), cell)


class FastBiLM(nn.Module):
    """Runs a float32 biLM, from where it lies. It takes that network over: its weights are packed one by one, and freed.

    `dtype` is that of the LSTMs' matrix products.
    """

    def __init__(self, bilm: BiLM, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config = bilm.config
        self.mapper = bilm.mapper
        self.character_encoder = bilm.character_encoder
        self.run_both: RunBoth = InThreads() if next(bilm.parameters()).device.type == "cpu" else in_sequence
        _pack_products(self.character_encoder)
        self.lstms = [
            [_pack_lstm(bilm, direction, layer, dtype) for layer in range(bilm.config.n_layers)] for direction in range(DIRECTIONS)
        ]

    def zero_state(self, n_sequences: int) -> BiLMState:
        """The state that nothing has been read into."""
        return BiLMState.zero(self.config, n_sequences, next(self.parameters()))

    def forward_types(self, type_vectors: Tensor, token_to_type: Tensor, lengths: list[int], state: BiLMState) -> tuple[Tensor, BiLMState]:
        """As `BiLM.forward_types`, within the rounding of its arithmetic."""
        packing = pack(lengths)
        order = torch.from_numpy(packing.order).to(type_vectors.device)
        layers = type_vectors.new_empty(self.config.n_output_layers, len(token_to_type), self.config.output_dim)
        final = BiLMState(torch.empty_like(state.hidden), torch.empty_like(state.cell))

        @torch.inference_mode()  # a thread has its own mode
        def run(direction: int) -> None:
            columns = slice(direction * self.config.projection_dim, (direction + 1) * self.config.projection_dim)
            index = torch.from_numpy(packing.backward_rows if direction else packing.forward_rows).to(type_vectors.device)
            rows, inputs = token_to_type[index], type_vectors
            layers[0, :, columns] = type_vectors[token_to_type]
            for layer, lstm in enumerate(self.lstms[direction]):
                start = LstmState(state.hidden[direction, layer, order], state.cell[direction, layer, order])
                outputs, end = lstm.run(inputs, rows, packing.batch_sizes, start)
                final.hidden[direction, layer, order] = end.hidden
                final.cell[direction, layer, order] = end.cell
                inputs = (outputs + inputs if layer > 0 and self.config.use_skip_connections else outputs).float()
                layers[layer + 1, :, columns].index_copy_(0, index, inputs)

        self.run_both(run)
        return layers, final


def _pack_products(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, PackedLinear(child.weight, child.bias))
        elif isinstance(child, nn.Conv1d):
            setattr(module, name, PackedConvolution(child.weight, child.bias))
        else:
            _pack_products(child)


def _pack_lstm(bilm: BiLM, direction: int, layer: int, dtype: torch.dtype) -> PackedLstm:
    lstms = cast("nn.ModuleList", bilm.directions[direction])
    packed = PackedLstm(cast("LstmCellWithProjection", lstms[layer]), dtype, first=layer == 0)
    lstms[layer] = nn.Identity()
    return packed


Network = BiLM | FastBiLM


def compile_bilm(bilm: BiLM, device: str, precision: str = "fp32") -> Network:
    """The network on a device: the fast one, which takes `bilm` over, for float32 weights on a CPU or a CUDA GPU; else `bilm` itself."""
    bilm = bilm.to(device)
    if device == "mps" or next(bilm.parameters()).dtype != torch.float32:
        return bilm
    if precision == "tf32":  # for all of the process, as PyTorch has it; off unless asked for
        torch.backends.cuda.matmul.allow_tf32 = True
    return FastBiLM(bilm, PRECISIONS[precision])

"""Optimized biLM for inference with frozen parameters, equivalent to `BiLM`.

Sentences that start from one state share common parts: each distinct prefix is computed once
forward, each distinct suffix once backward (`elmo_cli.nn.prefixes`). The input products of the
first layer are computed once for each word type. On a CPU, matrices are packed for the processor,
the two directions run in parallel with half of the threads each, and the elementwise half of a step
is one compiled pass if the package was built with a compiler.

With bfloat16 or float16, products take and give that type and sum in float32; cell states and
layers stay in float32. So does the character CNN, except its highways with bfloat16.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from elmo_cli.nn.bilm import DIRECTIONS, BiLM, BiLMState
from elmo_cli.nn.devices import PRECISIONS
from elmo_cli.nn.kernels.packed_linear import PackedConvolution, PackedLinear, RoundedInputs
from elmo_cli.nn.kernels.packed_lstm import STEP_TYPES, PackedLstm, proceed, schedule
from elmo_cli.nn.lstm import LstmCellWithProjection, LstmState, pack
from elmo_cli.nn.parallel import InThreads, RunBoth, in_sequence
from elmo_cli.nn.prefixes import build_prefix_tree
from elmo_cli.nn.token_encoders import Highway


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
        # Only the highways use bfloat16: they are most of the encoder's work, and with bfloat16 in
        # the other products too, the error of layer 0 would be 0.0045 of its norm
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

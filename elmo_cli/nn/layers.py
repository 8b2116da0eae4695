"""Layers of a batch of word types: on packed matrices while frozen, or differentiable."""

from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from torch import Tensor

from elmo_cli.io.forks import Lock
from elmo_cli.nn.batching import bucket_by_length
from elmo_cli.nn.bilm import DIRECTIONS, BiLM, BiLMState
from elmo_cli.nn.character_ids import TypedBatch
from elmo_cli.nn.characters import PADDING
from elmo_cli.nn.kernels.fast_bilm import FastBiLM
from elmo_cli.nn.lstm import LstmState, RunLstm, pack
from elmo_cli.nn.packed_gradient import run_with_gradient

CNN_CHARACTERS = 8192  # characters in the CNN at a time, which bounds its memory
SAMPLES = 8  # values per parameter that are compared to detect changes
Network = BiLM | FastBiLM


class PackedBiLM:
    """Network with packed matrices, which are packed again when the parameters have changed.

    A pickle or a copy starts without packed matrices. Several threads may use it.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._network: Network | None = None
        self._packed_versions: tuple[object, ...] = ()
        self._sample_values = torch.empty(0)

    def network(self, bilm: BiLM) -> Network:
        """Return a packed network equal to `bilm`; for types other than float32, `bilm` itself."""
        first = next(bilm.parameters())
        if first.dtype != torch.float32 or first.device.type == "mps":
            return bilm
        with self._lock:
            versions, values = _versions(bilm), _sample_values(bilm)
            if (
                self._network is None
                or versions != self._packed_versions
                or not torch.equal(values, self._sample_values)
            ):
                self._network, self._packed_versions, self._sample_values = (
                    _pack(bilm),
                    versions,
                    values,
                )
            return self._network

    def clear(self) -> None:
        """Discard the packed matrices."""
        with self._lock:
            self._network = None

    def __reduce__(self) -> tuple[type["PackedBiLM"], tuple[()]]:
        return PackedBiLM, ()


def _versions(bilm: BiLM) -> tuple[object, ...]:
    """Return values that change when an optimizer, `load_state_dict` or `.to` sets parameters."""
    return tuple(
        (p.data_ptr(), p.device, 0 if p.is_inference() else p._version) for p in bilm.parameters()
    )


def _sample_values(bilm: BiLM) -> Tensor:
    """Return some values of each parameter.

    Writing into `.data`, for example to swap in averaged weights, does not change versions.
    """
    flat = (
        p.detach().reshape(-1) if p.is_contiguous() else p.detach().flatten()
        for p in bilm.parameters()
    )
    return torch.cat([values[:: max(1, len(values) // SAMPLES)] for values in flat])


def _pack(bilm: BiLM) -> FastBiLM:
    """Pack a second network that shares the parameters, since FastBiLM consumes its argument."""
    with torch.device("meta"):
        shared = BiLM(bilm.config, mapper=bilm.mapper)
    shared.load_state_dict(bilm.state_dict(), assign=True)
    return FastBiLM(shared.requires_grad_(False))


def forward_frozen(
    network: Network, batch: TypedBatch, start: BiLMState
) -> tuple[list[Tensor], BiLMState]:
    """Compute the layers of a batch without gradients.

    Args:
        network: The network.
        batch: Sentences as rows of word types.
        start: States that the sentences start from.

    Returns:
        The layers, (position, 2 * projection_dim) each, and the final states.
    """
    device = start.hidden.device
    with torch.no_grad():
        types = _encode_frozen(network, batch.type_ids)
        layers, end = network.forward_types(
            types, batch.token_to_type.to(device), batch.lengths, start
        )
    return list(layers.unbind(0)), end


def _encode_frozen(network: Network, ids: Tensor) -> Tensor:
    batches = _batches(ids)
    like = next(network.parameters())
    vectors = like.new_empty(len(ids), network.config.projection_dim)

    @torch.inference_mode()  # the mode is per thread
    def encode(half: int) -> None:
        for batch in batches[half::2]:
            vectors[batch] = network.character_encoder(ids[batch].to(like.device))

    network.run_both(encode)
    return vectors


def forward_differentiable(
    bilm: BiLM, batch: TypedBatch, start: BiLMState, run_lstm: RunLstm = run_with_gradient
) -> tuple[list[Tensor], BiLMState]:
    """Compute the layers of a batch with gradients for the parameters, not for the states.

    Args:
        bilm: The network.
        batch: Sentences as rows of word types.
        start: States that the sentences start from.
        run_lstm: Function that runs one LSTM over packed sequences.

    Returns:
        The layers, (position, 2 * projection_dim) each, and the final states.
    """
    config, device = bilm.config, start.hidden.device
    types = _encode_differentiable(bilm, batch.type_ids.to(device))
    tokens = types[batch.token_to_type.to(device)]
    packing = pack(batch.lengths)
    order, back = (
        torch.from_numpy(index).to(device) for index in (packing.order, np.argsort(packing.order))
    )
    halves, ends = [], []
    for direction, rows in enumerate([packing.forward_rows, packing.backward_rows]):
        index, restored = (torch.from_numpy(part).to(device) for part in (rows, np.argsort(rows)))
        inputs, outputs = tokens[index], []
        for layer, lstm in enumerate(bilm.lstms(direction)):
            first = LstmState(
                start.hidden[direction, layer, order], start.cell[direction, layer, order]
            )
            layer_outputs, end = run_lstm(lstm, inputs, packing.batch_sizes, first)
            inputs = (
                layer_outputs + inputs
                if layer > 0 and config.use_skip_connections
                else layer_outputs
            )
            outputs.append(inputs[restored])
            ends.append(LstmState(*(part.detach()[back] for part in end)))
        halves.append(outputs)
    layers = [
        tokens.repeat(1, DIRECTIONS),
        *(torch.cat(pair, dim=1) for pair in zip(*halves, strict=True)),
    ]
    # Hidden and cell states, each (direction * layer, sequence, dim)
    states = (torch.stack(parts) for parts in zip(*ends, strict=True))
    return layers, BiLMState(
        *(state.view(DIRECTIONS, config.n_layers, *state.shape[1:]) for state in states)
    )


def _encode_differentiable(bilm: BiLM, ids: Tensor) -> Tensor:
    batches = _batches(ids)
    encode = cast("Callable[[Tensor], Tensor]", bilm.character_encoder)
    vectors = torch.cat([encode(ids[batch]) for batch in batches])
    place = torch.empty(len(ids), dtype=torch.long)
    place[[index for batch in batches for index in batch]] = torch.arange(len(ids))
    return vectors[place.to(ids.device)]


def _batches(ids: Tensor) -> list[list[int]]:
    """Group types of similar length, to compute little padding."""
    return list(bucket_by_length((ids != PADDING).sum(dim=1).tolist(), CNN_CHARACTERS))

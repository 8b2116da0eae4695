"""All layers of a batch of words: packed for the processor while the network is frozen, or differentiable."""

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

CNN_CHARACTERS = 8192  # characters that go through the CNN together: bounds its memory
SAMPLES = 8  # values of each parameter that are compared to find out whether it has changed
Network = BiLM | FastBiLM


class PackedBiLM:
    """The network of frozen parameters, its matrices packed once for the processor, and anew when the parameters have changed.

    A pickle or a copy starts without packed matrices. Several threads may use it.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._network: Network | None = None
        self._packed: tuple[object, ...] = ()
        self._sample = torch.empty(0)

    def network(self, bilm: BiLM) -> Network:
        """Return a network that computes what `bilm` does; for other types than float32, `bilm` itself."""
        first = next(bilm.parameters())
        if first.dtype != torch.float32 or first.device.type == "mps":
            return bilm
        with self._lock:
            described, sample = _describe(bilm), _sample(bilm)
            if self._network is None or described != self._packed or not torch.equal(sample, self._sample):
                self._network, self._packed, self._sample = _pack(bilm), described, sample
            return self._network

    def clear(self) -> None:
        """Discard the packed matrices."""
        with self._lock:
            self._network = None

    def __reduce__(self) -> tuple[type["PackedBiLM"], tuple[()]]:
        return PackedBiLM, ()


def _describe(bilm: BiLM) -> tuple[object, ...]:
    """What changes when an optimiser, `load_state_dict` or `.to` has changed parameters."""
    return tuple((p.data_ptr(), p.device, 0 if p.is_inference() else p._version) for p in bilm.parameters())


def _sample(bilm: BiLM) -> Tensor:
    """Some values of each parameter: writing into `.data`, as averages of weights are swapped in, leaves versions as they are."""
    flat = (p.detach().reshape(-1) if p.is_contiguous() else p.detach().flatten() for p in bilm.parameters())
    return torch.cat([values[:: max(1, len(values) // SAMPLES)] for values in flat])


def _pack(bilm: BiLM) -> FastBiLM:
    """Pack a second network that shares the parameters: FastBiLM takes over the one that it is given."""
    with torch.device("meta"):
        shared = BiLM(bilm.config, mapper=bilm.mapper)
    shared.load_state_dict(bilm.state_dict(), assign=True)
    return FastBiLM(shared.requires_grad_(False))


def read_frozen(network: Network, batch: TypedBatch, start: BiLMState) -> tuple[list[Tensor], BiLMState]:
    """Return the layers of a batch, (position, 2 * projection_dim) each, and the states after it, without gradients."""
    device = start.hidden.device
    with torch.no_grad():
        types = _encode_frozen(network, batch.type_ids)
        layers, end = network.read(types, batch.places.to(device), batch.lengths, start)
    return list(layers.unbind(0)), end


def _encode_frozen(network: Network, ids: Tensor) -> Tensor:
    batches = _batches(ids)
    like = next(network.parameters())
    vectors = like.new_empty(len(ids), network.config.projection_dim)

    @torch.inference_mode()  # a thread has its own mode
    def encode(half: int) -> None:
        for batch in batches[half::2]:
            vectors[batch] = network.character_encoder(ids[batch].to(like.device))

    network.both(encode)
    return vectors


def read_differentiable(
    bilm: BiLM, batch: TypedBatch, start: BiLMState, run_lstm: RunLstm = run_with_gradient
) -> tuple[list[Tensor], BiLMState]:
    """As `read_frozen`, with gradients into the parameters; none flow into the states."""
    config, device = bilm.config, start.hidden.device
    types = _encode_differentiable(bilm, batch.type_ids.to(device))
    tokens = types[batch.places.to(device)]
    packing = pack(batch.lengths)
    order, back = (torch.from_numpy(index).to(device) for index in (packing.order, np.argsort(packing.order)))
    halves, ends = [], []
    for direction, rows in enumerate([packing.forward_rows, packing.backward_rows]):
        index, restored = (torch.from_numpy(part).to(device) for part in (rows, np.argsort(rows)))
        inputs, outputs = tokens[index], []
        for layer, lstm in enumerate(bilm.lstms(direction)):
            first = LstmState(start.hidden[direction, layer, order], start.cell[direction, layer, order])
            found, end = run_lstm(lstm, inputs, packing.batch_sizes, first)
            inputs = found + inputs if layer > 0 and config.use_skip_connections else found
            outputs.append(inputs[restored])
            ends.append(LstmState(*(part.detach()[back] for part in end)))
        halves.append(outputs)
    layers = [tokens.repeat(1, DIRECTIONS), *(torch.cat(pair, dim=1) for pair in zip(*halves, strict=True))]
    states = (torch.stack(parts) for parts in zip(*ends, strict=True))  # (direction * layer, sequence, dim)
    return layers, BiLMState(*(state.view(DIRECTIONS, config.n_layers, *state.shape[1:]) for state in states))


def _encode_differentiable(bilm: BiLM, ids: Tensor) -> Tensor:
    batches = _batches(ids)
    encode = cast("Callable[[Tensor], Tensor]", bilm.character_encoder)
    vectors = torch.cat([encode(ids[batch]) for batch in batches])
    place = torch.empty(len(ids), dtype=torch.long)
    place[[index for batch in batches for index in batch]] = torch.arange(len(ids))
    return vectors[place.to(ids.device)]


def _batches(ids: Tensor) -> list[list[int]]:
    """Types of like length, so that little padding goes through the CNN."""
    return list(bucket_by_length((ids != PADDING).sum(dim=1).tolist(), CNN_CHARACTERS))

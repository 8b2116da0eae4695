"""Trainable ELMo representations: scalar mixes of a biLM, equal to those of AllenNLP's `Elmo`."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from elmo_cli.nn.bilm import BiLM, BiLMState
from elmo_cli.nn.character_ids import TypedBatch, find_types
from elmo_cli.nn.layers import PackedBiLM, forward_differentiable, forward_frozen
from elmo_cli.nn.parallel import use_one_thread_after_fork
from elmo_cli.nn.scalar_mix import ScalarMix


class ElmoRepresentations(nn.Module):
    """Scalar mixes of the layers of a biLM.

    `elmo_cli.Elmo` is this module with a model that is loaded by name. Parameters are `bilm.*`,
    `scalar_mix_0.gamma`, `scalar_mix_0.scalar_parameters.0` and so on. While no parameter of the
    biLM requires a gradient, or gradients are disabled, the biLM runs on packed copies of its
    matrices, and each distinct word is encoded once per batch; otherwise it is differentiable. The
    flags are checked in each call, so that a module may be frozen and unfrozen at any time.

    Args:
        bilm: The network, which becomes part of the module.
        num_output_representations: Number of mixes, each with its own parameters.
        requires_grad: Whether the biLM's parameters require gradients.
        do_layer_norm: Whether mixes normalise layers, over the batch and with the boundaries (see
            ScalarMix).
        dropout: Share of the representations' values that become 0 in training.
        keep_sentence_boundaries: Whether representations include the boundaries, two more
            positions.
        scalar_mix_parameters: Fixed parameters of the mixes, one per layer before the softmax;
            None: trained parameters.
        stateful: Whether a batch starts from the states after the previous batch, as in AllenNLP.
    """

    def __init__(
        self,
        bilm: BiLM,
        num_output_representations: int = 1,
        *,
        requires_grad: bool = False,
        do_layer_norm: bool = False,
        dropout: float = 0.5,
        keep_sentence_boundaries: bool = False,
        scalar_mix_parameters: Sequence[float] | None = None,
        stateful: bool = False,
    ) -> None:
        super().__init__()
        self.bilm = bilm.requires_grad_(requires_grad)
        self.num_output_representations = num_output_representations
        self.keep_sentence_boundaries = keep_sentence_boundaries
        self.stateful = stateful
        self.dropout = nn.Dropout(dropout)
        for k in range(num_output_representations):
            mix = ScalarMix(
                bilm.config.n_output_layers,
                do_layer_norm,
                scalar_mix_parameters,
                trainable=scalar_mix_parameters is None,
            )
            self.add_module(f"scalar_mix_{k}", mix)
        self._packed = PackedBiLM()
        self._state: BiLMState | None = None

    def get_output_dim(self) -> int:
        """Return the dimension of a representation."""
        return self.bilm.config.output_dim

    def reset_states(self) -> None:
        """Start the next batch from the zero state."""
        self._state = None

    def forward(self, inputs: Tensor) -> dict[str, Tensor | list[Tensor]]:
        """Compute representations of a batch.

        Args:
            inputs: Character ids as `batch_to_ids` returns them, (..., sentence, token, characters)
                of integers, with rows of zeros after the end of a sentence.

        Returns:
            "elmo_representations", a list of `num_output_representations` tensors (..., sentence,
            token, dim) that are 0 after the end of a sentence, and "mask", (..., sentence, token)
            bool.

        Raises:
            TypeError: `inputs` is not a tensor of integers.
            ValueError: It has another shape, or values out of range.
        """
        ids = _check_ids(inputs, self.bilm.config.max_characters)
        use_one_thread_after_fork()
        batch = find_types(self.bilm, ids)
        layers = self._layers(batch)
        n_dropped = 0 if self.keep_sentence_boundaries else 1  # positions at each end
        steps = ids.shape[1] + 2 - 2 * n_dropped
        rows, chosen = _padded_rows(batch, steps, n_dropped)
        rows, chosen = rows.to(layers[0].device), chosen.to(layers[0].device)
        shape = (*inputs.shape[:-2], steps)

        def pad(mixed: Tensor) -> Tensor:
            padded = mixed.new_zeros(len(ids) * steps, mixed.shape[1]).index_copy(
                0, rows, mixed[chosen]
            )
            return cast("Tensor", self.dropout(padded.view(*shape, mixed.shape[1])))

        mask = torch.zeros(len(ids) * steps, dtype=torch.bool, device=rows.device)
        mask[rows] = True
        mixes = [
            self.get_submodule(f"scalar_mix_{k}") for k in range(self.num_output_representations)
        ]
        return {
            "elmo_representations": [pad(mix(layers)) for mix in mixes],
            "mask": mask.view(shape),
        }

    def _layers(self, batch: TypedBatch) -> list[Tensor]:
        # One zero state for all: the frozen network then computes common beginnings and ends once
        one_start = not self.stateful and self._state is None
        n_sentences = len(batch.lengths)
        if torch.is_grad_enabled() and any(
            parameter.requires_grad for parameter in self.bilm.parameters()
        ):
            self._packed.clear()
            start = self._start_state(n_sentences)
            layers, end = forward_differentiable(self.bilm, batch, start)
        else:
            start = self._start_state(min(n_sentences, 1) if one_start else n_sentences)
            layers, end = forward_frozen(self._packed.network(self.bilm), batch, start)
        if self.stateful:
            self._store_state(end)
        return layers

    def _start_state(self, n_sentences: int) -> BiLMState:
        """Return the stored states of the sentences; zero for sentences without one."""
        zero = self.bilm.zero_state(n_sentences)
        if self._state is not None:
            for part, carried in zip(zero, self._state, strict=True):
                part[:, :, : carried.shape[2]] = carried[:, :, :n_sentences]
        return zero

    def _store_state(self, end: BiLMState) -> None:
        n_sentences = end.hidden.shape[2]
        if self._state is not None:
            end = BiLMState(
                *(
                    torch.cat([new, old.to(new)[:, :, n_sentences:]], 2)
                    for new, old in zip(end, self._state, strict=True)
                )
            )
        self._state = end


def _padded_rows(batch: TypedBatch, steps: int, n_dropped: int) -> tuple[Tensor, Tensor]:
    """Return rows of a flattened padded batch of `steps`, and the positions they get, int64."""
    chosen = torch.nonzero(batch.is_token)[:, 0] if n_dropped else torch.arange(len(batch.rows))
    with_boundaries = steps + 2 * n_dropped
    rows = batch.rows[chosen]
    return rows // with_boundaries * steps + rows % with_boundaries - n_dropped, chosen


def _check_ids(inputs: Tensor, n_characters: int) -> Tensor:
    """Return the ids as (sentence, token, characters)."""
    if not isinstance(inputs, Tensor) or inputs.is_floating_point() or inputs.is_complex():
        raise TypeError(
            "Elmo takes a tensor of character ids; make it with elmo_cli.batch_to_ids(sentences)"
        )
    if inputs.ndim < 3 or inputs.shape[-1] != n_characters:
        raise ValueError(
            f"Elmo takes character ids of shape (sentence, token, {n_characters}), but these have "
            f"{tuple(inputs.shape)}; make them with "
            f"elmo_cli.batch_to_ids(sentences, {n_characters})"
        )
    return inputs.flatten(0, -3)

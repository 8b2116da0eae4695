"""Bidirectional language model (biLM) of Peters et al. (2018), section 3.

Its parts are a character CNN, highway layers, a projection, and two directions of stacked LSTMs.
Sentences are a ragged batch without padding: the token vectors of all sentences one after another,
and their lengths. The LSTM state is an argument and a result of `BiLM.forward`, never an attribute.
"""

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from elmo_cli.nn.characters import CharacterMapper, TokenMapper
from elmo_cli.nn.config import DIRECTIONS, BiLMConfig
from elmo_cli.nn.lstm import LstmCellWithProjection, LstmState, RunLstm, pack, run_packed
from elmo_cli.nn.parallel import RunBoth, in_sequence
from elmo_cli.nn.token_encoders import CharacterEncoder

__all__ = ["DIRECTIONS", "BiLM", "BiLMConfig", "BiLMState"]


class BiLMState(NamedTuple):
    """State of every LSTM for a batch of sequences."""

    hidden: Tensor  # (direction, layer, sequence, projection_dim)
    cell: Tensor  # (direction, layer, sequence, lstm_dim)

    @classmethod
    def zero(cls, config: BiLMConfig, n_sequences: int, like: Tensor) -> "BiLMState":
        """Return the zero state for a number of sequences, with the dtype and device of `like`."""
        shape = (DIRECTIONS, config.n_layers, n_sequences)
        return cls(
            like.new_zeros(*shape, config.projection_dim), like.new_zeros(*shape, config.lstm_dim)
        )

    def select(self, rows: Tensor) -> "BiLMState":
        """Return the states of some sequences.

        Args:
            rows: Indices of sequences, (row,) int64; they may repeat.
        """
        return BiLMState(self.hidden.index_select(2, rows), self.cell.index_select(2, rows))


class BiLM(nn.Module):
    """Bidirectional language model without its softmax.

    Args:
        config: Architecture of the network.
        encoder: Module that maps ids to token vectors; None: a `CharacterEncoder`.
        mapper: Object that maps tokens to ids; None: a `CharacterMapper`, as for published models.
    """

    def __init__(
        self,
        config: BiLMConfig,
        encoder: nn.Module | None = None,
        mapper: TokenMapper | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.mapper = mapper or CharacterMapper(config.max_characters)
        self.run_both: RunBoth = in_sequence
        self.character_encoder = encoder or CharacterEncoder(config)
        self.directions = nn.ModuleList(
            nn.ModuleList(
                LstmCellWithProjection(
                    config.projection_dim,
                    config.lstm_dim,
                    config.projection_dim,
                    projected=config.project_cell,
                    cell_clip=config.cell_clip,
                    projection_clip=config.projection_clip,
                )
                for _ in range(config.n_layers)
            )
            for _ in range(DIRECTIONS)
        )

    def lstms(self, direction: int) -> list[LstmCellWithProjection]:
        """Return the LSTMs of one direction, lowest layer first."""
        return [
            cast("LstmCellWithProjection", lstm)
            for lstm in cast("nn.ModuleList", self.directions[direction])
        ]

    def zero_state(self, n_sequences: int) -> BiLMState:
        """Return the zero state for a number of sequences."""
        return BiLMState.zero(self.config, n_sequences, next(self.parameters()))

    def forward_types(
        self,
        type_vectors: Tensor,
        token_to_type: Tensor,
        lengths: list[int],
        state: BiLMState,
        check: Callable[[], None] | None = None,  # noqa: ARG002  # FastBiLM calls it before each step
    ) -> tuple[Tensor, BiLMState]:
        """Compute the layers of tokens that are given as word types.

        Args:
            type_vectors: Layer-0 vectors of word types, (type, projection_dim).
            token_to_type: Row of `type_vectors` of each token, (token,) int64.
            lengths: Number of tokens of each sequence.
            state: State that each sequence starts from, or one state that several sequences start
                from.
            check: Called before each step by the fast network; what it raises ends the computation.

        Returns:
            The layers and the final states, as `forward` does. Where several sequences start from
            one state, final states are not part of the contract: the fast network does not compute
            them.
        """
        if state.hidden.shape[2] == 1 and len(lengths) > 1:
            state = state.select(
                torch.zeros(len(lengths), dtype=torch.long, device=state.hidden.device)
            )
        return self(type_vectors[token_to_type], lengths, state)  # type: ignore[no-any-return]  # nn.Module calls are untyped

    def forward(
        self, tokens: Tensor, lengths: list[int], state: BiLMState, run_lstm: RunLstm = run_packed
    ) -> tuple[Tensor, BiLMState]:
        """Compute the layers of sequences.

        The forward direction reads a sequence from its first token, the backward direction from its
        last.

        Args:
            tokens: Token vectors of the sequences one after another, (token, projection_dim).
            lengths: Number of tokens of each sequence.
            state: States that the sequences start from.
            run_lstm: Function that runs one LSTM over packed sequences.

        Returns:
            The layers, (layer, token, 2 * projection_dim), where layer 0 is the token vectors
            twice; and the final states.
        """
        packing = pack(lengths)
        order = torch.from_numpy(packing.order).to(tokens.device)
        layers = tokens.new_empty(self.config.n_output_layers, len(tokens), self.config.output_dim)
        layers[0] = tokens.repeat(1, DIRECTIONS)
        final = BiLMState(torch.empty_like(state.hidden), torch.empty_like(state.cell))
        for direction, rows in enumerate([packing.forward_rows, packing.backward_rows]):
            index = torch.from_numpy(rows).to(tokens.device)
            columns = slice(
                direction * self.config.projection_dim, (direction + 1) * self.config.projection_dim
            )
            inputs = tokens[index]
            for layer, lstm in enumerate(self.lstms(direction)):
                start = LstmState(
                    state.hidden[direction, layer, order], state.cell[direction, layer, order]
                )
                outputs, end = run_lstm(lstm, inputs, packing.batch_sizes, start)
                final.hidden[direction, layer, order] = end.hidden
                final.cell[direction, layer, order] = end.cell
                inputs = (
                    outputs + inputs if layer > 0 and self.config.use_skip_connections else outputs
                )
                layers[layer + 1, :, columns].index_copy_(0, index, inputs)
        return layers, final

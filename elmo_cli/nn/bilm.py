"""Bidirectional language model (biLM) of Peters et al. (2018), section 3.

Its parts are a character CNN, highway layers, a projection, and two directions of stacked LSTMs.
Sentences are a ragged batch without padding: the token vectors of all sentences one after another,
and their lengths. The LSTM state is an argument and a result of `BiLM.forward`, never an attribute.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from elmo_cli.nn.characters import N_CHARACTERS, PADDING, CharacterMapper, TokenMapper
from elmo_cli.nn.lstm import LstmCellWithProjection, LstmState, RunLstm, pack, run_packed
from elmo_cli.nn.parallel import RunBoth, in_sequence

ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}
DIRECTIONS = 2  # 0 forward, 1 backward, as in the weight files


@dataclass(frozen=True)
class BiLMConfig:
    """Architecture of a biLM, in the terms of options.json.

    Attributes:
        filters: Width and number of filters of each convolution.
        character_dim: Dimension of a character vector.
        n_highway: Number of highway layers.
        activation: Activation of the convolutions, "relu" or "tanh".
        max_characters: Characters per token, with the two word markers.
        projection_dim: Dimension of a token vector, and of the output of each direction.
        lstm_dim: Dimension of an LSTM cell.
        n_layers: Number of biLSTM layers.
        cell_clip: Limit of the absolute values of a cell; None: no limit.
        projection_clip: Limit of the absolute values of a projection; None: no limit.
        use_skip_connections: Whether a layer above the first adds its input to its output.
        project_characters: Whether the CNN output is projected; files omit the projection if the
            filters add up to projection_dim.
        project_cell: Whether the cell output is projected; files omit the projection if lstm_dim
            equals projection_dim.
    """

    filters: tuple[tuple[int, int], ...]
    character_dim: int
    n_highway: int
    activation: str
    max_characters: int
    projection_dim: int
    lstm_dim: int
    n_layers: int
    cell_clip: float | None
    projection_clip: float | None
    use_skip_connections: bool
    project_characters: bool = True
    project_cell: bool = True

    @property
    def n_filters(self) -> int:
        """Dimension of the output of the character CNN."""
        return sum(number for _, number in self.filters)

    @property
    def output_dim(self) -> int:
        """Dimension of a layer's vectors, the concatenation of both directions."""
        return DIRECTIONS * self.projection_dim

    @property
    def n_output_layers(self) -> int:
        """Number of layers that represent a token: the token layer and the biLSTM layers."""
        return self.n_layers + 1


class _Linear(nn.Linear):
    def reset_parameters(self) -> None:
        """Skip initialization, which takes long: weights are loaded, or set by training."""


class _Conv1d(nn.Conv1d):
    def reset_parameters(self) -> None:
        """Skip initialization, as `_Linear` does."""


class _Embedding(nn.Embedding):
    def reset_parameters(self) -> None:
        """Skip initialization, as `_Linear` does."""


class Highway(nn.Module):
    """Highway layer: gate * relu(transform(x)) + (1 - gate) * x.

    Weight files call the gate "carry".
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gate = _Linear(dim, dim)
        self.transform = _Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (token, dim) to (token, dim)."""
        gate = torch.sigmoid(self.gate(x))
        return gate * torch.relu(self.transform(x)) + (1 - gate) * x


class CharacterEncoder(nn.Module):
    """Context-independent token vectors (layer 0) from character ids.

    Args:
        config: Architecture of the network.
        n_characters: Rows of the character table.
        padding: Character id that pads a token.
    """

    def __init__(
        self, config: BiLMConfig, n_characters: int = 1 + N_CHARACTERS, padding: int = PADDING
    ) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.activation]
        self.widest = max(width for width, _ in config.filters)
        self.padding = padding
        # Row 0 is for masked positions
        self.characters = _Embedding(n_characters, config.character_dim)
        self.convolutions = nn.ModuleList(
            _Conv1d(config.character_dim, number, width) for width, number in config.filters
        )
        self.highways = nn.ModuleList(Highway(config.n_filters) for _ in range(config.n_highway))
        self.projection = (
            _Linear(config.n_filters, config.projection_dim)
            if config.project_characters
            else nn.Identity()
        )

    def forward(self, ids: Tensor) -> Tensor:
        """Encode character ids.

        Args:
            ids: (token, max_characters) int64.

        Returns:
            Token vectors, (token, projection_dim).
        """
        is_used = (ids != self.padding).any(dim=0)
        longest = int((is_used * torch.arange(1, 1 + len(is_used), device=ids.device)).amax())
        ids = ids[:, : longest + self.widest]  # exact: keeps one window of padding only, if any
        x = self.characters(ids).transpose(1, 2)  # (token, character_dim, characters)
        x = torch.cat(
            [self.activation(convolve(x).amax(dim=-1)) for convolve in self.convolutions], dim=-1
        )
        for highway in self.highways:
            x = highway(x)
        return self.projection(x)  # type: ignore[no-any-return]  # nn.Module calls are untyped


class WordCharacterEncoder(nn.Module):
    """Layer 0 of ELMoForManyLangs: projected concatenation of a word's vector and its spelling's.

    Args:
        config: Architecture of the network; without character vectors if character_dim is 0.
        n_words: Rows of the word table.
        word_dim: Dimension of a word vector; 0: no word vectors.
        n_characters: Rows of the character table.
        padding: Character id that pads a token.
    """

    def __init__(
        self, config: BiLMConfig, *, n_words: int, word_dim: int, n_characters: int, padding: int
    ) -> None:
        super().__init__()
        without_projection = replace(config, project_characters=False)
        self.words = _Embedding(n_words, word_dim) if word_dim else None
        self.spelling = (
            CharacterEncoder(without_projection, n_characters, padding)
            if config.character_dim
            else None
        )
        self.projection = _Linear(word_dim + config.n_filters, config.projection_dim)

    def forward(self, ids: Tensor) -> Tensor:
        """Encode ids of a word and its characters.

        Args:
            ids: (token, 1 + max_characters) int64, the word's id first.

        Returns:
            Token vectors, (token, projection_dim).
        """
        words = [self.words(ids[:, 0])] if self.words is not None else []
        spellings = [self.spelling(ids[:, 1:])] if self.spelling is not None else []
        return self.projection(torch.cat(words + spellings, dim=-1))  # type: ignore[no-any-return]  # nn.Module calls are untyped


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

"""The biLM of Peters et al. (2018), section 3: character CNN, highway, projection, two directions of stacked LSTMs.

Sentences come as a ragged batch: the token vectors of all sentences one after another, and their lengths. Nothing is padded.
The state of the LSTMs is an argument and a result of `BiLM.forward`, never an attribute.
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
    """The architecture, in the terms of options.json."""

    filters: tuple[tuple[int, int], ...]  # (width, number of filters)
    character_dim: int
    n_highway: int
    activation: str  # of the convolutions: "relu" or "tanh"
    max_characters: int
    projection_dim: int  # of a token vector, and of each direction's output
    lstm_dim: int  # of a cell
    n_layers: int
    cell_clip: float | None
    projection_clip: float | None
    use_skip_connections: bool
    project_characters: bool = True  # absent from a file where the filters already add up to projection_dim
    project_cell: bool = True  # absent from a file where lstm_dim equals projection_dim

    @property
    def n_filters(self) -> int:
        """Width of the character CNN's output."""
        return sum(number for _, number in self.filters)

    @property
    def output_dim(self) -> int:
        """Width of a layer's vectors: both directions beside each other."""
        return DIRECTIONS * self.projection_dim

    @property
    def n_output_layers(self) -> int:
        """Layers a token is represented by: the token layer and each biLSTM layer."""
        return self.n_layers + 1


class _Linear(nn.Linear):
    def reset_parameters(self) -> None:
        """Nothing: weights are loaded, or drawn by who trains, and drawing them here would take longer than loading."""


class _Conv1d(nn.Conv1d):
    def reset_parameters(self) -> None:
        """Nothing, as for `_Linear`."""


class _Embedding(nn.Embedding):
    def reset_parameters(self) -> None:
        """Nothing, as for `_Linear`."""


class Highway(nn.Module):
    """One highway layer: gate * relu(transform(x)) + (1 - gate) * x. The weight files call the gate "carry"."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gate = _Linear(dim, dim)
        self.transform = _Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (token, dim) to (token, dim)."""
        gate = torch.sigmoid(self.gate(x))
        return gate * torch.relu(self.transform(x)) + (1 - gate) * x


class CharacterEncoder(nn.Module):
    """Token vectors from character ids: the context-independent layer 0 of the biLM."""

    def __init__(self, config: BiLMConfig, n_characters: int = 1 + N_CHARACTERS, padding: int = PADDING) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.activation]
        self.widest = max(width for width, _ in config.filters)
        self.padding = padding
        self.characters = _Embedding(n_characters, config.character_dim)  # row 0 of the published table: masked
        self.convolutions = nn.ModuleList(_Conv1d(config.character_dim, number, width) for width, number in config.filters)
        self.highways = nn.ModuleList(Highway(config.n_filters) for _ in range(config.n_highway))
        self.projection = _Linear(config.n_filters, config.projection_dim) if config.project_characters else nn.Identity()

    def forward(self, ids: Tensor) -> Tensor:
        """Encode character ids (token, max_characters) int64 as (token, projection_dim)."""
        used = (ids != self.padding).any(dim=0)
        longest = int((used * torch.arange(1, 1 + len(used), device=ids.device)).amax())
        ids = ids[:, : longest + self.widest]  # exact: one window of padding alone, where there is one, survives the maximum
        x = self.characters(ids).transpose(1, 2)  # (token, character_dim, characters)
        x = torch.cat([self.activation(convolve(x).amax(dim=-1)) for convolve in self.convolutions], dim=-1)
        for highway in self.highways:
            x = highway(x)
        return self.projection(x)  # type: ignore[no-any-return]  # nn.Module calls are untyped


class WordCharacterEncoder(nn.Module):
    """Layer 0 of ELMoForManyLangs: a vector of the word itself beside that of its characters, projected together; either may be absent."""

    def __init__(self, config: BiLMConfig, *, n_words: int, word_dim: int, n_characters: int, padding: int) -> None:
        super().__init__()
        spelled = replace(config, project_characters=False)
        self.words = _Embedding(n_words, word_dim) if word_dim else None
        self.spelling = CharacterEncoder(spelled, n_characters, padding) if config.character_dim else None
        self.projection = _Linear(word_dim + config.n_filters, config.projection_dim)

    def forward(self, ids: Tensor) -> Tensor:
        """Encode ids (token, 1 + max_characters) int64, a word's and its characters', as (token, projection_dim)."""
        words = [self.words(ids[:, 0])] if self.words is not None else []
        spellings = [self.spelling(ids[:, 1:])] if self.spelling is not None else []
        return self.projection(torch.cat(words + spellings, dim=-1))  # type: ignore[no-any-return]  # nn.Module calls are untyped


class BiLMState(NamedTuple):
    """State of every LSTM for a batch of sequences."""

    hidden: Tensor  # (direction, layer, sequence, projection_dim)
    cell: Tensor  # (direction, layer, sequence, lstm_dim)

    @classmethod
    def zero(cls, config: BiLMConfig, n_sequences: int, like: Tensor) -> "BiLMState":
        """That nothing has been read into, of the type and on the device of `like`."""
        shape = (DIRECTIONS, config.n_layers, n_sequences)
        return cls(like.new_zeros(*shape, config.projection_dim), like.new_zeros(*shape, config.lstm_dim))

    def select(self, rows: Tensor) -> "BiLMState":
        """The states of these sequences, (row,) int64; a row may be named more than once."""
        return BiLMState(self.hidden.index_select(2, rows), self.cell.index_select(2, rows))


class BiLM(nn.Module):
    """Bidirectional language model without its softmax: token vectors in, the vectors of every layer out.

    Token vectors are the encoder's, from the ids that the mapper gives: of bytes, as published, unless others are passed.
    """

    def __init__(self, config: BiLMConfig, encoder: nn.Module | None = None, mapper: TokenMapper | None = None) -> None:
        super().__init__()
        self.config = config
        self.mapper = mapper or CharacterMapper(config.max_characters)
        self.both: RunBoth = in_sequence
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
        """The LSTMs of one direction, the lowest first."""
        return [cast("LstmCellWithProjection", lstm) for lstm in cast("nn.ModuleList", self.directions[direction])]

    def zero_state(self, n_sequences: int) -> BiLMState:
        """The state that nothing has been read into."""
        return BiLMState.zero(self.config, n_sequences, next(self.parameters()))

    def read(
        self,
        types: Tensor,
        places: Tensor,
        lengths: list[int],
        state: BiLMState,
        check: Callable[[], None] | None = None,  # noqa: ARG002  # FastBiLM calls it between steps
    ) -> tuple[Tensor, BiLMState]:
        """As `forward`, the tokens given as vectors of word types (type, projection_dim) and the type of each token (total,) int64.

        `state` is that of each sequence, or one state in which several sequences start. In the second case
        the final states are not part of the contract: the fast network does not compute them.
        """
        if state.hidden.shape[2] == 1 and len(lengths) > 1:
            state = state.select(torch.zeros(len(lengths), dtype=torch.long, device=state.hidden.device))
        return self(types[places], lengths, state)  # type: ignore[no-any-return]  # nn.Module calls are untyped

    def forward(self, tokens: Tensor, lengths: list[int], state: BiLMState, run_lstm: RunLstm = run_packed) -> tuple[Tensor, BiLMState]:
        """Read sequences from `state`: the forward direction from their first token on, the backward one from their last.

        `tokens` (total, projection_dim) are the sequences' token vectors one after another, `lengths` their numbers of tokens.
        Returns the layers (layer, total, 2 * projection_dim), layer 0 being the token vectors twice, and the final states.
        """
        packing = pack(lengths)
        order = torch.from_numpy(packing.order).to(tokens.device)
        layers = tokens.new_empty(self.config.n_output_layers, len(tokens), self.config.output_dim)
        layers[0] = tokens.repeat(1, DIRECTIONS)
        final = BiLMState(torch.empty_like(state.hidden), torch.empty_like(state.cell))
        for direction, rows in enumerate([packing.forward_rows, packing.backward_rows]):
            index = torch.from_numpy(rows).to(tokens.device)
            columns = slice(direction * self.config.projection_dim, (direction + 1) * self.config.projection_dim)
            inputs = tokens[index]
            for layer, lstm in enumerate(self.lstms(direction)):
                start = LstmState(state.hidden[direction, layer, order], state.cell[direction, layer, order])
                outputs, end = run_lstm(lstm, inputs, packing.batch_sizes, start)
                final.hidden[direction, layer, order] = end.hidden
                final.cell[direction, layer, order] = end.cell
                inputs = outputs + inputs if layer > 0 and self.config.use_skip_connections else outputs
                layers[layer + 1, :, columns].index_copy_(0, index, inputs)
        return layers, final

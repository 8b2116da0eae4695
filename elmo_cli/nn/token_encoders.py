"""Token layer of a biLM: character CNN, highways and projection, or also word vectors."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from elmo_cli.nn.characters import N_CHARACTERS, PADDING
from elmo_cli.nn.config import BiLMConfig

ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}


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

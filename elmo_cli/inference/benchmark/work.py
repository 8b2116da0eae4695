"""Workload of the benchmark: model, text, and number of arithmetic operations."""

import random
import string
from pathlib import Path
from typing import NamedTuple

import torch

from elmo_cli.models.files import ModelFiles
from elmo_cli.models.formats.options_json import parse_options
from elmo_cli.nn.bilm import BiLM, BiLMConfig
from elmo_cli.nn.init import new_bilm
from elmo_cli.nn.presets import PRESETS

Tokens = list[str]


class Work(NamedTuple):
    """Model, sentences, device and threads of a benchmark."""

    model: ModelFiles | None  # None: random weights of the shape `preset`
    preset: str
    sentences: list[Tokens]
    device: str
    threads: int | None

    def config(self) -> BiLMConfig:
        """Return the architecture."""
        return (
            self.model.config()
            if self.model
            else parse_options(PRESETS[self.preset], Path(self.preset))
        )

    def load(self) -> BiLM:
        """Return the network."""
        if self.model:
            return self.model.load()
        return (
            new_bilm(self.config(), torch.Generator().manual_seed(0)).eval().requires_grad_(False)
        )

    @property
    def tokens(self) -> int:
        """Number of tokens of all sentences."""
        return sum(map(len, self.sentences))


def lstm_work(config: BiLMConfig) -> int:
    """Return the nominal operations for a token: 2 for each weight of every LSTM.

    Operations that an implementation avoids are counted too.
    """
    gates = 4 * config.lstm_dim * 2 * config.projection_dim
    projection = config.lstm_dim * config.projection_dim if config.project_cell else 0
    return 2 * 2 * config.n_layers * (gates + projection)


def encoder_work(config: BiLMConfig, word: str) -> int:
    """Return the operations for a word type: 2 for each weight.

    The weights of a convolution count once for each character and marker of the word.
    """
    places = min(len(word.encode()) + 2, config.max_characters)
    convolutions = (
        sum(width * config.character_dim * number for width, number in config.filters) * places
    )
    highways = config.n_highway * 2 * config.n_filters**2
    projection = config.n_filters * config.projection_dim if config.project_characters else 0
    return 2 * (convolutions + highways + projection)


def made_up_text(n_tokens: int, seed: int = 0) -> list[Tokens]:
    """Return random sentences of English-like lengths, with Zipf-like word frequencies."""
    draw = random.Random(seed)  # noqa: S311  # not for security
    words = [
        "".join(draw.choices(string.ascii_lowercase, k=min(14, 2 + int(draw.expovariate(0.25)))))
        for _ in range(20_000)
    ]
    weights = [1 / (rank + 3) for rank in range(len(words))]
    sentences: list[Tokens] = []
    while n_tokens > 0:
        length = min(80, 1 + int(draw.gammavariate(1.7, 8)), n_tokens)
        sentences.append(draw.choices(words, weights, k=length))
        n_tokens -= length
    return sentences

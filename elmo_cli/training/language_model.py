"""What is trained: a biLM and its softmax, from random numbers or from a model, and how the pieces run over a window."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from elmo_cli.nn.bilm import DIRECTIONS, BiLM, BiLMState
from elmo_cli.nn.init import normal
from elmo_cli.nn.lstm import LstmState
from elmo_cli.training.lstm import train_layer
from elmo_cli.training.softmax import Softmax


class LanguageModel(nn.Module):
    """The biLM and the softmax that both of its directions share."""

    def __init__(self, bilm: BiLM, softmax: Softmax) -> None:
        super().__init__()
        self.bilm = bilm
        self.softmax = softmax

    def word_parameters(self) -> list[nn.Parameter]:
        """Those of the token layer."""
        return list(self.bilm.character_encoder.parameters())

    def direction_parameters(self, direction: int) -> list[nn.Parameter]:
        """Those of one direction's LSTMs."""
        return [parameter for lstm in self.bilm.lstms(direction) for parameter in lstm.parameters()]

    def softmax_parameters(self) -> list[nn.Parameter]:
        """Weight and bias of the output layer."""
        return list(self.softmax.parameters())


def new_softmax(n_words: int, dim: int, generator: torch.Generator) -> Softmax:
    """An output layer of random weights."""
    softmax = Softmax(n_words, dim)
    with torch.no_grad():
        normal(softmax.weight, dim, generator)
        softmax.bias.zero_()
    return softmax


class Dropout(NamedTuple):
    """Dropout at the inputs of every layer and at the last output, as bilm-tf's; `seed` makes a step's masks its own."""

    share: float
    seed: int

    def masks(self, direction: int, device: torch.device) -> "DropoutMasks":
        """The masks of one direction, drawn one after another."""
        return DropoutMasks(self.share, torch.Generator(device).manual_seed(DIRECTIONS * self.seed + direction))


class DropoutMasks(NamedTuple):
    """Draws one mask after another."""

    share: float
    generator: torch.Generator

    def __call__(self, x: Tensor) -> Tensor:
        """Some values become 0, the others grow to make up for them."""
        if self.share == 0:
            return x
        kept = torch.rand(x.shape, generator=self.generator, device=x.device) >= self.share
        return x * kept * (1 / (1 - self.share))


def run_direction(
    bilm: BiLM, direction: int, inputs: Tensor, state: BiLMState, reset: Tensor | None, dtype: torch.dtype, dropout: Dropout
) -> tuple[Tensor, LstmState]:
    """The top layer of one direction over a window, (step, row, projection_dim), and its states, (layer, row, dim) each."""
    x, states = inputs, []
    drop = dropout.masks(direction, inputs.device)
    for layer, lstm in enumerate(bilm.lstms(direction)):
        start = LstmState(state.hidden[direction, layer], state.cell[direction, layer])
        outputs, end = train_layer(lstm, drop(x), start, reset, dtype)
        x = outputs + x if layer > 0 and bilm.config.use_skip_connections else outputs
        states.append(end)
    return drop(x), LstmState(*(torch.stack(parts) for parts in zip(*states, strict=True)))

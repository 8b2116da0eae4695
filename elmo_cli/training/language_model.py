"""Language model for training: a biLM with its softmax, and one direction's run over a window."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from elmo_cli.nn.bilm import DIRECTIONS, BiLM, BiLMState
from elmo_cli.nn.init import normal
from elmo_cli.nn.lstm import LstmState
from elmo_cli.training.lstm import train_layer
from elmo_cli.training.softmax import Softmax


class LanguageModel(nn.Module):
    """A biLM and the softmax that both of its directions share.

    Args:
        bilm: The biLM.
        softmax: The softmax.
    """

    def __init__(self, bilm: BiLM, softmax: Softmax) -> None:
        super().__init__()
        self.bilm = bilm
        self.softmax = softmax

    def word_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the token layer."""
        return list(self.bilm.character_encoder.parameters())

    def direction_parameters(self, direction: int) -> list[nn.Parameter]:
        """Return the parameters of one direction's LSTMs."""
        return [parameter for lstm in self.bilm.lstms(direction) for parameter in lstm.parameters()]

    def softmax_parameters(self) -> list[nn.Parameter]:
        """Return the weight and the bias of the softmax."""
        return list(self.softmax.parameters())


def new_softmax(n_words: int, dim: int, generator: torch.Generator) -> Softmax:
    """Return a softmax of random weights.

    Args:
        n_words: Size of the vocabulary.
        dim: Dimension of the input.
        generator: Source of the random numbers.
    """
    softmax = Softmax(n_words, dim)
    with torch.no_grad():
        normal(softmax.weight, dim, generator)
        softmax.bias.zero_()
    return softmax


class Dropout(NamedTuple):
    """Dropout of the inputs of every layer and of the last output, as in bilm-tf.

    Attributes:
        share: Share of the values that become 0.
        seed: Seed of the masks of a step.
    """

    share: float
    seed: int

    def masks(self, direction: int, device: torch.device) -> "DropoutMasks":
        """Return the masks of one direction."""
        return DropoutMasks(
            self.share, torch.Generator(device).manual_seed(DIRECTIONS * self.seed + direction)
        )


class DropoutMasks(NamedTuple):
    """Sequence of dropout masks."""

    share: float
    generator: torch.Generator

    def __call__(self, x: Tensor) -> Tensor:
        """Set some values to 0, and scale the others to keep the mean."""
        if self.share == 0:
            return x
        kept = torch.rand(x.shape, generator=self.generator, device=x.device) >= self.share
        return x * kept * (1 / (1 - self.share))


def run_direction(
    bilm: BiLM,
    direction: int,
    inputs: Tensor,
    state: BiLMState,
    reset: Tensor | None,
    dtype: torch.dtype,
    dropout: Dropout,
) -> tuple[Tensor, LstmState]:
    """Run one direction over a window.

    Args:
        bilm: The network.
        direction: 0 forward, 1 backward.
        inputs: Token vectors, (step, row, projection_dim).
        state: State before the window.
        reset: Whether the state is set to zero before a step, (step, row) bool; None: never.
        dtype: Type of the products.
        dropout: Dropout of the LSTMs.

    Returns:
        Output of the top layer, (step, row, projection_dim), and the states after the window,
        (layer, row, dim) each.
    """
    x, states = inputs, []
    drop = dropout.masks(direction, inputs.device)
    for layer, lstm in enumerate(bilm.lstms(direction)):
        start = LstmState(state.hidden[direction, layer], state.cell[direction, layer])
        outputs, end = train_layer(lstm, drop(x), start, reset, dtype)
        x = outputs + x if layer > 0 and bilm.config.use_skip_connections else outputs
        states.append(end)
    return drop(x), LstmState(*(torch.stack(parts) for parts in zip(*states, strict=True)))

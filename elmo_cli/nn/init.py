"""Random initialization of a biLM's weights for training."""

import math

import torch
from torch import Tensor

from elmo_cli.nn.bilm import DIRECTIONS, BiLM, BiLMConfig

CLOSED_GATE = -2.0  # a new highway is near the identity (Srivastava et al. 2015, section 2.2)
FORGET_BIAS = 1.0


def new_bilm(config: BiLMConfig, generator: torch.Generator) -> BiLM:
    """Return a biLM of random weights, scaled so that each part keeps the variance of its input.

    Args:
        config: Architecture of the network.
        generator: Source of the random numbers.

    Returns:
        The network, float32.
    """
    bilm = BiLM(config)
    with torch.no_grad():
        for name, parameter in bilm.named_parameters():
            if name.endswith("bias"):
                parameter.fill_(CLOSED_GATE if name.endswith("gate.bias") else 0)
            elif name.endswith("characters.weight"):
                # Row 0 is for masked positions
                parameter.uniform_(-1, 1, generator=generator)[0] = 0
            else:
                is_lstm = name.startswith("directions")
                normal(
                    parameter,
                    sum(parameter.shape) / 2 if is_lstm else parameter[0].numel(),
                    generator,
                )
        for lstm in (lstm for direction in range(DIRECTIONS) for lstm in bilm.lstms(direction)):
            lstm.bias.chunk(4)[2].fill_(FORGET_BIAS)
    return bilm


def normal(weight: Tensor, fan: float, generator: torch.Generator) -> None:
    """Fill a weight from a normal distribution.

    Args:
        weight: The tensor to fill.
        fan: Inverse of the variance.
        generator: Source of the random numbers.
    """
    weight.normal_(0, 1 / math.sqrt(fan), generator=generator)

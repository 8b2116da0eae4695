"""The gradient of a window of text on two threads, half of its words through the CNN each, then a direction each."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from elmo_cli.nn.bilm import DIRECTIONS, BiLMState, CharacterEncoder
from elmo_cli.nn.lstm import LstmState
from elmo_cli.nn.parallel import RunBoth
from elmo_cli.training.bptt import BpttBatch
from elmo_cli.training.char_cnn import encode_words
from elmo_cli.training.language_model import Dropout, LanguageModel, run_direction
from elmo_cli.training.softmax import Candidates, cross_entropy


class Words(NamedTuple):
    """The distinct words of a window, in two halves, each by rising length."""

    halves: list[Tensor]  # types
    places: Tensor  # (direction, step, row): where in the halves' concatenation a token's word is


class StepOptions(NamedTuple):
    """What a step is computed with, besides its data."""

    candidates: Candidates
    dropout: Dropout
    dtype: torch.dtype
    loss_scale: float = 1.0
    softmax_alone: bool = False  # it learns; the biLM is read, and its parameters' gradients stay as they are


CharacterRows = Callable[[Tensor], tuple[Tensor, Tensor]]  # types -> character ids, lengths


def distinct_words(types: Tensor, lengths: Callable[[Tensor], Tensor]) -> Words:
    """The distinct words among `types`, and the place of each of `types`."""
    distinct, inverse = torch.unique(types, return_inverse=True)
    by_length = lengths(distinct).argsort()
    if len(by_length) == 1:
        by_length = by_length.repeat(2)  # a half must not be empty
    first, second = by_length[0::2], by_length[1::2]
    order = torch.cat([first, second])
    place = torch.empty(len(distinct), dtype=torch.long, device=types.device)
    place[order] = torch.arange(len(order), device=types.device)
    return Words([distinct[first], distinct[second]], place[inverse])


def fill_gradients(
    model: LanguageModel, window: BpttBatch, state: BiLMState, rows: CharacterRows, options: StepOptions, both: RunBoth
) -> tuple[Tensor, BiLMState]:
    """Set every parameter's gradient to that of the mean of both directions' losses; if `options` say so, the softmax's alone.

    Returns the losses (direction,) in nats and the state after the window.
    """
    words, bilm_learns = distinct_words(window.types, lambda types: rows(types)[1]), not options.softmax_alone
    encoder, softmax = cast("CharacterEncoder", model.bilm.character_encoder), model.softmax_parameters()

    def encode(half: int) -> Tensor:
        with torch.set_grad_enabled(bilm_learns):  # of this thread
            return encode_words(encoder, *rows(words.halves[half]), options.dtype)

    def direction(d: int) -> tuple[Tensor, LstmState, tuple[Tensor, ...]]:
        leaf = table.detach().requires_grad_(bilm_learns)
        reset = None if window.reset is None else window.reset[d]
        with torch.set_grad_enabled(bilm_learns):
            inputs = functional.embedding(words.places[d], leaf)
            hidden, end = run_direction(model.bilm, d, inputs, state, reset, options.dtype, options.dropout)
        loss = cross_entropy(hidden.flatten(0, 1), window.targets[d].flatten(), model.softmax, options.candidates, options.dtype)
        parameters = [*softmax, *([leaf, *model.direction_parameters(d)] if bilm_learns else [])]
        return loss.detach(), end, torch.autograd.grad(loss * (options.loss_scale / DIRECTIONS), parameters)

    vectors = both(encode)
    table = torch.cat([half.detach() for half in vectors])
    (loss_0, state_0, grads_0), (loss_1, state_1, grads_1) = both(direction)
    shared = len(softmax)
    _assign(softmax, [a + b for a, b in zip(grads_0[:shared], grads_1[:shared], strict=True)])
    if bilm_learns:
        wanted = model.word_parameters()
        upstream = torch.split(grads_0[shared] + grads_1[shared], [len(half) for half in vectors])
        by_half = both(lambda half: torch.autograd.grad(vectors[half], wanted, upstream[half]))
        _assign(wanted, [a + b for a, b in zip(*by_half, strict=True)])
        for d, gradients in enumerate((grads_0, grads_1)):
            _assign(model.direction_parameters(d), gradients[shared + 1 :])
    return torch.stack([loss_0, loss_1]), BiLMState(*(torch.stack(pair) for pair in zip(state_0, state_1, strict=True)))


def _assign(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient

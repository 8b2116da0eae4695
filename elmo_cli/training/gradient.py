"""Gradient of a window of text, computed on two threads.

Each thread first encodes half of the window's words and then runs one direction.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from elmo_cli.nn.bilm import DIRECTIONS, BiLMState
from elmo_cli.nn.lstm import LstmState
from elmo_cli.nn.parallel import RunBoth
from elmo_cli.nn.token_encoders import CharacterEncoder
from elmo_cli.training.bptt import BpttBatch
from elmo_cli.training.char_cnn import encode_words
from elmo_cli.training.language_model import Dropout, LanguageModel, run_direction
from elmo_cli.training.softmax import Candidates, cross_entropy


class DistinctWords(NamedTuple):
    """The distinct words of a window, in two halves, each sorted by length."""

    halves: list[Tensor]  # (word,) int64 each, types
    token_to_word: Tensor  # (direction, step, row) int64, index into the concatenated halves


class StepOptions(NamedTuple):
    """Options of a training step.

    Attributes:
        candidates: Words that the softmax is computed over.
        dropout: Dropout of the LSTMs.
        dtype: Type of the products.
        loss_scale: Factor of the loss.
        softmax_alone: Whether only the softmax is trained; the gradients of the biLM are then left
            unchanged.
    """

    candidates: Candidates
    dropout: Dropout
    dtype: torch.dtype
    loss_scale: float = 1.0
    softmax_alone: bool = False


CharacterRows = Callable[[Tensor], tuple[Tensor, Tensor]]  # types -> character ids, lengths


def distinct_words(types: Tensor, lengths: Callable[[Tensor], Tensor]) -> DistinctWords:
    """Return the distinct words of a window.

    Args:
        types: Types of the tokens, int64.
        lengths: Function that returns the lengths of types.

    Returns:
        The words in two halves, and the index of each token's word.
    """
    distinct, inverse = torch.unique(types, return_inverse=True)
    by_length = lengths(distinct).argsort()
    if len(by_length) == 1:
        by_length = by_length.repeat(2)  # a half must not be empty
    first, second = by_length[0::2], by_length[1::2]
    order = torch.cat([first, second])
    position = torch.empty(len(distinct), dtype=torch.long, device=types.device)
    position[order] = torch.arange(len(order), device=types.device)
    return DistinctWords([distinct[first], distinct[second]], position[inverse])


def fill_gradients(
    model: LanguageModel,
    window: BpttBatch,
    state: BiLMState,
    rows: CharacterRows,
    options: StepOptions,
    run_both: RunBoth,
) -> tuple[Tensor, BiLMState]:
    """Set each parameter's gradient to that of the mean loss of both directions.

    With `softmax_alone`, only the gradients of the softmax are set.

    Args:
        model: The model.
        window: The window.
        state: State before the window.
        rows: Function from types to character ids and lengths.
        options: Options of the step.
        run_both: Function that runs two halves of the work.

    Returns:
        Losses in nats, (direction,), and the state after the window.
    """
    words, bilm_learns = (
        distinct_words(window.types, lambda types: rows(types)[1]),
        not options.softmax_alone,
    )
    encoder, softmax = (
        cast("CharacterEncoder", model.bilm.character_encoder),
        model.softmax_parameters(),
    )

    def encode(half: int) -> Tensor:
        with torch.set_grad_enabled(bilm_learns):  # per thread
            return encode_words(encoder, *rows(words.halves[half]), options.dtype)

    def direction(d: int) -> tuple[Tensor, LstmState, tuple[Tensor, ...]]:
        leaf = table.detach().requires_grad_(bilm_learns)
        reset = None if window.reset is None else window.reset[d]
        with torch.set_grad_enabled(bilm_learns):
            inputs = functional.embedding(words.token_to_word[d], leaf)
            hidden, end = run_direction(
                model.bilm, d, inputs, state, reset, options.dtype, options.dropout
            )
        loss = cross_entropy(
            hidden.flatten(0, 1),
            window.targets[d].flatten(),
            model.softmax,
            options.candidates,
            options.dtype,
        )
        parameters = [*softmax, *([leaf, *model.direction_parameters(d)] if bilm_learns else [])]
        return (
            loss.detach(),
            end,
            torch.autograd.grad(loss * (options.loss_scale / DIRECTIONS), parameters),
        )

    vectors = run_both(encode)
    table = torch.cat([half.detach() for half in vectors])
    (loss_0, state_0, grads_0), (loss_1, state_1, grads_1) = run_both(direction)
    shared = len(softmax)
    _assign(softmax, [a + b for a, b in zip(grads_0[:shared], grads_1[:shared], strict=True)])
    if bilm_learns:
        wanted = model.word_parameters()
        upstream = torch.split(grads_0[shared] + grads_1[shared], [len(half) for half in vectors])
        by_half = run_both(lambda half: torch.autograd.grad(vectors[half], wanted, upstream[half]))
        _assign(wanted, [a + b for a, b in zip(*by_half, strict=True)])
        for d, gradients in enumerate((grads_0, grads_1)):
            _assign(model.direction_parameters(d), gradients[shared + 1 :])
    return torch.stack([loss_0, loss_1]), BiLMState(
        *(torch.stack(pair) for pair in zip(state_0, state_1, strict=True))
    )


def _assign(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient

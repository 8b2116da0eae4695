"""The gradient of a training step is compared with autograd of the network, in float64."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from elmo_cli.nn.bilm import BiLMConfig, BiLMState
from elmo_cli.nn.characters import CharacterMapper
from elmo_cli.nn.init import new_bilm
from elmo_cli.nn.lstm import LstmCellWithProjection, LstmState
from elmo_cli.nn.parallel import InThreads, in_sequence
from elmo_cli.training.bptt import BpttBatch
from elmo_cli.training.gradient import StepOptions, fill_gradients
from elmo_cli.training.language_model import Dropout, LanguageModel, new_softmax
from elmo_cli.training.lstm import run_window_by_definition, train_layer
from elmo_cli.training.softmax import Candidates, all_words, log_expected_counts, log_uniform_words
from tests.conftest import n_threads

STEPS, ROWS, WORDS = 5, 4, 9
TYPES = ["<S>", "</S>", "<UNK>", "a", "bb", "é", "long" * 11, "over-long" * 9, "it's", "𝔘"]


def make_lstm(clip: float | None, *, projected: bool = True) -> LstmCellWithProjection:
    torch.manual_seed(0)
    size, width = (6, 11) if projected else (11, 11)
    lstm = LstmCellWithProjection(
        size, width, size, projected=projected, cell_clip=clip, projection_clip=clip
    )
    with torch.no_grad():
        for parameter in lstm.parameters():
            parameter.normal_(0, 0.6)
    return lstm


def results(
    layer: Callable, lstm: LstmCellWithProjection, inputs: Tensor, reset: Tensor | None
) -> list[Tensor]:
    size, width = lstm.input_size, lstm.weight.shape[0] // 4
    torch.manual_seed(1)
    state = LstmState(
        torch.randn(ROWS, size, dtype=inputs.dtype), torch.randn(ROWS, width, dtype=inputs.dtype)
    )
    outputs, last = layer(lstm, inputs, state, reset)
    direction = torch.cos(torch.arange(outputs.numel(), dtype=inputs.dtype)).view_as(outputs)
    wanted = [inputs, *lstm.parameters()]
    return [
        outputs.detach(),
        *last,
        *torch.autograd.grad((outputs.to(inputs.dtype) * direction).sum(), wanted),
    ]


@pytest.mark.parametrize("clip", [0.4, 3.0, None])
@pytest.mark.parametrize("with_reset", [False, True])
def test_the_layer_and_its_gradient_are_those_of_the_definition(
    clip: float | None, with_reset: bool
):
    lstm = make_lstm(clip).double()
    inputs = torch.randn(STEPS, ROWS, 6, dtype=torch.float64, requires_grad=True)
    reset = torch.rand(STEPS, ROWS) < 0.3 if with_reset else None
    expected = results(run_window_by_definition, lstm, inputs, reset)
    found = results(lambda *a: train_layer(*a, torch.float64), lstm, inputs, reset)
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_a_layer_without_projection_trains_too():
    lstm = make_lstm(3.0, projected=False).double()
    inputs = torch.randn(STEPS, ROWS, 11, dtype=torch.float64, requires_grad=True)
    assert len(results(lambda *a: train_layer(*a, torch.float64), lstm, inputs, None)) == 6


def test_bfloat16_stays_near_float32():
    lstm = make_lstm(3.0)
    inputs = torch.randn(STEPS, ROWS, 6, requires_grad=True)
    reset = torch.rand(STEPS, ROWS) < 0.3
    expected = results(run_window_by_definition, lstm, inputs, reset)
    found = results(lambda *a: train_layer(*a, torch.bfloat16), lstm, inputs, reset)
    assert (
        max(float((a - b.float()).norm() / a.norm()) for a, b in zip(expected, found, strict=True))
        < 3e-2
    )


@pytest.fixture
def model() -> LanguageModel:
    config = BiLMConfig(
        filters=((1, 3), (2, 4), (3, 5)), character_dim=4, n_highway=1, activation="tanh",
        max_characters=50, projection_dim=6,
        lstm_dim=8, n_layers=2, cell_clip=0.5, projection_clip=0.5, use_skip_connections=True,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    return LanguageModel(new_bilm(config, generator), new_softmax(WORDS, 6, generator)).double()


def rows_of(types: Tensor) -> tuple[Tensor, Tensor]:
    ids = torch.cat([CharacterMapper().tokens_to_ids(TYPES), torch.full((len(TYPES), 2), 261)], 1)[
        types
    ]
    return ids.int(), (ids != 261).sum(1)


def make_window() -> BpttBatch:
    torch.manual_seed(2)
    shape = (2, STEPS, ROWS)
    return BpttBatch(
        torch.randint(len(TYPES), shape), torch.randint(WORDS, shape), torch.rand(shape) < 0.3
    )


def defined_loss(model: LanguageModel, window: BpttBatch, candidates: Candidates) -> Tensor:
    """The step's loss, from the network that `embed` runs and plain cross entropy."""
    table = model.bilm.character_encoder(CharacterMapper().tokens_to_ids(TYPES))
    losses = []
    for direction in range(2):
        x = table[window.types[direction]]
        for layer, lstm in enumerate(model.bilm.lstms(direction)):
            zero = LstmState(x.new_zeros(ROWS, 6), x.new_zeros(ROWS, 8))
            outputs, _ = run_window_by_definition(lstm, x, zero, window.reset[direction])
            x = outputs + x if layer else outputs
        targets = window.targets[direction].flatten()
        logits = (
            x.flatten(0, 1) @ model.softmax.weight.T + model.softmax.bias - candidates.log_expected
        )
        among = (
            torch.zeros_like(logits, dtype=torch.bool)
            .index_fill_(1, candidates.words, True)
            .scatter_(1, targets[:, None], True)
        )
        losses.append(functional.cross_entropy(logits.masked_fill(~among, -math.inf), targets))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("sampled", [False, True])
def test_a_step_has_the_gradient_of_the_definition_on_one_thread_and_on_two(
    model: LanguageModel, sampled: bool
):
    candidates = all_words(WORDS)
    if sampled:
        candidates = Candidates(
            log_uniform_words(WORDS, 6, torch.Generator().manual_seed(0)),
            log_expected_counts(WORDS, 6),
        )
    window, options = make_window(), StepOptions(candidates, Dropout(0, 0), torch.float64)
    loss = defined_loss(model, window, candidates)
    expected = torch.autograd.grad(loss, list(model.parameters()))
    losses, _ = fill_gradients(
        model, window, model.bilm.zero_state(ROWS), rows_of, options, in_sequence
    )
    assert float(losses.mean()) == pytest.approx(float(loss.detach()), rel=1e-6)
    alone = [parameter.grad for parameter in model.parameters()]
    with n_threads(2):
        fill_gradients(model, window, model.bilm.zero_state(ROWS), rows_of, options, InThreads())
    for a, b, parameter in zip(expected, alone, model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8)
        assert torch.equal(b, parameter.grad)


def test_the_softmax_alone_has_the_gradient_that_it_has_beside_the_rest(model: LanguageModel):
    window, options = make_window(), StepOptions(all_words(WORDS), Dropout(0.3, 5), torch.float64)
    step = (model, window, model.bilm.zero_state(ROWS), rows_of)
    losses, state = fill_gradients(*step, options._replace(softmax_alone=True), in_sequence)
    alone = [losses, *state, *(parameter.grad for parameter in model.softmax_parameters())]
    assert all(parameter.grad is None for parameter in model.bilm.parameters())
    losses, state = fill_gradients(*step, options, in_sequence)
    together = [losses, *state, *(parameter.grad for parameter in model.softmax_parameters())]
    assert all(map(torch.equal, alone, together))


def test_a_step_has_the_gradient_of_central_differences(model: LanguageModel):
    window, options = make_window(), StepOptions(all_words(WORDS), Dropout(0.3, 5), torch.float64)

    def loss() -> float:
        return float(
            fill_gradients(
                model, window, model.bilm.zero_state(ROWS), rows_of, options, in_sequence
            )[0].mean()
        )

    loss()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    for name, parameter in model.named_parameters():
        place = int(gradients[name].abs().argmax())
        values, by = parameter.detach().view(-1), 1e-5
        values[place] += by
        above = loss()
        values[place] -= 2 * by
        below = loss()
        values[place] += by
        assert (above - below) / (2 * by) == pytest.approx(
            float(gradients[name].flatten()[place]), rel=1e-3, abs=1e-7
        ), name


def test_state_carries_over_from_window_to_window(model: LanguageModel):
    window = make_window()._replace(reset=None)
    options = StepOptions(all_words(WORDS), Dropout(0, 0), torch.float64)
    first, second = (
        BpttBatch(window.types[:, part], window.targets[:, part], None)
        for part in (slice(0, 2), slice(2, None))
    )
    whole, end = fill_gradients(
        model, window, model.bilm.zero_state(ROWS), rows_of, options, in_sequence
    )
    a, state = fill_gradients(
        model, first, model.bilm.zero_state(ROWS), rows_of, options, in_sequence
    )
    b, state = fill_gradients(model, second, state, rows_of, options, in_sequence)
    torch.testing.assert_close(whole, (2 * a + 3 * b) / 5)
    for one, two in zip(BiLMState(*end), state, strict=True):
        torch.testing.assert_close(one, two)

"""The explicit gradient of the LSTM is compared with autograd of the cell's definition."""

import pytest
import torch

from elmo_cli.nn.lstm import LstmCellWithProjection, LstmState, run_by_definition
from elmo_cli.nn.packed_gradient import run_with_gradient


@pytest.mark.parametrize("projected", [True, False])
@pytest.mark.parametrize("clip", [None, 0.2])
def test_outputs_states_and_gradients_are_those_of_the_definition(
    projected: bool, clip: float | None
):
    torch.manual_seed(3)
    sizes, out = [3, 3, 2, 1], 4
    lstm = LstmCellWithProjection(
        5, 6 if projected else out, out, projected=projected, cell_clip=clip, projection_clip=clip
    ).double()
    for parameter in lstm.parameters():
        torch.nn.init.normal_(parameter)
    state = LstmState(
        torch.randn(3, out).double(), torch.randn(3, 6 if projected else out).double()
    )
    found = []
    for run in (run_by_definition, run_with_gradient):
        inputs = torch.linspace(-2, 2, 45, dtype=torch.double).view(9, 5).requires_grad_()
        outputs, end = run(lstm, inputs, sizes, state)
        wanted = [inputs, *lstm.parameters()]
        found.append(
            [
                outputs,
                *end,
                *torch.autograd.grad(
                    (outputs * torch.linspace(-1, 1, 36).view(9, 4)).sum(), wanted
                ),
            ]
        )
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert clip is None or not projected or bool((found[0][0].abs() == clip).any())

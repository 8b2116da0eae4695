import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elmo_cli.nn import lstm as lstm_module
from elmo_cli.nn.lstm import LstmCellWithProjection, LstmState, pack, run_by_definition, run_packed

LENGTHS = st.lists(st.integers(0, 9), min_size=1, max_size=8)


def random_lstm(clip: float | None = 0.5, *, projected: bool = True) -> LstmCellWithProjection:
    output = 4 if projected else 7
    lstm = LstmCellWithProjection(
        5, 7, output, projected=projected, cell_clip=clip, projection_clip=clip
    ).double()
    generator = torch.Generator().manual_seed(3)
    for parameter in lstm.parameters():
        parameter.data = (
            torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.7
        )
    return lstm.requires_grad_(False)


@given(LENGTHS, st.sampled_from([None, 0.2]), st.booleans(), st.integers(1, 20))
@settings(deadline=None, max_examples=60)
def test_the_packed_run_equals_the_definition(
    lengths: list[int], clip: float | None, projected: bool, block_rows: int
):
    lstm = random_lstm(clip, projected=projected)
    batch_sizes = pack(lengths).batch_sizes
    inputs = torch.randn(sum(lengths), 5, dtype=torch.float64)
    width = 4 if projected else 7
    start = LstmState(
        torch.randn(len(lengths), width, dtype=torch.float64),
        torch.randn(len(lengths), 7, dtype=torch.float64),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lstm_module, "BLOCK_ROWS", block_rows)
        fast, fast_end = run_packed(lstm, inputs, batch_sizes, start)
    slow, slow_end = run_by_definition(lstm, inputs, batch_sizes, start)
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(fast_end, slow_end)


def test_a_finished_sequence_keeps_its_state():
    lstm = random_lstm()
    start = LstmState(
        torch.zeros(2, 4, dtype=torch.float64), torch.zeros(2, 7, dtype=torch.float64)
    )
    inputs = torch.randn(4, 5, dtype=torch.float64)
    _, both = run_packed(lstm, inputs, [2, 1, 1], start)
    _, short = run_packed(lstm, inputs[1:2], [1], LstmState(start.hidden[1:], start.cell[1:]))
    torch.testing.assert_close(both.hidden[1:], short.hidden)
    torch.testing.assert_close(both.cell[1:], short.cell)


def test_the_run_leaves_its_inputs_alone():
    lstm = random_lstm()
    start = LstmState(
        torch.zeros(2, 4, dtype=torch.float64), torch.zeros(2, 7, dtype=torch.float64)
    )
    run_packed(lstm, torch.randn(4, 5, dtype=torch.float64), [2, 2], start)
    assert start.hidden.eq(0).all()
    assert start.cell.eq(0).all()


def test_packing_lays_out_the_longest_first_and_reverses_each_sequence():
    packing = pack([1, 3, 2])
    assert packing.order.tolist() == [1, 2, 0]
    assert packing.batch_sizes == [3, 2, 1]
    assert packing.forward_rows.tolist() == [1, 4, 0, 2, 5, 3]
    assert packing.backward_rows.tolist() == [3, 5, 0, 2, 4, 1]


@given(LENGTHS)
def test_packing_holds_every_row_once_in_both_directions(lengths: list[int]):
    packing = pack(lengths)
    for rows in (packing.forward_rows, packing.backward_rows):
        assert sorted(rows.tolist()) == list(range(sum(lengths)))
    assert sum(packing.batch_sizes) == sum(lengths)
    assert packing.batch_sizes == sorted(packing.batch_sizes, reverse=True)

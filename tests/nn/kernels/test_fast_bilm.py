"""The fast paths are compared with the simple one, which runs the cell by definition."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from elmo_cli.errors import DeviceError
from elmo_cli.inference.embedder import CHUNK_TOKENS, Embedder, StatefulEmbedder, checking
from elmo_cli.models.formats.bilm_tf import load_bilm
from elmo_cli.nn.bilm import BiLM, BiLMState
from elmo_cli.nn.kernels import fast_bilm, packed_lstm
from elmo_cli.nn.kernels import lstm_step as cell
from elmo_cli.nn.kernels.fast_bilm import FastBiLM
from elmo_cli.nn.kernels.lstm_step import lstm_step
from elmo_cli.nn.kernels.packed_linear import PackedConvolution, PackedLinear, can_pack
from elmo_cli.nn.lstm import StepTensors, run_by_definition, step_in_torch
from elmo_cli.nn.prefixes import count_nodes
from tests.conftest import make_model, n_threads

LENGTHS = [3, 0, 7, 1, 7, 2]
ERRORS = {torch.bfloat16: 3e-2, torch.float16: 4e-3}  # relative, on models as tame as the tests'
MODELS = {
    "as published": {},
    "one layer": {"n_layers": 1},
    "four layers": {"n_layers": 4},
    "no skip connections": {"use_skip_connections": False},
    "no projection": {"projection_dim": 10},
    "no clips": {"cell_clip": None, "proj_clip": None},
    "tight clips": {"cell_clip": 0.3, "proj_clip": 0.2},
}


def load(folder: Path) -> BiLM:
    return load_bilm(folder / "options.json", folder / "weights.hdf5")


def make_input(bilm: BiLM) -> tuple[torch.Tensor, torch.Tensor, list[int], BiLMState]:
    random = torch.Generator().manual_seed(3)
    types = torch.randn(5, bilm.config.projection_dim, generator=random)
    state = bilm.zero_state(len(LENGTHS))
    start = BiLMState(*(torch.randn(part.shape, generator=random) / 2 for part in state))
    return types, torch.randint(0, 5, (sum(LENGTHS),), generator=random), LENGTHS, start


def by_definition(
    bilm: BiLM, types: torch.Tensor, places: torch.Tensor, lengths: list[int], state: BiLMState
):
    return bilm(types[places], lengths, state, run_by_definition)


@pytest.mark.parametrize("changes", MODELS.values(), ids=MODELS.keys())
@pytest.mark.parametrize("threads", [1, 2])
def test_the_fast_network_is_the_network(tmp_path: Path, changes: dict, threads: int):
    bilm = load(make_model(tmp_path, **changes))
    given = make_input(bilm)
    expected, end = by_definition(bilm, *given)
    with n_threads(threads):
        layers, after = FastBiLM(load(tmp_path)).forward_types(*given)
    torch.testing.assert_close(layers, expected, atol=1e-5, rtol=0)
    for ours, theirs in zip(after, end, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("changes", MODELS.values(), ids=MODELS.keys())
@pytest.mark.parametrize("block_rows", [256, 4])
def test_sentences_that_share_a_start_have_the_numbers_of_each_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict, block_rows: int
):
    monkeypatch.setattr(packed_lstm, "BLOCK_ROWS", block_rows)
    monkeypatch.setattr(fast_bilm, "STEP_TYPES", 4)
    bilm, random = load(make_model(tmp_path, **changes)), torch.Generator().manual_seed(0)
    types, lengths = make_input(bilm)[0], [k % 7 for k in range(60)]
    places = torch.randint(0, 5, (sum(lengths),), generator=random)
    start = BiLMState(
        *(torch.randn(part.shape, generator=random) / 2 for part in bilm.zero_state(1))
    )
    expected, _ = by_definition(
        bilm, types, places, lengths, start.select(torch.zeros(60, dtype=torch.long))
    )
    for network in (FastBiLM(load(tmp_path)), bilm):
        layers, _ = network.forward_types(types, places, lengths, start)
        torch.testing.assert_close(layers, expected, atol=1e-5, rtol=0)


def test_each_common_beginning_and_end_is_computed_once(
    model: Path, monkeypatch: pytest.MonkeyPatch
):
    sentences = [
        ["the", "cat", "sat", "."],
        ["the", "cat", "ran", "."],
        ["the", "cat", "sat", "."],
        ["a", "."],
    ]
    embedder, rows = Embedder(load(model)), []
    monkeypatch.setattr(
        packed_lstm, "lstm_step", lambda step: rows.append(len(step.products)) or lstm_step(step)
    )
    embedder.embed_batch(sentences)
    assert sum(rows) == 2 * count_nodes(sentences)  # of two layers
    assert count_nodes(sentences) == 8 + 8
    rows.clear()
    StatefulEmbedder(embedder).embed_batch(sentences)
    # Two directions and two layers; the boundary tokens are included
    assert sum(rows) == 2 * 2 * sum(len(tokens) + 2 for tokens in sentences)


def test_a_computation_ends_where_the_check_says_so(model: Path):
    calls = []

    def check() -> None:
        calls.append(0)
        if len(calls) == 3:
            raise KeyboardInterrupt

    embedder = Embedder(load(model))
    with pytest.raises(KeyboardInterrupt), checking(check):
        embedder.embed_batch([["the", "cat", "sat"], ["a"]])
    assert len(calls) == 3


@pytest.mark.parametrize("dtype", ERRORS)
def test_smaller_numbers_stay_within_their_error(model: Path, dtype: torch.dtype):
    bilm = load(model)
    given = make_input(bilm)
    expected, _ = by_definition(bilm, *given)
    layers, _ = FastBiLM(load(model), dtype).forward_types(*given)
    assert layers.dtype == torch.float32
    torch.testing.assert_close(layers[0], expected[0], atol=0, rtol=0)  # as given
    error = (layers - expected).flatten(1).norm(dim=1) / expected.flatten(1).norm(dim=1)
    assert 0 < float(error[1:].max()) < ERRORS[dtype]


@pytest.mark.parametrize(("dtype", "limit"), [(torch.bfloat16, 2e-2), (torch.float16, 1e-6)])
def test_the_highways_are_rounded_with_bfloat16_alone(
    model: Path, dtype: torch.dtype, limit: float
):
    bilm = load(model)
    ids = bilm.mapper.tokens_to_ids(["the", "cat", "sat", "naïve", "x" * 60])
    expected = bilm.character_encoder(ids)
    vectors = FastBiLM(load(model), dtype).character_encoder(ids)
    assert vectors.dtype == torch.float32
    assert float((vectors - expected).norm() / expected.norm()) < limit


def test_the_network_that_is_taken_over_is_freed(model: Path):
    bilm = load(model)
    before = sum(parameter.numel() for parameter in bilm.parameters())
    FastBiLM(bilm)
    assert sum(parameter.numel() for parameter in bilm.parameters()) < before / 2


@pytest.mark.skipif(not cell.COMPILED, reason="the package was built without a compiler")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("clip", [None, 0.7])
@pytest.mark.parametrize("given", ["inputs", "chosen inputs", "no inputs"])
def test_the_compiled_step_is_the_one_in_torch(dtype: torch.dtype, clip: float | None, given: str):
    random = torch.Generator().manual_seed(0)
    for dim, is_branching in product((1, 7, 16, 100), (False, True)):
        products = (4 * torch.randn(9, 4 * dim, generator=random)).to(dtype)
        # Where the exponential leaves float's range
        products[0, :3] = torch.tensor([90.0, -90.0, 1e4])[: min(3, 4 * dim)]
        inputs = None if given == "no inputs" else 4 * torch.randn(9, 4 * dim, generator=random)
        rows = torch.randint(0, 9, (9,), generator=random) if given == "chosen inputs" else None
        cells = [torch.randn(9, dim, generator=random)] * 2
        cells, outputs = (
            [c.clone() for c in cells],
            [torch.empty(9, dim, dtype=dtype) for _ in cells],
        )
        before = torch.randn(4, dim, generator=random) if is_branching else None
        parents = torch.randint(0, 4, (9,), generator=random) if is_branching else None
        for run, c, output in zip((lstm_step, step_in_torch), cells, outputs, strict=True):
            run(StepTensors(products.clone(), c, clip, output, inputs, rows, before, parents))
        torch.testing.assert_close(*cells, atol=2e-6, rtol=0)
        torch.testing.assert_close(*outputs, atol=2e-6 if dtype == torch.float32 else 8e-3, rtol=0)


@pytest.mark.skipif(not cell.COMPILED, reason="the package was built without a compiler")
def test_a_step_on_what_is_no_number_gives_no_number():
    products, c, output = torch.zeros(1, 16), torch.zeros(1, 4), torch.empty(1, 4)
    products[0, 1] = torch.nan
    lstm_step(StepTensors(products, c, 3.0, output))
    assert output.isnan().tolist() == [[False, True, False, False]]


def test_without_a_compiler_the_numbers_are_the_same(model: Path, monkeypatch: pytest.MonkeyPatch):
    sentences = [["the", "cat", "sat"], ["dog"]]
    compiled = Embedder(load(model)).embed_batch(sentences)
    monkeypatch.setattr(cell, "_cell", None)
    for a, b in zip(compiled, Embedder(load(model)).embed_batch(sentences), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("longest_sum", [1024, 3])
def test_a_packed_product_is_the_product(
    monkeypatch: pytest.MonkeyPatch, packed: bool, clip: float | None, longest_sum: int
):
    if packed and not can_pack(torch.float32):
        pytest.skip("this PyTorch has no packed products")
    if not packed:
        monkeypatch.setattr("elmo_cli.nn.kernels.packed_linear.can_pack", lambda _: False)
    monkeypatch.setattr("elmo_cli.nn.kernels.packed_linear.LONGEST_SUM", longest_sum)
    weight, bias, x = torch.randn(13, 7), torch.randn(13), torch.randn(300, 7)
    expected = torch.nn.functional.linear(x, weight, bias)
    expected = expected if clip is None else expected.clamp(-clip, clip)
    torch.testing.assert_close(PackedLinear(weight, bias, clip)(x), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("width", [1, 3, 6])
def test_a_packed_convolution_is_the_convolution(width: int):
    convolution, x = torch.nn.Conv1d(4, 5, width), torch.randn(3, 6, 4).transpose(1, 2)
    torch.testing.assert_close(
        PackedConvolution(convolution.weight, convolution.bias)(x),
        convolution(x),
        atol=1e-5,
        rtol=0,
    )


def long_sentence(n_tokens: int) -> list[str]:
    return [f"w{i % 97}" for i in range(n_tokens)]


def test_a_sentence_of_any_length_is_read_in_pieces_with_the_same_result(
    model: Path, monkeypatch: pytest.MonkeyPatch
):
    sentence = long_sentence(1000)
    whole = Embedder(load(model)).embed_batch([sentence])[0]
    monkeypatch.setattr("elmo_cli.inference.embedder.CHUNK_TOKENS", 64)
    np.testing.assert_allclose(Embedder(load(model)).embed_batch([sentence])[0], whole, atol=1e-5)


def test_cut_tokens_of_a_sentence_in_pieces_are_counted_once(
    model: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("elmo_cli.inference.embedder.CHUNK_TOKENS", 64)
    sentence = [*long_sentence(150), "long" * 20, *long_sentence(50)]
    embedder, again = Embedder(load(model)), Embedder(load(model))
    embedder.embed_batch([sentence])
    again.warm_cache([sentence])
    assert (embedder.truncated_tokens, again.truncated_tokens) == (1, 1)
    # In the same order, for the same rounding
    assert list(again.types.rows) == list(embedder.types.rows)


def test_the_pieces_bound_what_is_read_together(model: Path, monkeypatch: pytest.MonkeyPatch):
    embedder = Embedder(load(model))
    read, seen = embedder.bilm.forward_types, []
    monkeypatch.setattr(
        embedder.bilm, "forward_types", lambda *given: seen.append(sum(given[2])) or read(*given)
    )
    assert (
        embedder.embed_batch([long_sentence(3 * CHUNK_TOKENS + 5)])[0].shape[1]
        == 3 * CHUNK_TOKENS + 5
    )
    assert max(seen) <= 2 * CHUNK_TOKENS


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ..."),
    ],
)
def test_where_memory_does_not_suffice_a_batch_is_halved(
    model: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    sentences = [long_sentence(n) for n in (300, 5, 90, 0, 17)]
    expected = Embedder(load(model)).embed_batch(sentences)
    embedder = Embedder(load(model))
    read = embedder.bilm.forward_types

    def little(types: torch.Tensor, places: torch.Tensor, lengths: list[int], state: BiLMState):
        if sum(lengths) > 150:
            raise error
        return read(types, places, lengths, state)

    monkeypatch.setattr(embedder.bilm, "forward_types", little)
    for a, b in zip(embedder.embed_batch(sentences), expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_memory_that_does_not_suffice_for_anything_is_an_error(
    model: Path, monkeypatch: pytest.MonkeyPatch
):
    embedder = Embedder(load(model))

    def none(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(embedder.bilm, "forward_types", none)
    with pytest.raises(DeviceError, match="memory is insufficient for one sentence of 300 tokens"):
        embedder.embed_batch([long_sentence(300)])


def test_state_is_carried_through_the_fast_network(model: Path):
    carrying = StatefulEmbedder(Embedder(load(model)))
    simple = StatefulEmbedder(Embedder(load(model).double()))
    for batch in ([["a", "b"], ["c"]], [["d"]], [["e"], ["f", "g", "h"]]):
        for ours, theirs in zip(
            carrying.embed_batch(batch), simple.embed_batch(batch), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)

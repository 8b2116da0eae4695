import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from elmo_cli.inference.benchmark.rounds import compare
from elmo_cli.inference.benchmark.work import encoder_work, lstm_work, made_up_text
from elmo_cli.inference.embedder import Embedder
from elmo_cli.models.formats.bilm_tf import load_bilm
from elmo_cli.models.formats.options_json import parse_options
from elmo_cli.nn.presets import PRESETS
from elmo_cli.nn.reference import embed_padded
from tests.conftest import make_model
from tests.helpers.reference import ReferenceElmo

SENTENCES = [["a", "b", "c"], ["over-long" * 9], ["d"] * 7]


@pytest.mark.parametrize(
    "changes", [{}, {"n_layers": 3}, {"use_skip_connections": False}, {"projection_dim": 10}]
)
def test_the_padded_path_gives_the_reference_numbers(tmp_path: Path, changes: dict):
    make_model(tmp_path, **changes)
    files = tmp_path / "options.json", tmp_path / "weights.hdf5"
    reference = ReferenceElmo(*files)
    padded, fast = (
        embed_padded(load_bilm(*files), SENTENCES),
        Embedder(load_bilm(*files)).embed_batch(SENTENCES),
    )
    for tokens, simple, ours in zip(SENTENCES, padded, fast, strict=True):
        reference.zero_state()
        expected = reference.embed(tokens)
        np.testing.assert_allclose(simple, expected, atol=1e-5)
        np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_work_is_counted_as_published():
    original = parse_options(PRESETS["original"], Path("original"))
    assert lstm_work(original) == 2 * 75_497_472  # 151 MFLOP a token
    assert encoder_work(original, "x" * 48) == pytest.approx(53e6, rel=0.1)
    assert encoder_work(original, "x" * 60) == encoder_work(original, "x" * 48)
    assert encoder_work(original, "a") < encoder_work(original, "ab")


def test_errors_are_relative_and_cosines_the_lowest():
    exact = [np.ones((2, 3, 4)), np.ones((2, 1, 4))]
    ours = [array.copy() for array in exact]
    ours[0][1, 2] = [1, 1, 1, 0]
    errors, cosines = compare(ours, exact)
    assert errors == [0, pytest.approx(1 / 4)]
    assert cosines == [pytest.approx(1), pytest.approx(3 / np.sqrt(12))]


def test_made_up_text_is_the_same_each_time_and_of_the_length_asked_for():
    text = made_up_text(500)
    assert text == made_up_text(500)
    assert sum(map(len, text)) == 500
    assert all(text)


def test_bench_measures_every_path(elmo: Callable[..., Result], model: Path):
    result = elmo(
        "bench",
        "--model",
        model,
        "--tokens",
        120,
        "--repeats",
        2,
        "--precision",
        "fp32",
        "--json",
        "--threads",
        1,
        "-q",
    )
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["tokens"] == 120
    assert list(figures["paths"]) == ["simple", "fp32"]
    fast = figures["paths"]["fp32"]
    assert fast["rounds"] == 2
    assert fast["tokens_per_second"] > 0
    assert 0 < fast["writing_share"] < 1
    assert 0 < fast["share_of_nodes"] <= 1
    assert all(error < 1e-5 for error in fast["relative_error"])
    assert fast["peak_mib"] > 50


def test_bench_of_an_empty_text_is_an_error(
    elmo: Callable[..., Result], model: Path, tmp_path: Path
):
    (tmp_path / "empty.txt").write_text("\n")
    result = elmo("bench", tmp_path / "empty.txt", "--model", model)
    assert result.exit_code == 1
    assert "has no tokens" in result.stderr

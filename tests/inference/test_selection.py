"""Selected layers and mixes are compared with equation 1 and with plain loops."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from elmo_cli.errors import ElmoError
from elmo_cli.features.values import cast
from elmo_cli.inference.selection import Selection
from elmo_cli.models.formats.scalar_mix import read_mix
from elmo_cli.nn.scalar_mix import FixedMix

LAYERS = np.random.default_rng(3).standard_normal((3, 5, 4)).astype(np.float32)


def test_the_mix_is_equation_1():
    weights, gamma = (0.3, -1.0, 2.0), 1.5
    shares = torch.softmax(torch.tensor(weights, dtype=torch.float64), 0).numpy()
    expected = gamma * sum(share * layer for share, layer in zip(shares, LAYERS, strict=True))
    mixed = FixedMix(weights, gamma)(LAYERS)
    assert mixed.dtype == np.float32
    np.testing.assert_allclose(mixed, expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(
        FixedMix((0, 0, 0))(LAYERS), LAYERS.mean(axis=0), rtol=1e-5, atol=1e-7
    )
    # The exponential of a large weight does not overflow
    np.testing.assert_allclose(FixedMix((1000.0, 0, 0))(LAYERS), LAYERS[0], rtol=1e-6)


def test_layer_norm_is_over_all_values_of_a_sentences_tokens():
    """As AllenNLP's: mean and variance over unmasked elements, population variance, 1e-12 under the
    root.
    """
    normed = [
        (layer - layer.mean()) / np.sqrt(((layer - layer.mean()) ** 2).mean() + 1e-12)
        for layer in LAYERS.astype(np.float64)
    ]
    np.testing.assert_allclose(
        FixedMix((0, 0, 0), layer_norm=True)(LAYERS), np.mean(normed, axis=0), rtol=1e-5, atol=1e-6
    )
    assert FixedMix((0, 0, 0), layer_norm=True)(LAYERS[:, :0]).shape == (0, 4)


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ("mean", LAYERS.mean(axis=1)),
        ("max", LAYERS.max(axis=1)),
        ("first", LAYERS[:, 0]),
        ("last", LAYERS[:, -1]),
        ("mean+max", np.concatenate([LAYERS.mean(axis=1), LAYERS.max(axis=1)], axis=-1)),
        ("none", LAYERS),
    ],
)
def test_pooling_is_over_the_tokens(pool: str, expected: np.ndarray):
    select = Selection(pool=pool).function(3)
    np.testing.assert_allclose(select(LAYERS), expected, rtol=1e-6)
    assert Selection("top", pool=pool).function(3)(LAYERS).shape == expected.shape[1:]
    if pool != "none":
        np.testing.assert_array_equal(select(LAYERS[:, :0]), np.zeros_like(expected))
    assert Selection(pool=pool).dim(3, 4) == expected.shape[-1]


def test_concat_puts_the_layers_of_a_token_side_by_side():
    selection = Selection("concat")
    side_by_side = selection.function(3)(LAYERS)
    assert (selection.names(3), selection.dim(3, 4)) == (("concat",), 12)
    np.testing.assert_array_equal(side_by_side, np.concatenate(list(LAYERS), axis=-1))
    assert selection.function(3)(LAYERS[:, :0]).shape == (0, 12)
    pooled = Selection("concat", pool="mean+max")
    assert pooled.function(3)(LAYERS).shape == (pooled.dim(3, 4),) == (24,)


def test_layers_have_names():
    assert Selection("all").names(3) == ("layer_0", "layer_1", "layer_2")
    assert Selection("-1,0").names(3) == ("layer_2", "layer_0")
    assert Selection("top").names(3) == ("top",)
    assert Selection("all", FixedMix((1, 2, 3))).names(3) == ("mix",)
    for choice, words in [
        ("0,-3", "names a layer twice"),
        ("3", "has layers 0 to 2"),
        ("x", "takes all, top"),
    ]:
        with pytest.raises(ElmoError, match=words):
            Selection(choice).names(3)
    with pytest.raises(ElmoError, match="has 2 weights, and the model 3 layers"):
        Selection("all", FixedMix((1, 2))).names(3)


def test_float16_refuses_what_it_cannot_hold():
    assert cast(LAYERS, "float16").dtype == np.float16
    with pytest.raises(ElmoError, match="70,000 exceeds its maximum"):
        cast(np.array([[7e4]], np.float32), "float16")


def test_a_mix_is_read_from_numbers_json_or_a_trained_model(tmp_path: Path):
    assert read_mix("0.5,1,-2e-1", 3) == FixedMix((0.5, 1, -0.2))
    assert read_mix("0,1,2,0.7", 3, layer_norm=True) == FixedMix((0, 1, 2), 0.7, layer_norm=True)
    path = tmp_path / "mix.json"
    path.write_text(json.dumps({"weights": [0, 1, 2], "gamma": 2, "layer_norm": True}))
    assert read_mix(str(path), 3) == FixedMix((0, 1, 2), 2, layer_norm=True)
    state = {
        f"_elmo.scalar_mix_0.scalar_parameters.{i}": torch.tensor([float(i)]) for i in range(3)
    }
    torch.save(
        {**state, "_elmo.scalar_mix_0.gamma": torch.tensor([0.5]), "other": torch.zeros(2)},
        tmp_path / "best.th",
    )
    assert read_mix(str(tmp_path / "best.th"), 3) == FixedMix((0, 1, 2), 0.5)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.json", None, "no such file"),
        ("a.json", b"{", "is not JSON"),
        ("a.json", b"[1, 2]", "takes"),
        ("a.json", b'{"weights": [1, "x", 3]}', "finite numbers only"),
        ("a.json", b'{"weights": [1, NaN, 3]}', "finite numbers only"),
        ("a.json", b'{"weights": [1, 1' + b"0" * 400 + b", 3]}", "finite numbers only; give each"),
        ("a.json", b'{"weights": [1, 1e999, 3]}', "finite numbers only"),
        ("a.json", b'{"weights": [1, 2, 3], "gama": 1}', "takes"),
        ("a.json", b'{"weights": [1, 2, 3], "layer_norm": 1}', "true or false"),
        ("a.json", b" " * (2 << 20), "is larger than"),
        ("a.th", b"not a file of torch", "not a readable PyTorch file"),
    ],
)
def test_a_mix_that_is_none_is_one_clear_line(
    tmp_path: Path, name: str, content: bytes | None, words: str
):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ElmoError, match=words) as caught:
        read_mix(str(tmp_path / name), 3)
    assert "\n" not in str(caught.value)


def test_a_torch_file_without_one_mix_is_refused(tmp_path: Path):
    weights = {f"scalar_parameters.{layer}": torch.zeros(1) for layer in range(3)}
    for state, words in [
        ({"weight": torch.zeros(2)}, "contains no scalar mixes"),
        (
            {**weights, "scalar_parameters.0": torch.zeros(2)},
            r"scalar_parameters\.0 has shape \(2,\)",
        ),
        (
            {**weights, "gamma": torch.full((1,), float("nan"))},
            "gamma has values that are NaN or infinite",
        ),
        ({**weights, "gamma": torch.ones(1, dtype=torch.int64)}, "not a floating-point type"),
        ({**weights, "gamma": 1.0}, "does not contain named tensors"),
    ]:
        torch.save(state, tmp_path / "a.th")
        with pytest.raises(ElmoError, match=words):
            read_mix(str(tmp_path / "a.th"), 3)

"""The trainable scalar mix is compared with equation 1 in numpy."""

import numpy as np
import pytest
import torch

from elmo_cli import ScalarMix

RANDOM = np.random.default_rng(5)
LAYERS = [torch.from_numpy(RANDOM.standard_normal((3, 4, 5)).astype(np.float32)) for _ in range(3)]
WEIGHTS, GAMMA = (0.1, 0.2, 0.9), 0.5
SHARES = np.exp(WEIGHTS) / np.exp(WEIGHTS).sum()


def mix_of(**options: object) -> ScalarMix:
    mix = ScalarMix(3, initial_scalar_parameters=WEIGHTS, **options)
    with torch.no_grad():
        mix.gamma.fill_(GAMMA)
    return mix


def test_it_is_equation_1():
    expected = GAMMA * sum(
        share * layer.numpy() for share, layer in zip(SHARES, LAYERS, strict=True)
    )
    np.testing.assert_allclose(mix_of()(LAYERS).detach(), expected, atol=1e-6)
    np.testing.assert_allclose(
        ScalarMix(3)(LAYERS).detach(), torch.stack(LAYERS).mean(dim=0), atol=1e-6
    )


def test_layers_are_normalised_by_the_values_that_the_mask_contains():
    mask = np.ones((3, 4), dtype=bool)
    mask[1, 2:] = False
    normed = [
        (layer.numpy() - layer.numpy()[mask].mean()) / layer.numpy()[mask].std() for layer in LAYERS
    ]
    expected = GAMMA * sum(share * layer for share, layer in zip(SHARES, normed, strict=True))
    for given in (torch.from_numpy(mask), torch.from_numpy(mask).long()):
        np.testing.assert_allclose(
            mix_of(do_layer_norm=True)(LAYERS, given).detach(), expected, atol=1e-6
        )


def test_parameters_have_allennlps_names_and_may_be_fixed():
    names = ["gamma", *(f"scalar_parameters.{i}" for i in range(3))]
    assert sorted(name for name, _ in ScalarMix(3).named_parameters()) == names
    fixed = ScalarMix(3, initial_scalar_parameters=[1, 2, 3], trainable=False)
    assert [float(parameter) for parameter in fixed.scalar_parameters] == [1, 2, 3]
    assert not any(parameter.requires_grad for parameter in fixed.parameters())


def test_as_many_layers_are_taken_as_there_are_weights():
    with pytest.raises(ValueError, match="2 numbers for 3 layers"):
        ScalarMix(3, initial_scalar_parameters=[0.0, 0.0])
    with pytest.raises(ValueError, match="got 2 tensors for a mix of 3 layers"):
        ScalarMix(3)(LAYERS[:2])

"""The network is compared with the numpy reference, for every option of an options file."""

from pathlib import Path

import numpy as np
import pytest

from elmo_cli.inference.embedder import Embedder, StatefulEmbedder
from elmo_cli.models.formats.bilm_tf import load_bilm
from elmo_cli.nn.lstm import run_by_definition
from tests.conftest import make_model
from tests.helpers.reference import ReferenceElmo

SENTENCES = [
    ["The", "cat", "sat", "."],
    ["Hello"],
    ["naïve", "日本語", "x" * 60, "<S>", "😀", "</S>"],
    ["a", "b", "a", "b", "a", "b", "a", "b", "a"],
    ["The", "cat", "sat", "."],
]
ARCHITECTURES = {
    "as published": {},
    "no highway": {"n_highway": 0},
    "highway not named": {"n_highway": None},
    "three highways, tanh": {"n_highway": 3, "activation": "tanh"},
    "one layer": {"n_layers": 1},
    "four layers": {"n_layers": 4},
    "no skip connections": {"use_skip_connections": False, "n_layers": 3},
    "no clips": {"cell_clip": None, "proj_clip": None},
    "tight clips": {"cell_clip": 0.2, "proj_clip": 0.1},
    "clips of 0 clip nothing": {"cell_clip": 0, "proj_clip": 0},
    "projection equal to the filter sum": {"projection_dim": 12},
    "projection equal to the cell": {"projection_dim": 10},
    "projection wider than the cell": {"projection_dim": 14},
    "other filters": {"filters": [[5, 2], [1, 7], [5, 3]]},
    "filters as wide as the window": {"filters": [[20, 3], [1, 2]], "max_characters_per_token": 20},
    "a short window": {"max_characters_per_token": 9},
    "a long window": {"max_characters_per_token": 80},
    "261 characters": {"n_characters": 261},
}


@pytest.mark.parametrize("changes", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
def test_every_architecture_gives_the_reference_numbers(tmp_path: Path, changes: dict):
    make_model(tmp_path, **changes)
    files = tmp_path / "options.json", tmp_path / "weights.hdf5"
    reference, bilm = ReferenceElmo(*files), load_bilm(*files)
    embedder = Embedder(bilm)
    for tokens, layers in zip(SENTENCES, embedder.embed_batch(SENTENCES), strict=True):
        reference.zero_state()
        np.testing.assert_allclose(layers, reference.embed(tokens), atol=1e-5)
    reference.zero_state()
    carrying = StatefulEmbedder(embedder)
    for tokens in SENTENCES:
        np.testing.assert_allclose(
            carrying.embed_batch([tokens])[0], reference.embed(tokens), atol=1e-5
        )


def test_in_float64_the_network_is_the_reference(model: Path, reference: ReferenceElmo):
    embedder = Embedder(load_bilm(model / "options.json", model / "weights.hdf5").double())
    for tokens, layers in zip(SENTENCES, embedder.embed_batch(SENTENCES), strict=True):
        reference.zero_state()
        # The forget bias was added in float32
        np.testing.assert_allclose(layers, reference.embed(tokens), atol=1e-7)


def test_running_packed_is_running_by_definition(model: Path):
    bilm = load_bilm(model / "options.json", model / "weights.hdf5")
    tokens = bilm.character_encoder(
        bilm.mapper.tokens_to_ids([token for sentence in SENTENCES for token in sentence])
    )
    lengths = [len(sentence) for sentence in SENTENCES]
    fast, fast_end = bilm(tokens, lengths, bilm.zero_state(len(lengths)))
    slow, slow_end = bilm(tokens, lengths, bilm.zero_state(len(lengths)), run_by_definition)
    np.testing.assert_allclose(fast, slow, atol=1e-6)
    np.testing.assert_allclose(fast_end.cell, slow_end.cell, atol=1e-6)


def test_a_batch_of_one_empty_sentence_leaves_the_state_alone_as_allennlp_does(
    model: Path, reference: ReferenceElmo
):
    carrying = StatefulEmbedder(Embedder(load_bilm(model / "options.json", model / "weights.hdf5")))
    carrying.embed_batch([["a", "b"]])
    assert carrying.embed_batch([[]])[0].shape == (3, 0, 12)
    reference.embed(["a", "b"])
    np.testing.assert_allclose(carrying.embed_batch([["c"]])[0], reference.embed(["c"]), atol=1e-5)


def test_a_batch_carries_state_place_by_place_as_allennlp_does(
    model: Path, reference: ReferenceElmo
):
    """Sentence i of a batch follows sentence i of the batch before.

    A shorter batch leaves the other places as they are.
    """
    carrying = StatefulEmbedder(Embedder(load_bilm(model / "options.json", model / "weights.hdf5")))
    batches = [SENTENCES[:1], SENTENCES[1:4], SENTENCES[4:], SENTENCES[:3]]
    places: list[list[list[str]]] = [[], [], []]
    for batch in batches:
        for place, (tokens, layers) in enumerate(
            zip(batch, carrying.embed_batch(batch), strict=True)
        ):
            reference.zero_state()
            places[place].append(tokens)
            *_, expected = [reference.embed(before) for before in places[place]]
            np.testing.assert_allclose(layers, expected, atol=1e-5)

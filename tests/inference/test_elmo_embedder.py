"""The library, by AllenNLP's names."""

from pathlib import Path

import h5py
import numpy as np
import pytest

import elmo_cli
from elmo_cli import ElmoEmbedder
from elmo_cli.errors import CorpusError, ModelError
from tests.conftest import SAMPLE, sentences_of
from tests.helpers.reference import ReferenceElmo


@pytest.fixture(scope="module")
def embedder(model: Path) -> ElmoEmbedder:
    return ElmoEmbedder(model / "options.json", model / "weights.hdf5")


def test_public_names_are_there():
    assert sorted(elmo_cli.__all__) == ["ElmoEmbedder", "ScalarMix", "__version__", "batch_to_ids", "open_features"]
    assert all(hasattr(elmo_cli, name) for name in elmo_cli.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        elmo_cli.nothing  # noqa: B018


def test_shapes_are_allennlps(embedder: ElmoEmbedder):
    assert embedder.embed_sentence(["a", "b"]).shape == (3, 2, 12)
    assert embedder.embed_sentence(["a", "b"]).dtype == np.float32
    assert [array.shape for array in embedder.embed_batch([["a"], [], ["b", "c"]])] == [(3, 1, 12), (3, 0, 12), (3, 2, 12)]


def test_sentences_stream_through_in_order(embedder: ElmoEmbedder):
    sentences = sentences_of(SAMPLE)[:50]
    for tokens, array in zip(sentences, embedder.embed_sentences(iter(sentences)), strict=True):
        np.testing.assert_allclose(array, embedder.embed_sentence(tokens), atol=1e-5)


def test_a_file_is_embedded_as_the_command_does(embedder: ElmoEmbedder, tmp_path: Path):
    with SAMPLE.open(encoding="utf-8") as lines:
        embedder.embed_file(lines, tmp_path / "out.h5", "top")
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_allclose(file["7"][:], embedder.embed_sentence(sentences_of(SAMPLE)[7])[-1], atol=1e-5)
    with pytest.raises(CorpusError, match="line 2 is blank"):
        embedder.embed_file(iter(["a\n", " \n"]), tmp_path / "blank.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]


def test_stateful_carries_the_state_from_call_to_call(model: Path, reference: ReferenceElmo):
    embedder = ElmoEmbedder(model=model, stateful=True)
    for tokens in (["a", "b"], ["c"], ["a", "b"]):
        np.testing.assert_allclose(embedder.embed_sentence(tokens), reference.embed(tokens), atol=1e-5)
    *_, last = embedder.embed_sentences([["d"], ["e", "f"]], batch_size=1)
    reference.embed(["d"])
    np.testing.assert_allclose(last, reference.embed(["e", "f"]), atol=1e-5)


def test_without_a_name_it_is_the_built_in_model():
    built_in = ElmoEmbedder()
    assert built_in.embed_sentence(["A", "cat", "."]).shape == (3, 3, 512)
    np.testing.assert_array_equal(ElmoEmbedder(model="tiny").embed_sentence(["A", "cat", "."]), built_in.embed_sentence(["A", "cat", "."]))


def test_a_model_is_named_once(model: Path):
    with pytest.raises(ModelError, match="name two models"):
        ElmoEmbedder(model / "options.json", model / "weights.hdf5", model=model)

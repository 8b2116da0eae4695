"""The Python API with the names of AllenNLP."""

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import h5py
import numpy as np
import pytest

import elmo_cli
from elmo_cli import ElmoEmbedder, open_features
from elmo_cli.errors import CorpusError, ElmoError
from tests.conftest import SAMPLE, sentences_of
from tests.helpers.reference import ReferenceElmo


@pytest.fixture(scope="module")
def embedder(model: Path) -> ElmoEmbedder:
    return ElmoEmbedder(model / "options.json", model / "weights.hdf5")


def test_public_names_are_there():
    names = [
        "Elmo",
        "ElmoEmbedder",
        "ElmoVectorizer",
        "Predictor",
        "ScalarMix",
        "__version__",
        "batch_to_ids",
    ]
    names += ["load_model", "load_predictor", "open_features"]
    assert sorted(elmo_cli.__all__) == names
    assert all(hasattr(elmo_cli, name) for name in elmo_cli.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        elmo_cli.nothing  # noqa: B018


def test_shapes_are_allennlps(embedder: ElmoEmbedder):
    assert embedder.embed_sentence(["a", "b"]).shape == (3, 2, 12)
    assert embedder.embed_sentence(["a", "b"]).dtype == np.float32
    assert [array.shape for array in embedder.embed_batch([["a"], [], ["b", "c"]])] == [
        (3, 1, 12),
        (3, 0, 12),
        (3, 2, 12),
    ]


def test_sentences_stream_through_in_order(embedder: ElmoEmbedder):
    sentences = sentences_of(SAMPLE)[:50]
    for tokens, array in zip(sentences, embedder.embed_sentences(iter(sentences)), strict=True):
        np.testing.assert_allclose(array, embedder.embed_sentence(tokens), atol=1e-5)


def test_a_file_is_embedded_as_the_command_does(embedder: ElmoEmbedder, tmp_path: Path):
    with SAMPLE.open(encoding="utf-8") as lines:
        embedder.embed_file(lines, tmp_path / "out.h5", "top")
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_allclose(
            file["7"][:], embedder.embed_sentence(sentences_of(SAMPLE)[7])[-1], atol=1e-5
        )
    with pytest.raises(CorpusError, match="line 2 is blank"):
        embedder.embed_file(iter(["a\n", " \n"]), tmp_path / "blank.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]


def test_stateful_carries_the_state_from_call_to_call(model: Path, reference: ReferenceElmo):
    embedder = ElmoEmbedder(model=model, stateful=True)
    for tokens in (["a", "b"], ["c"], ["a", "b"]):
        np.testing.assert_allclose(
            embedder.embed_sentence(tokens), reference.embed(tokens), atol=1e-5
        )
    *_, last = embedder.embed_sentences([["d"], ["e", "f"]], batch_size=1)
    reference.embed(["d"])
    np.testing.assert_allclose(last, reference.embed(["e", "f"]), atol=1e-5)


def test_without_a_model_it_is_an_error_that_names_two(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ELMO_MODEL", raising=False)
    with pytest.raises(ElmoError, match=r'model="original".*model="tiny"'):
        ElmoEmbedder()
    assert ElmoEmbedder(model="tiny").embed_sentence(["A", "cat", "."]).shape == (3, 3, 512)


def test_a_model_is_named_once_and_in_full(model: Path):
    with pytest.raises(ElmoError, match="two models"):
        ElmoEmbedder(model / "options.json", model / "weights.hdf5", model=model)
    with pytest.raises(ElmoError, match="options_file and weight_file go together"):
        ElmoEmbedder(model / "options.json")


def test_errors_name_the_arguments_of_python(model: Path, tmp_path: Path):
    (tmp_path / "no.zip").write_bytes(b"x")
    with pytest.raises(ElmoError, match=r"or options_file and weight_file$"):
        ElmoEmbedder(model=tmp_path / "no.zip")
    with pytest.raises(
        ElmoError, match=r"^cuda_device=77: not available here .*; pass cuda_device=-1 for the CPU$"
    ):
        ElmoEmbedder(model=model, cuda_device=77)


def test_a_batch_becomes_a_padded_tensor_and_a_mask(embedder: ElmoEmbedder):
    layers, mask = embedder.batch_to_embeddings([["a", "b"], [], ["c"]])
    assert (layers.shape, mask.tolist()) == (
        (3, 3, 2, 12),
        [[True, True], [False, False], [True, False]],
    )
    np.testing.assert_allclose(layers[2, :, :1], embedder.embed_sentence(["c"]), atol=1e-6)
    assert not layers[2, :, 1:].any()


def test_arrays_do_not_keep_their_batch_in_memory(embedder: ElmoEmbedder):
    sentences = [["a", "b"], ["c"], ["d"]]
    for arrays in (embedder.embed_batch(sentences), embedder.embed_sentences(sentences)):
        assert all(array.base is None or array.base.nbytes == array.nbytes for array in arrays)


def test_files_say_how_they_were_made(embedder: ElmoEmbedder, tmp_path: Path):
    embedder.embed_file(iter(["a b\n"]), tmp_path / "out.h5", "average")
    with open_features(tmp_path / "out.h5") as features:
        metadata = features.metadata
    assert {"elmo_version", "model_sha256", "options", "created"} <= metadata.keys()
    assert (metadata["start_state"], metadata["layers"], metadata["precision"]) == (
        "zero",
        "average",
        "fp32",
    )


def test_a_pickle_carries_the_description_and_no_weights(model: Path):
    embedder = ElmoEmbedder(model=model)
    pickled = pickle.dumps(embedder)
    assert len(pickled) < 2000
    again = pickle.loads(pickled)  # noqa: S301  # our own bytes
    np.testing.assert_array_equal(
        again.embed_sentence(["a", "b"]), embedder.embed_sentence(["a", "b"])
    )


def test_threads_that_share_an_embedder_get_the_vectors_that_one_thread_gets(model: Path):
    """Hundreds of new words at once; the type cache is small, so that it is emptied too."""
    n_threads, rounds = 4, 6
    sentences = [
        [[f"w{t}x{r}y{i % 97}" for i in range(120)] for r in range(rounds)]
        for t in range(n_threads)
    ]
    alone = ElmoEmbedder(model=model)
    expected = [[alone.embed_sentence(sentence) for sentence in own] for own in sentences]
    shared = ElmoEmbedder(model=model)
    shared.embedder.types.capacity = 300
    barrier = Barrier(n_threads)

    def embed(own: list[list[str]]) -> list[np.ndarray]:
        found = []
        for sentence in own:
            barrier.wait(60)
            found.append(shared.embed_sentence(sentence))
        return found

    with ThreadPoolExecutor(n_threads) as pool:
        for arrays, others in zip(pool.map(embed, sentences), expected, strict=True):
            for array, other in zip(arrays, others, strict=True):
                np.testing.assert_allclose(array, other, atol=1e-5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_of_a_process_with_threads_embeds(model: Path):
    """The child has neither the embedder's second thread nor OpenMP's: it waited for both."""
    program = """
import os, sys, threading, numpy as np, torch
from elmo_cli import ElmoEmbedder
torch.set_num_threads(2)
embedder = ElmoEmbedder(model=sys.argv[1])
sentence = [f"w{i}" for i in range(200)]
expected = embedder.embed_sentence(sentence)
torch.ones(600, 600) @ torch.ones(600, 600)  # OpenMP has threads now
embedder.embedder.types.lock.__enter__()  # as if another thread held it
child = os.fork()
if child == 0:
    same = np.allclose(embedder.embed_sentence(sentence), expected, atol=1e-5)
    made = ElmoEmbedder(model=sys.argv[1]).embed_sentence(sentence)
    os._exit(0 if same and np.allclose(made, expected, atol=1e-5) else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(model)],
        timeout=120,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()

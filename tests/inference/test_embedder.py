"""The vectors of a sentence depend on that sentence alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elmo_cli.errors import DeviceError
from elmo_cli.inference.embedder import Embedder
from elmo_cli.inference.pipeline import embed_window, windows
from elmo_cli.models.formats.bilm_tf import load_bilm
from elmo_cli.nn.devices import choose_device
from elmo_cli.nn.type_cache import TypeCache
from elmo_cli.types import Sentence
from tests.conftest import make_model, n_threads
from tests.helpers.reference import ReferenceElmo

TOKENS = st.sampled_from(["the", "cat", "sat", "naïve", "日本", "<S>", "x" * 55, ".", "a"])
CORPUS = st.lists(st.lists(TOKENS, max_size=12), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def embedder(model: Path) -> Embedder:
    return Embedder(load_bilm(model / "options.json", model / "weights.hdf5"))


def as_sentences(corpus: list[list[str]]) -> list[Sentence]:
    return [Sentence(str(i), tokens, " ".join(tokens)) for i, tokens in enumerate(corpus)]


@given(CORPUS, st.integers(1, 40), st.integers(1, 40))
@settings(deadline=None, max_examples=60)
def test_vectors_depend_on_nothing_but_their_sentence(
    embedder: Embedder, corpus: list[list[str]], window_tokens: int, batch_tokens: int
):
    embedded = [
        layers
        for window in windows(as_sentences(corpus), window_tokens)
        for layers in embed_window(window, embedder, batch_tokens)
    ]
    assert [layers.shape for layers in embedded] == [(3, len(tokens), 12) for tokens in corpus]
    for tokens, layers in zip(corpus, embedded, strict=True):
        np.testing.assert_allclose(layers, embedder.embed_batch([tokens])[0], atol=1e-5)


def test_vectors_do_not_depend_on_the_thread_count(tmp_path: Path):
    # Large enough for several threads
    make_model(tmp_path, projection_dim=64, dim=256, filters=[[1, 32], [2, 64], [3, 96]])
    embedder = Embedder(load_bilm(tmp_path / "options.json", tmp_path / "weights.hdf5"))
    sentences = [["the", "cat"] * n for n in range(1, 30)]
    with n_threads(1):
        one = embedder.embed_batch(sentences)
    with n_threads(2):
        two = embedder.embed_batch(sentences)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_no_sentences_give_no_arrays(embedder: Embedder):
    assert embedder.embed_batch([]) == []


def test_a_primed_sentence_starts_where_the_priming_text_ended(
    model: Path, reference: ReferenceElmo
):
    priming = [["one", "two", "three"], ["four"]]
    primed = Embedder(load_bilm(model / "options.json", model / "weights.hdf5"), prime=priming)
    for tokens in (["the", "cat"], ["a"], ["the", "cat"]):
        reference.zero_state()
        for before in priming:
            reference.embed(before)
        np.testing.assert_allclose(
            primed.embed_batch([tokens])[0], reference.embed(tokens), atol=1e-5
        )


def test_each_word_type_goes_through_the_character_cnn_once(
    model: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("elmo_cli.nn.type_cache.MIN_BATCH_TYPES", 1)  # no rows of padding
    embedder = Embedder(load_bilm(model / "options.json", model / "weights.hdf5"))
    encoded = []
    encode = embedder.bilm.character_encoder.forward
    monkeypatch.setattr(
        embedder.bilm.character_encoder,
        "forward",
        lambda ids: encoded.append(len(ids)) or encode(ids),
    )
    for _ in range(3):
        embedder.embed_batch([["the", "cat", "the"], ["cat", "sat"]])
    assert sum(encoded) == 3


def test_a_full_cache_begins_anew_and_still_answers_rightly(model: Path):
    bilm = load_bilm(model / "options.json", model / "weights.hdf5")
    cache, words = TypeCache(bilm, capacity=5), [f"w{i % 7}" for i in range(40)]
    with torch.inference_mode():
        for start in range(0, 40, 4):
            some = words[start : start + 4]
            rows = cache.lookup(some)
            torch.testing.assert_close(
                cache.vectors[rows], bilm.character_encoder(cache.mapper.tokens_to_ids(some))
            )
            assert len(cache.rows) <= 5
        assert len(cache.lookup([f"v{i}" for i in range(9)])) == 9


def test_cut_tokens_are_counted_where_they_occur(model: Path):
    embedder = Embedder(load_bilm(model / "options.json", model / "weights.hdf5"))
    embedder.embed_batch([["a", "x" * 49], ["x" * 49]])
    embedder.embed_batch([["x" * 49, "y" * 48]])
    assert embedder.truncated_tokens == 3
    assert embedder.truncated_example == "x" * 49


def test_a_device_that_is_not_there_is_an_error():
    with pytest.raises(DeviceError, match="--device cuda:99"):
        choose_device("cuda:99")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_gives_the_same_numbers(model: Path):
    cpu, gpu = (
        Embedder(load_bilm(model / "options.json", model / "weights.hdf5"), device)
        for device in ("cpu", "cuda")
    )
    for a, b in zip(
        cpu.embed_batch([["the", "cat"], ["a"]]),
        gpu.embed_batch([["the", "cat"], ["a"]]),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-5)

"""Sentences that the Python API accepts, and its error messages."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from elmo_cli import ElmoEmbedder
from elmo_cli.errors import CorpusError, ModelError
from elmo_cli.inference.arguments import naming_arguments, sentences_of, tokens_of

TOKENS = ["A", "cat"]


@pytest.fixture(scope="module")
def embedder(model: Path) -> ElmoEmbedder:
    return ElmoEmbedder(model=model)


@pytest.mark.parametrize(
    "sentence",
    [
        TOKENS,
        tuple(TOKENS),
        iter(TOKENS),
        (token for token in TOKENS),
        np.array(TOKENS),
        np.array(TOKENS, dtype=object),
        [SimpleNamespace(text="A"), SimpleNamespace(text="cat")],
        dict.fromkeys(TOKENS).keys() and list(dict.fromkeys(TOKENS)),
    ],
)
def test_every_iterable_of_strings_or_of_spacys_tokens_is_a_sentence(sentence: object):
    assert tokens_of(sentence) == TOKENS


def test_a_column_of_pandas_is_a_sentence_or_a_batch():
    pandas = pytest.importorskip("pandas")
    assert tokens_of(pandas.Series(TOKENS)) == TOKENS
    assert list(sentences_of(pandas.Series([TOKENS, []]))) == [TOKENS, []]


@pytest.mark.parametrize(
    "sentence",
    [
        "hello world",
        b"hello",
        {"a": 1},
        {"a"},
        None,
        3,
        np.array("a"),
        Path("corpus.txt"),
        [1, 2],
        [b"a"],
        [["a"]],
    ],
)
def test_anything_else_is_a_type_error_that_says_what_was_expected(
    embedder: ElmoEmbedder, sentence: object
):
    for call in (
        embedder.embed_sentence,
        lambda one: embedder.embed_batch([one]),
        lambda one: list(embedder.embed_sentences([one])),
    ):
        with pytest.raises(TypeError, match=r"a sentence is a sequence of tokens \(str\)"):
            call(sentence)


@pytest.mark.parametrize("batch", ["hello world", b"x", {"a": ["b"]}, None, 3, Path("corpus.txt")])
def test_a_batch_that_is_none_is_a_type_error(embedder: ElmoEmbedder, batch: object):
    with pytest.raises(TypeError, match="sentences are an iterable of token lists"):
        embedder.embed_batch(batch)
    with pytest.raises(TypeError, match="sentences are an iterable of token lists"):
        embedder.embed_sentences(batch)


def test_a_data_frame_is_neither_a_sentence_nor_a_batch(embedder: ElmoEmbedder):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": ["b"]})
    with pytest.raises(TypeError, match="got an object of type DataFrame"):
        embedder.embed_batch(frame)
    with pytest.raises(TypeError, match="got an object of type DataFrame"):
        embedder.embed_sentence(frame)


def test_an_empty_token_is_an_error(embedder: ElmoEmbedder):
    with pytest.raises(CorpusError, match="sentence 1: token 2 is empty"):
        embedder.embed_batch([["a"], ["b", "c", ""]])


def test_a_file_is_given_open(embedder: ElmoEmbedder, tmp_path: Path):
    for given in ("corpus.txt", tmp_path / "corpus.txt", None, 3):
        with pytest.raises(TypeError, match="it takes an open text file"):
            embedder.embed_file(given, tmp_path / "out.h5")
    with pytest.raises(TypeError, match="gives bytes"):
        embedder.embed_file(iter([b"a"]), tmp_path / "out.h5")
    with pytest.raises(ValueError, match="output_format is 'mean'"):
        embedder.embed_file(iter(["a"]), tmp_path / "out.h5", "mean")
    assert not list(tmp_path.iterdir())


def test_a_batch_has_one_sentence_at_least(embedder: ElmoEmbedder):
    with pytest.raises(ValueError, match="batch_size is 0; it takes 1 or more"):
        embedder.embed_sentences([TOKENS], batch_size=0)
    with pytest.raises(TypeError, match=r"batch_size is 2\.5"):
        embedder.embed_sentences([TOKENS], batch_size=2.5)


def test_options_are_renamed_and_other_words_left():
    with (
        pytest.raises(
            ModelError, match=r"^a--b: pass options_file, batch_tokens or device cpu -- x$"
        ),
        naming_arguments(),
    ):
        raise ModelError("a--b: pass --options, --batch-tokens or --device cpu -- x")

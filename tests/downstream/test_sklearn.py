"""ElmoVectorizer in scikit-learn's pipelines and searches, and the cache of its vectors."""

import pickle
import re
import runpy
import shutil
import sqlite3
import subprocess
import sys
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

import elmo_cli
from elmo_cli import ElmoVectorizer
from elmo_cli.downstream.vector_cache import DATABASE, VectorCache
from elmo_cli.errors import CorpusError, DiskError, ElmoError
from elmo_cli.inference.embedder import Embedder
from elmo_cli.inference.embedder_spec import EmbedderSpec
from elmo_cli.inference.selection import Selection
from tests.conftest import make_model, n_threads

TEXTS = [f"{word} {i % 7} says no{'t' * (i % 3)}" for i, word in enumerate(["cat", "dog"] * 15)]
LABELS = [text.split()[0] for text in TEXTS]
N_LAYERS, DIM = 3, 12


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sentences that are embedded from here on, as texts."""
    sentences: list[str] = []
    embed_batch = Embedder.embed_batch

    def counting(self, batch):
        sentences.extend(" ".join(tokens) for tokens in batch)
        return embed_batch(self, batch)

    monkeypatch.setattr(Embedder, "embed_batch", counting)
    return sentences


def search(vectorizer: ElmoVectorizer, n_jobs: int = 1, **grid: list) -> GridSearchCV:
    pipeline = make_pipeline(vectorizer, LogisticRegression(max_iter=2000))
    return GridSearchCV(pipeline, grid, cv=3, n_jobs=n_jobs, error_score="raise")


@pytest.mark.parametrize("cached", [False, True])
def test_vectors_are_those_of_the_command_for_all_layers_and_pools(
    model: Path, tmp_path: Path, cached: bool
):
    embedder = EmbedderSpec(model=model, device="cpu").build()
    sentences = [embedder.embed_batch([text.split()])[0] for text in TEXTS]
    for layers, pool in product(
        ["all", "top", "average", "0,2", "-1"], ["mean", "max", "first", "last"]
    ):
        vectorizer = ElmoVectorizer(
            model, layers, pool, memory=tmp_path / "cache" if cached else None
        )
        vectors = [vectorizer.fit_transform(TEXTS) for _ in range(1 + cached)]
        select = Selection(layers, pool=pool).function(N_LAYERS)
        assert vectors[0].dtype == np.float32
        np.testing.assert_array_equal(vectors[0], vectors[-1])
        np.testing.assert_allclose(
            vectors[0], [select(sentence).reshape(-1) for sentence in sentences], atol=1e-6
        )
        assert vectors[0].shape[1] == len(vectorizer.get_feature_names_out())


def test_a_document_is_a_string_or_a_sequence_of_tokens_in_any_column(model: Path):
    transform = ElmoVectorizer(model).transform
    expected = transform([["a", "b"], ["c"], []])
    assert not expected[2].any()
    texts = [" a b", "c\n", ""]
    columns = [
        tuple(texts),
        np.array(texts),
        pd.Series(texts, index=[3, 4, 5]),
        pa.array(texts),
        pa.chunked_array([texts]),
        iter(texts),
    ]
    for column in [*columns, [("a", "b"), "c", np.array([], str)]]:
        np.testing.assert_array_equal(transform(column), expected)
    assert transform([]).shape == (0, DIM)


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ("one string", "X is one str; pass a sequence"),
        (pd.DataFrame({"text": ["a"]}), "X is a table; pass one column"),
        (np.array([["a"], ["b"]]), "X is a table"),
        (7, "X is of type int"),
        (["a", None], "document 1: got None"),
        (["a", float("nan")], "document 1: got an object of type float"),
        ([b"a"], "document 0: got an object of type bytes"),
        ([{"a": 1}], "document 0: got an object of type dict"),
        ([["a", 1]], "document 0: token 1: got an object of type int"),
    ],
)
def test_what_is_no_document_is_a_type_error(model: Path, documents, message):
    with pytest.raises(TypeError, match=message):
        ElmoVectorizer(model).fit(documents).transform(documents)


def test_an_empty_token_and_unknown_settings_are_named(model: Path):
    with pytest.raises(CorpusError, match="document 1: token 1 is empty"):
        ElmoVectorizer(model).transform([["a"], ["b", ""]])
    with pytest.raises(ElmoError, match="pool='none': not a choice; one of mean, max"):
        ElmoVectorizer(model, pool="none").fit(TEXTS)
    with pytest.raises(ElmoError, match="layers '5': the model has layers 0 to 2"):
        ElmoVectorizer(model, layers="5").fit(TEXTS)


@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_parameters_default_constructible,
        estimator_checks.check_set_params,
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_mixin_order,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_valid_tag_types,
    ],
)
def test_it_passes_the_checks_of_scikit_learn_that_need_no_numbers(check):
    check("ElmoVectorizer", ElmoVectorizer())


def test_check_estimator_passes_where_it_applies():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=UserWarning)  # that it cannot make documents
        estimator_checks.check_estimator(ElmoVectorizer())


def test_it_is_cloned_and_pickled_without_weights(model: Path):
    vectorizer = ElmoVectorizer(str(model), "0,1", memory_bytes=5)
    expected = vectorizer.fit_transform(TEXTS)
    again = pickle.loads(pickle.dumps(clone(vectorizer)))  # noqa: S301  # our own bytes
    assert again.get_params() == vectorizer.get_params()
    assert len(pickle.dumps(vectorizer)) < 1000
    np.testing.assert_array_equal(again.transform(TEXTS), expected)


def test_a_data_frame_comes_out_with_its_index_and_names_of_features(model: Path):
    frame = pd.DataFrame({"text": ["a b", "c"], "number": [1.0, 2.0]}, index=["x", "y"])
    vectorizer = ElmoVectorizer(model, "all").set_output(transform="pandas")
    out = vectorizer.fit_transform(frame["text"])
    assert list(out.index) == ["x", "y"]
    assert list(out.columns[[0, -1]]) == ["elmo_layer_0_0", f"elmo_layer_2_{DIM - 1}"]
    columns = ColumnTransformer([("elmo", vectorizer, "text")], remainder="passthrough")
    assert columns.fit_transform(frame).shape == (2, N_LAYERS * DIM + 1)
    assert columns.get_feature_names_out()[-1] == "remainder__number"


def test_a_search_embeds_each_document_once_if_it_has_a_cache(
    model: Path, tmp_path: Path, embedded: list[str]
):
    grid = {"elmovectorizer__layers": ["0", "top", "average"], "logisticregression__C": [0.1, 1.0]}
    cached = search(ElmoVectorizer(model, memory=tmp_path / "cache"), **grid).fit(TEXTS, LABELS)
    assert sorted(embedded) == sorted(set(TEXTS))
    embedded.clear()
    plain = search(ElmoVectorizer(model), **grid).fit(TEXTS, LABELS)
    assert len(embedded) > 10 * len(set(TEXTS))
    np.testing.assert_array_equal(
        cached.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"]
    )
    assert plain.best_score_ == 1


def test_a_search_in_two_processes_shares_the_cache(
    model: Path, tmp_path: Path, embedded: list[str]
):
    vectorizer = ElmoVectorizer(model, memory=tmp_path / "cache", threads=1)
    found = search(vectorizer, 2, logisticregression__C=[0.1, 1.0]).fit(TEXTS, LABELS)
    assert found.best_score_ == 1
    vectorizer.transform(TEXTS)
    assert embedded == []  # here: the two processes have done it


def test_other_settings_and_another_model_in_the_same_folder_have_vectors_of_their_own(
    tmp_path: Path,
):
    folder, memory = make_model(tmp_path / "model", seed=1), tmp_path / "cache"
    first = ElmoVectorizer(folder, memory=memory).transform(TEXTS)
    assert (
        np.abs(ElmoVectorizer(folder, pool="max", memory=memory).transform(TEXTS) - first).max()
        > 1e-3
    )
    shutil.rmtree(folder)
    make_model(folder, seed=2)
    second = ElmoVectorizer(folder, memory=memory).transform(TEXTS)
    np.testing.assert_array_equal(second, ElmoVectorizer(folder).transform(TEXTS))
    assert np.abs(second - first).max() > 1e-3


def test_token_lists_that_join_to_the_same_text_have_vectors_of_their_own(
    model: Path, tmp_path: Path
):
    documents = [["a b"], ["a", "b"], ['a", "b'], ["\ud800"]]
    vectors = ElmoVectorizer(model, memory=tmp_path).transform(documents)
    np.testing.assert_array_equal(vectors, ElmoVectorizer(model).transform(documents))
    assert len(np.unique(vectors, axis=0)) == 4


def test_the_cache_keeps_the_newest_vectors_within_its_size(tmp_path: Path):
    cache = VectorCache(tmp_path, max_bytes=200_000)
    keys = [i.to_bytes(32, "big") for i in range(100)]
    for i, key in enumerate(keys[:60]):
        cache.put({key: np.full(1536, i, np.float32)})
        assert (tmp_path / DATABASE).stat().st_size < 230_000
    found = cache.get(keys)
    assert 15 < len(found) < 33
    assert set(found) == set(keys[60 - len(found) : 60])
    assert all((found[key] == keys.index(key)).all() for key in found)
    VectorCache(tmp_path, max_bytes=1).put({})
    assert cache.get(keys) == {}


FILL = """
import sys, numpy as np
from pathlib import Path
from elmo_cli.downstream.vector_cache import VectorCache
cache, first = VectorCache(Path(sys.argv[1]), 1 << 30), int(sys.argv[2])
for i in range(first, first + 40):
    cache.put({i.to_bytes(32, "big"): np.full(100, i, np.float32)})
"""


def test_several_processes_write_the_cache_at_once(tmp_path: Path):
    folder = tmp_path / "new"
    writers = [
        subprocess.Popen([sys.executable, "-c", FILL, str(folder), str(first)])
        for first in (0, 20, 40)
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    keys = [i.to_bytes(32, "big") for i in range(100)]
    found = VectorCache(folder, 1 << 30).get(keys)
    assert [int(found[key][0]) for key in keys[:80]] == list(range(80))
    assert len(found) == 80


def test_additions_that_are_interrupted_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cache = VectorCache(tmp_path, max_bytes=1 << 20)
    monkeypatch.setattr("elmo_cli.downstream.vector_cache._used_bytes", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cache.put({b"a": np.ones(3, np.float32), b"b": np.ones(3, np.float32)})
    monkeypatch.undo()
    assert cache.get([b"a", b"b"]) == {}


def test_a_cache_that_cannot_be_used_is_named(model: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match=r"file: .*; name another folder, or pass memory=None"):
        ElmoVectorizer(model, memory=tmp_path / "file").transform(["a"])
    (tmp_path / DATABASE).write_bytes(b"not a database" * 100)
    with pytest.raises(DiskError, match=r"vectors\.sqlite: .*not a database; delete it"):
        ElmoVectorizer(model, memory=tmp_path).transform(["a"])
    with sqlite3.connect(tmp_path / "other.sqlite") as other:
        other.execute("CREATE TABLE vectors (x)")
    other.close()
    (tmp_path / "other.sqlite").replace(tmp_path / DATABASE)
    with pytest.raises(DiskError, match="no such column"):
        ElmoVectorizer(model, memory=tmp_path).transform(["a"])


def test_without_scikit_learn_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    monkeypatch.delitem(sys.modules, "elmo_cli.downstream.sklearn")
    with pytest.raises(ElmoError, match=r"not installed; pip install 'elmo-cli\[sklearn\]'"):
        elmo_cli.__getattr__("ElmoVectorizer")


def test_the_examples_of_the_guide_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    guide = (Path(__file__).parents[2] / "elmo_cli/cli/guides/sklearn.md").read_text(
        encoding="utf-8"
    )
    blocks = re.findall(r"^```python\n(.*?)^```", guide, flags=re.MULTILINE | re.DOTALL)
    # tests/cli/test_readme.py runs the example that reads a feature file
    blocks = [block for block in blocks if "read_parquet" not in block]
    assert len(blocks) == 3
    (tmp_path / "example.py").write_text(
        "".join(blocks).replace("n_jobs=2", "n_jobs=1"), encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    with n_threads(torch.get_num_threads()):  # the example sets them
        runpy.run_path("example.py")
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "['person']"
    assert printed[-1] == "remainder__length"
    assert (tmp_path / "elmo-cache" / DATABASE).exists()

"""All formats: the features that were written are read; an incomplete output does not appear."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elmo_cli.errors import FeaturesError, OutputError
from elmo_cli.features.formats import FORMATS, estimate_bytes, open_writer, output_target
from elmo_cli.features.formats.detection import find_format
from elmo_cli.features.formats.options import TABLES
from elmo_cli.features.formats.registry import (
    COLUMNS,
    METADATA,
    NAMES,
    SENTENCE,
    TOKEN,
    TOKENS,
    formats_of,
)
from elmo_cli.features.reader import Features, open_features
from elmo_cli.features.spec import FeatureSpec, WriteOptions
from elmo_cli.types import Sentence

DIM = 4
LAYERS = ("layer_0", "layer_1", "layer_2")
PATHS = {name: f"out{form.suffixes[0]}" for name, form in FORMATS.items()}
EVERY = sorted(name for name, form in FORMATS.items() if TOKEN in form.vectors)  # of tokens
POOLED = sorted(name for name, form in FORMATS.items() if form.vectors == (SENTENCE,))
OF_SENTENCES = sorted(name for name, form in FORMATS.items() if SENTENCE in form.vectors)  # pooled
KEEPERS = sorted(name for name, form in FORMATS.items() if COLUMNS in form.keeps)
FACTS = {"model": "tïny", "layers": "all", "command": "elmo embed 'a b'"}
TEXTS = ["the cat", "the cat", "", "é  a\u2028b 日本", "a/b \\ . \0 x\0y \\0", "0"]


def corpus(*texts: str) -> list[Sentence]:
    """Sentences with the ids of two documents."""
    return [
        Sentence(str(i), text.split(" ") if text else [], text, f"doc/{i // 3}/{i}")
        for i, text in enumerate(texts)
    ]


def arrays_for(
    sentences: list[Sentence], description: FeatureSpec, seed: int = 0
) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [
        random.standard_normal(description.shape(len(s.tokens))).astype(description.dtype)
        for s in sentences
    ]


def windows(items: list, *bounds: int) -> Iterator[list]:
    return (items[a:b] for a, b in pairwise([0, *bounds, len(items)]))


def write(
    path: Path,
    layout: str,
    sentences: list[Sentence],
    arrays: list,
    description: FeatureSpec,
    **options: object,
) -> Path:
    with open_writer(
        layout, output_target(path, layout), description, WriteOptions(**options)
    ) as store:
        for window, features in zip(windows(sentences, 1, 4), windows(arrays, 1, 4), strict=True):
            store.write(window, features)
    assert not list(path.parent.glob(".*"))
    return path


def assert_same(features: Features, arrays: list[np.ndarray]) -> None:
    assert len(features) == len(arrays)
    for ours in (list(features), [features[i] for i in range(len(arrays))]):
        for mine, theirs in zip(ours, arrays, strict=True):
            np.testing.assert_array_equal(mine, theirs, strict=True)


@pytest.mark.parametrize("layout", EVERY)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(
    "names", [LAYERS, ("layer_2",), ("average",)], ids=["three", "one", "average"]
)
def test_token_arrays_come_back_as_they_were(
    tmp_path: Path, layout: str, dtype: str, names: tuple[str, ...]
):
    description = FeatureSpec(names, DIM, dtype, metadata=FACTS)
    sentences = corpus(*TEXTS)
    arrays = arrays_for(sentences, description)
    with open_features(
        write(tmp_path / PATHS[layout], layout, sentences, arrays, description)
    ) as features:
        assert features.layout == layout
        if METADATA not in FORMATS[layout].keeps:  # so no type
            assert {array.dtype for array in features} == {np.dtype(np.float32)}
            assert all((a.astype(dtype) == b).all() for a, b in zip(features, arrays, strict=True))
        else:
            assert features.metadata == FACTS
            assert features.description == description
            assert_same(features, arrays)


@pytest.mark.parametrize("layout", OF_SENTENCES)
@pytest.mark.parametrize("names", [LAYERS, ("mix",)], ids=["three", "mix"])
def test_pooled_arrays_come_back_as_they_were(tmp_path: Path, layout: str, names: tuple[str, ...]):
    description = FeatureSpec(names, DIM, pooled=True, metadata=FACTS)
    sentences = corpus(*TEXTS)
    arrays = arrays_for(sentences, description)
    with open_features(
        write(tmp_path / PATHS[layout], layout, sentences, arrays, description)
    ) as features:
        assert_same(features, arrays)
        assert features.description.pooled
        told = (
            [["the", "cat"], ["the", "cat"], [], ["0"]]
            if TOKENS in FORMATS[layout].keeps
            else [[]] * 4
        )
        assert [features.tokens(i) for i in (0, 1, 2, 5)] == told
        assert features.metadata == (FACTS if METADATA in FORMATS[layout].keeps else {})


@pytest.mark.parametrize("layout", [name for name in EVERY if TOKENS in FORMATS[name].keeps])
def test_words_ids_and_order_come_back(tmp_path: Path, layout: str):
    description = FeatureSpec(LAYERS, DIM)
    sentences = corpus(*TEXTS)
    with open_features(
        write(
            tmp_path / PATHS[layout],
            layout,
            sentences,
            arrays_for(sentences, description),
            description,
        )
    ) as features:
        found = [features.sentence(i) for i in range(len(features))]
        streamed = [sentence for window, _ in features.windows() for sentence in window]
        assert found == streamed
        assert [(s.key, s.tokens, s.id) for s in found] == [
            (s.key, s.tokens, s.id) for s in sentences
        ]
        assert features.keys() == [
            s.key if FORMATS[layout].default_keys == "number" else s.id for s in sentences
        ]


@pytest.mark.parametrize("layout", FORMATS)
def test_an_entry_of_the_table_is_complete(tmp_path: Path, layout: str):
    form = FORMATS[layout]
    assert form in formats_of(form.file_format)
    assert form.vectors
    assert "none" in form.compressions
    assert {*form.keeps} <= {TOKENS, NAMES, METADATA, COLUMNS}
    description = FeatureSpec(
        ("layer_0",), DIM, pooled=TOKEN not in form.vectors and SENTENCE in form.vectors
    )
    sentences = corpus("a b", "c")
    path = write(
        tmp_path / PATHS[layout], layout, sentences, arrays_for(sentences, description), description
    )
    assert find_format(path) is form  # by its content
    assert find_format(path.rename(tmp_path / "unnamed")) is form


@pytest.mark.parametrize(
    ("layout", "keys"),
    [("allennlp", "number"), ("allennlp", "id"), ("allennlp", "sentence"), ("e2e-coref", "id")],
)
def test_the_order_does_not_depend_on_a_librarys_iteration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, keys: str
):
    description = FeatureSpec(LAYERS, DIM)
    sentences = [Sentence(str(i), [f"w{i}"], f"w{i}", f"d{i}/0") for i in range(12)]
    arrays = arrays_for(sentences, description)
    options = {} if layout == "e2e-coref" else {"keys": keys}
    path = write(tmp_path / "out.h5", layout, sentences, arrays, description, **options)
    if layout == "e2e-coref":
        with h5py.File(path, "a") as file:  # as e2e-coref's own files are
            del file.attrs["layout"]
    by_name = h5py.Group.__iter__
    # h5py 3.8 to 3.11 iterate in alphabetical order
    monkeypatch.setattr(h5py.Group, "__iter__", lambda group: iter(sorted(by_name(group))))
    with open_features(path) as features:
        assert features.keys() == [
            {"number": str(i), "id": f"d{i}/0", "sentence": f"w{i}"}[keys] for i in range(12)
        ]
        assert_same(features, arrays)


def test_coref_groups_are_documents_and_layers_come_last(tmp_path: Path):
    description = FeatureSpec(LAYERS, DIM)
    ids = ["bc/x_0/0", "nw/y_0/0", "bc/x_0/1"]
    sentences = [Sentence(str(i), ["a"] * (i + 1), "", name) for i, name in enumerate(ids)]
    arrays = arrays_for(sentences, description)
    path = write(tmp_path / "out.h5", "e2e-coref", sentences, arrays, description)
    with h5py.File(path) as file:
        assert {document: list(group) for document, group in file.items()} == {
            "bc:x_0": ["0", "1"],
            "nw:y_0": ["0"],
        }
        np.testing.assert_array_equal(file["bc:x_0/1"][:], np.moveaxis(arrays[2], 0, -1))
    with open_features(path) as features:
        assert features.keys() == ids
        assert_same(features, arrays)


@pytest.mark.parametrize("layout", EVERY)
def test_layers_are_read_alone(tmp_path: Path, layout: str):
    description = FeatureSpec(LAYERS, DIM)
    sentences = corpus(*TEXTS)
    arrays = arrays_for(sentences, description)
    with open_features(
        write(tmp_path / PATHS[layout], layout, sentences, arrays, description)
    ) as features:
        np.testing.assert_array_equal(features.read(3, layers=[2]), arrays[3][[2]])
        np.testing.assert_array_equal(features.read(-1, layers=[2, 0]), arrays[-1][[2, 0]])
        with pytest.raises(FeaturesError, match="layers 0 to 2"):
            features.read(0, layers=[3])
        with pytest.raises(IndexError):
            features[len(arrays)]


@pytest.mark.parametrize("layout", EVERY)
def test_closed_features_are_one_error(tmp_path: Path, layout: str):
    description, sentences = FeatureSpec(("layer_0",), DIM), corpus("a b", "c d")
    path = write(
        tmp_path / PATHS[layout], layout, sentences, arrays_for(sentences, description), description
    )
    features = open_features(path)
    begun = [iter(features), features.windows(), iter(features.token_counts())]
    for iterator in begun:
        next(iterator)
    dataset = features.torch_dataset()
    features.close()
    features.close()  # does nothing
    uses = [lambda iterator=iterator: next(iterator) for iterator in begun]
    uses += [
        lambda: features[0],
        lambda: features.read(1, layers=[0]),
        lambda: list(features),
        lambda: next(features.windows()),
    ]
    uses += [
        features.keys,
        lambda: features.sentence(0),
        lambda: features.tokens(0),
        features.checks,
        features.__enter__,
    ]
    uses += [lambda: list(features.token_counts())]
    for use in uses:
        with pytest.raises(FeaturesError, match=r": the features are closed; open them again$"):
            use()
    assert (len(features), features.layout, features.description.dim, features.metadata) == (
        2,
        layout,
        DIM,
        {},
    )
    assert dataset[1].shape[-1] == DIM  # a data set opens the file for itself
    dataset.close()


@pytest.mark.parametrize(
    ("layout", "compression"),
    [(layout, c) for layout in EVERY for c in FORMATS[layout].compressions],
)
def test_compression_loses_nothing(tmp_path: Path, layout: str, compression: str):
    description = FeatureSpec(LAYERS, 512)
    sentences = corpus(*(["a b c d e f"] * 20), "")
    arrays = [np.round(array) for array in arrays_for(sentences, description)]
    path = write(
        tmp_path / PATHS[layout], layout, sentences, arrays, description, compression=compression
    )
    with open_features(path) as features:
        assert_same(features, arrays)
    if compression != "none":  # (an HDF5 chunk's index takes 2 kB)
        assert path.stat().st_size < sum(array.nbytes for array in arrays)


@pytest.mark.parametrize("layout", TABLES)
def test_token_rows_are_a_row_a_token(tmp_path: Path, layout: str):
    description = FeatureSpec(LAYERS, DIM, kept=pa.schema([("label", pa.string())]))
    sentences = [s._replace(kept=(f"l{s.key}",)) for s in corpus(*TEXTS) if s.tokens]
    arrays = arrays_for(sentences, description)
    path = write(tmp_path / PATHS[layout], layout, sentences, arrays, description, rows="token")
    with open_features(path) as features:
        assert_same(features, arrays)
        assert [features.sentence(i) for i in range(len(features))] == [
            s._replace(text=" ".join(s.tokens)) for s in sentences
        ]
        assert features.keys() == [s.id for s in sentences]
    with pytest.raises(OutputError, match="has no tokens, and therefore no row"):
        write(
            tmp_path / "blank.parquet",
            layout,
            [corpus("")[0]._replace(kept=("",))],
            [np.zeros((3, 0, DIM), np.float32)],
            description,
            rows="token",
        )


@pytest.mark.parametrize("layout", KEEPERS)
def test_columns_of_the_input_are_carried_over(tmp_path: Path, layout: str):
    schema = pa.schema([("label", pa.string()), ("score", pa.float64()), ("when", pa.date32())])
    description = FeatureSpec(("top",), DIM, kept=schema)
    import datetime

    sentences = [
        s._replace(kept=("x", None, datetime.date(2020, 1, 2))) for s in corpus("a b", "c")
    ]
    path = write(
        tmp_path / PATHS[layout], layout, sentences, arrays_for(sentences, description), description
    )
    if layout == "jsonl":
        assert json.loads(path.read_text().splitlines()[0])["when"] == "2020-01-02"
    else:
        with open_features(path) as features:
            assert features.sentence(1).kept == sentences[1].kept
            assert features.description.kept == schema
    with pytest.raises(OutputError, match="rename the input's"):
        write(
            tmp_path / f"2{path.name}",
            layout,
            [],
            [],
            replace(description, kept=pa.schema([("tokens", pa.string())])),
        )


@pytest.mark.parametrize("layout", EVERY)
def test_no_sentences_make_a_whole_empty_file(tmp_path: Path, layout: str):
    path = write(tmp_path / PATHS[layout], layout, [], [], FeatureSpec(LAYERS, DIM, metadata=FACTS))
    with open_features(path) as features:
        assert (len(features), list(features), features.keys()) == (0, [], [])


@pytest.mark.parametrize("layout", EVERY)
def test_a_failed_run_leaves_nothing(tmp_path: Path, layout: str):
    description = FeatureSpec(LAYERS, DIM)
    for name in (PATHS[layout], "folder"):
        if name == "folder" and not FORMATS[layout].makes_folders:
            continue
        opened = open_writer(
            layout,
            output_target(tmp_path / name, layout),
            description,
            WriteOptions(shard_tokens=1),
        )
        with pytest.raises(KeyboardInterrupt), opened as store:  # noqa: PT012  # the block is what fails
            store.write(corpus("a b"), arrays_for(corpus("a b"), description))
            assert not (tmp_path / name).exists()
            raise KeyboardInterrupt
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("layout", EVERY)
def test_the_same_job_writes_the_same_bytes(tmp_path: Path, layout: str):
    description, sentences = FeatureSpec(LAYERS, DIM), corpus(*TEXTS)
    one, two = (
        write(
            tmp_path / f"{i}{PATHS[layout]}",
            layout,
            sentences,
            arrays_for(sentences, description),
            description,
        )
        for i in range(2)
    )
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("layout", EVERY)
@pytest.mark.parametrize("pooled", [False, True])
def test_the_estimate_is_no_less_than_the_file(tmp_path: Path, layout: str, pooled: bool):
    if pooled and SENTENCE not in FORMATS[layout].vectors:
        pytest.skip("the format holds tokens")
    description, sentences = (
        FeatureSpec(LAYERS, 32, pooled=pooled, metadata=FACTS),
        corpus(*["the cat sat on it"] * 2000),
    )
    path = write(
        tmp_path / PATHS[layout], layout, sentences, arrays_for(sentences, description), description
    )
    text_bytes = sum(len(s.text) + len(s.id or "") for s in sentences)
    estimate = estimate_bytes(
        layout, description, len(sentences), sum(len(s.tokens) for s in sentences), text_bytes
    )
    begun = 600_000 if layout == "packed" else 20_000  # chunks that are not full
    assert path.stat().st_size < estimate + begun


@pytest.mark.parametrize("layout", EVERY)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    tokens=st.lists(
        st.lists(st.text(min_size=1).filter(lambda t: not any(c.isspace() for c in t)), max_size=4),
        max_size=6,
    )
)
def test_any_words_come_back(tmp_path: Path, layout: str, tokens: list[list[str]]):
    description = FeatureSpec(("top",), 2)
    sentences = [
        Sentence(str(i), words, " ".join(words), f"d/{i}") for i, words in enumerate(tokens)
    ]
    arrays = arrays_for(sentences, description)
    if METADATA not in FORMATS[layout].keeps and not any(tokens):
        return  # blank sentences do not tell a dimension
    path = tmp_path / PATHS[layout]
    path.unlink(missing_ok=True)
    with open_features(write(path, layout, sentences, arrays, description)) as features:
        assert_same(features, arrays)
        if TOKENS in FORMATS[layout].keeps:
            assert [features.tokens(i) for i in range(len(tokens))] == tokens


def shared_file(folder: Path, layout: str) -> tuple[Path, list[np.ndarray]]:
    """A file of many sentences in several windows, and their arrays."""
    folder = folder / layout
    folder.mkdir()
    description = FeatureSpec(LAYERS, DIM)
    sentences = corpus(*[" ".join(["w"] * (1 + i % 5)) for i in range(60)])
    arrays = arrays_for(sentences, description)
    return write(folder / PATHS[layout], layout, sentences, arrays, description), arrays


def read_at_random(features: Features, arrays: list[np.ndarray], seed: int) -> int:
    """How many of many reads give another array or other tokens."""
    wrong = 0
    for i in np.random.default_rng(seed).integers(0, len(arrays), 150).tolist():
        wrong += (
            not np.array_equal(features[i], arrays[i])
            or len(features.sentence(i).tokens) != arrays[i].shape[1]
        )
    return wrong


@pytest.mark.parametrize("layout", EVERY)
def test_threads_read_one_file(tmp_path: Path, layout: str):
    path, arrays = shared_file(tmp_path, layout)
    with open_features(path) as features, ThreadPoolExecutor(5) as pool:
        streamed = pool.submit(list, features)
        assert (
            list(pool.map(lambda seed: read_at_random(features, arrays, seed), range(4))) == [0] * 4
        )
        for mine, theirs in zip(streamed.result(), arrays, strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("layout", EVERY)
def test_a_pickled_file_is_opened_where_it_is_unpickled(
    tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch
):
    path, arrays = shared_file(tmp_path, layout)
    monkeypatch.chdir(path.parent)
    with open_features(path.name) as features:
        pickled = pickle.dumps(features)
    monkeypatch.chdir(tmp_path.parent)
    with pickle.loads(pickled) as again:  # noqa: S301  # our own bytes
        assert_same(again, arrays)
        assert again.layout == layout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_forked_processes_read_one_file(tmp_path: Path):
    """A separate process forks three times while a window of each file has been read."""
    paths = {layout: str(shared_file(tmp_path, layout)[0]) for layout in EVERY}
    program = """
import json, os, sys
import numpy as np
from elmo_cli import open_features
from tests.features.test_formats import read_at_random
files = {layout: open_features(path) for layout, path in json.loads(sys.argv[1]).items()}
arrays = {layout: list(features) for layout, features in files.items()}
begun = {layout: features.windows() for layout, features in files.items()}
firsts = {layout: next(windows)[1] for layout, windows in begun.items()}
children = []
for seed in range(3):
    child = os.fork()
    if child == 0:
        wrong = 0
        for layout, features in files.items():
            wrong += read_at_random(features, arrays[layout], seed)
            rest = firsts[layout] + [array for _, found in begun[layout] for array in found]
            same = len(rest) == len(arrays[layout])
            wrong += not (same and all(map(np.array_equal, rest, arrays[layout])))
        os._exit(min(wrong, 100))
    children.append(child)
wrong = sum(read_at_random(features, arrays[layout], 9) for layout, features in files.items())
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
sys.exit(f"{wrong} {codes}" if wrong or any(codes) else 0)
"""
    command = [sys.executable, "-W", "ignore", "-c", program, json.dumps(paths)]
    done = subprocess.run(
        command, timeout=120, capture_output=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr.decode()

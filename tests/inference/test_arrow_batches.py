"""EmbedArrowBatches with the types of Arrow, and with the libraries of the guide to dataframes."""

import multiprocessing
import os
import pickle
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from elmo_cli.errors import CorpusError, ElmoError, ModelError, OutputError
from elmo_cli.inference import in_process
from elmo_cli.inference.arrow_batches import EmbedArrowBatches
from elmo_cli.inference.arrow_columns import VectorType
from elmo_cli.inference.embedder_spec import EmbedderSpec
from elmo_cli.inference.in_process import EMBEDDERS
from elmo_cli.inference.selection import Selection
from tests.conftest import make_model, n_threads

N_LAYERS, DIM = 3, 12
TOKENS = [["The", "cat"], [], None, ["sat"], None, ["The", "cat"]]
TEXTS = [None if tokens is None else " ".join(tokens) for tokens in TOKENS]
STRINGS = pa.list_(pa.string())


def expected(model: Path, select: Selection) -> list:
    """The vectors of TOKENS by the embedder itself."""
    embedder, function = EmbedderSpec(model=model, device="cpu").build(), select.function(N_LAYERS)
    return [
        None if tokens is None else function(embedder.embed_batch([tokens])[0]) for tokens in TOKENS
    ]


def assert_equal(column: pa.Array, vectors: list) -> None:
    rows = column.to_pylist()
    assert [row is None for row in rows] == [vector is None for vector in vectors]
    for row, vector in zip(rows, vectors, strict=True):
        if vector is not None:
            np.testing.assert_allclose(
                np.array(row, vector.dtype).reshape(vector.shape), vector, atol=1e-6
            )


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("pool", ["none", "mean", "first"])
@pytest.mark.parametrize("lists", ["fixed", "variable"])
@pytest.mark.parametrize("kind", [pa.Table, pa.RecordBatch])
def test_vectors_are_those_of_the_embedder_and_the_schema_is_the_promised_one(
    model: Path, kind, lists, pool, dtype
):
    batch = kind.from_arrays(
        [pa.array(TOKENS, STRINGS), pa.array(range(6))], names=["tokens", "id"]
    )
    embed = EmbedArrowBatches(model=model, layers="0,2", pool=pool, dtype=dtype, lists=lists)
    out = embed(batch)
    assert type(out) is kind
    assert out.schema == embed.schema(batch.schema)
    assert out.schema.names == ["tokens", "id", "layer_0", "layer_2"]
    assert out.select(["tokens", "id"]).equals(batch)
    out.validate(full=True)
    for i, layer in enumerate(["0", "2"]):
        vectors = expected(model, Selection(layer, pool=pool, dtype=dtype))
        assert_equal(
            out.column(2 + i), [None if vector is None else vector[0] for vector in vectors]
        )


@pytest.mark.parametrize("layers", ["top", "average"])
def test_top_and_average_are_one_column_of_that_name(model: Path, layers):
    out = EmbedArrowBatches(model=model, layers=layers)(
        pa.table({"tokens": pa.array(TOKENS, STRINGS)})
    )
    assert out.schema.names == ["tokens", layers]
    assert_equal(out[layers], expected(model, Selection(layers)))


COLUMNS = {
    "large lists": pa.array(TOKENS, pa.large_list(pa.large_string())),
    "views": pa.array(TOKENS, pa.list_(pa.string_view())),
    "lists of a dictionary": pa.array(TOKENS, pa.list_(pa.dictionary(pa.int8(), pa.string()))),
    "strings": pa.array(TEXTS),
    "large strings": pa.array(TEXTS, pa.large_string()),
    "a dictionary": pa.array(TEXTS).dictionary_encode(),
    "a dictionary with a null in it": pa.DictionaryArray.from_arrays(
        [0, 1, 2, 3, 2, 0], ["The cat", "", None, "sat"]
    ),
    "binary": pa.array([text and text.encode() for text in TEXTS], pa.binary()),
    "a slice": pa.array([["x"], *TOKENS, ["y"]], STRINGS).slice(1, 6),
    "chunks": pa.chunked_array([[], TOKENS[:2], TOKENS[2:3], TOKENS[3:]], STRINGS),
}


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
def test_a_column_of_any_type_that_holds_sentences(model: Path, column):
    out = EmbedArrowBatches(model=model, layers="2", pool="mean", column="it")(
        pa.table({"it": column})
    )
    out.validate(full=True)
    vectors = expected(model, Selection("2", pool="mean"))
    assert_equal(out["layer_2"], [None if vector is None else vector[0] for vector in vectors])


def test_arrays_are_not_shared_between_the_chunks_of_a_table(model: Path):
    column = pa.chunked_array([TOKENS[:2], TOKENS[2:3], TOKENS[3:]], STRINGS)
    out = EmbedArrowBatches(model=model, layers="2")(pa.table({"tokens": column}))
    assert [len(chunk) for chunk in out["layer_2"].chunks] == [2, 1, 3]
    assert {chunk.offset for chunk in out["layer_2"].chunks} == {0}


@pytest.mark.parametrize("pool", ["none", "mean"])
@pytest.mark.parametrize("lists", ["fixed", "variable"])
@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ([], STRINGS),
        ([], pa.null()),
        ([None, None], pa.null()),
        ([[], None], pa.list_(pa.null())),
        ([None], pa.large_list(pa.null())),
        ([None], STRINGS),
        ([[]], STRINGS),
    ],
)
def test_batches_without_tokens_have_the_same_schema(model: Path, rows, kind, lists, pool):
    embed = EmbedArrowBatches(model=model, lists=lists, pool=pool)
    for batch in (
        pa.table({"tokens": pa.array(rows, kind)}),
        pa.record_batch({"tokens": pa.array(rows, kind)}),
    ):
        out = embed(batch)
        out.validate(full=True)
        nothing = [] if pool == "none" else [0.0] * DIM
        assert out.column("layer_0").to_pylist() == [
            None if row is None else nothing for row in rows
        ]
        assert list(out.schema)[1:] == list(embed.schema(pa.schema([("tokens", STRINGS)])))[1:]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["a"], None, ["b", ""]], "batch: row 3: column 'tokens': token 2 is an empty text"),
        ([["a"], None, None, ["b", None]], "batch: row 4: column 'tokens': token 2 is null"),
        ([[None]], "row 1: .* token 1 is null"),
        ([1, 2], "batch: column 'tokens' is of type int64; it has to contain lists of strings"),
        ([[1]], "is of type list<"),
    ],
)
def test_a_row_that_is_no_sentence_is_named(model: Path, rows, message):
    with pytest.raises(CorpusError, match=message):
        EmbedArrowBatches(model=model)(pa.table({"tokens": rows}))


def test_a_name_that_is_taken_or_missing_is_an_error_and_a_prefix_helps(model: Path):
    table = pa.table({"tokens": [["a"]], "layer_1": [1]})
    with pytest.raises(
        OutputError, match="has a column 'layer_1' already; rename it, or pass prefix="
    ):
        EmbedArrowBatches(model=model)(table)
    assert (
        EmbedArrowBatches(model=model, prefix="elmo_", layers="1")(table).schema.names[-1]
        == "elmo_layer_1"
    )
    with pytest.raises(
        CorpusError,
        match="batch: has no column 'text'; its columns: tokens, layer_1; choose one by column=",
    ):
        EmbedArrowBatches(model=model, column="text").schema(table.schema)


@pytest.mark.parametrize(
    "setting", [{"pool": "sum"}, {"dtype": "int8"}, {"lists": "large"}, {"layers": "two"}]
)
def test_a_setting_that_does_not_exist_is_refused_at_once(setting):
    with pytest.raises(ElmoError, match=next(iter(setting))):
        EmbedArrowBatches(**setting)


def test_more_elements_than_offsets_can_count_are_an_error():
    most = 2**31 - 1
    VectorType("float32", 1024, "fixed", pooled=False).check_size(most)
    VectorType("float32", 1024, "variable", pooled=True).check_size(most // 1024)
    for lists, n in (("fixed", most + 1), ("variable", most // 1024 + 1)):
        with pytest.raises(
            OutputError, match="a list column of Arrow holds 2,147,483,647; pass smaller batches"
        ):
            VectorType("float32", 1024, lists, pooled=False).check_size(n)


def test_the_size_is_checked_before_anything_is_computed(
    model: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("elmo_cli.inference.arrow_columns.MAX_OFFSET", 3 * DIM - 1)
    monkeypatch.setattr(EMBEDDERS, "load", lambda _: pytest.fail("loaded"))
    with pytest.raises(OutputError, match="a layer has 36 elements"):
        EmbedArrowBatches(model=model, lists="variable")(pa.table({"tokens": [["a", "b", "c"]]}))


def test_metadata_of_the_schema_are_kept(model: Path):
    table = pa.table({"tokens": [["a"]]}).replace_schema_metadata({"by": "me"})
    assert EmbedArrowBatches(model=model)(table).schema.metadata == {b"by": b"me"}


def test_it_is_pickled_without_weights_and_the_schema_does_not_read_them(tmp_path: Path):
    folder = make_model(tmp_path / "model")
    embed = EmbedArrowBatches(model=folder, pool="mean")
    assert pickle.loads(pickle.dumps(embed)) == embed  # noqa: S301  # our own bytes
    assert len(pickle.dumps(embed)) < 500
    (folder / "weights.hdf5").write_bytes(b"")
    table = pa.table({"tokens": [["a"]]})
    assert embed.schema(table.schema).names[1:] == ["layer_0", "layer_1", "layer_2"]
    with pytest.raises(ModelError):
        embed(table)


def test_a_process_loads_a_model_once_and_again_when_its_files_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(in_process, "EMBEDDERS", in_process.LoadedEmbedders())
    monkeypatch.setattr("elmo_cli.inference.arrow_batches.EMBEDDERS", in_process.EMBEDDERS)
    loads = []
    build = EmbedderSpec.build
    monkeypatch.setattr(EmbedderSpec, "build", lambda spec: loads.append(spec) or build(spec))
    folder, table = make_model(tmp_path / "model", seed=1), pa.table({"tokens": [["a"]]})
    embed = EmbedArrowBatches(model=folder)
    first = embed(table)
    assert (
        replace(embed, pool="mean")(table).num_rows
        == pickle.loads(pickle.dumps(embed))(table).num_rows  # noqa: S301
        == 1
    )
    assert len(loads) == 1
    make_model(folder, seed=2)
    assert not embed(table).equals(first)
    assert len(loads) == 2


def test_the_embedders_that_a_process_keeps_are_few(model: Path):
    loaded = in_process.LoadedEmbedders()
    specs = [EmbedderSpec(model=str(model), device="cpu", batch_tokens=n) for n in range(1, 8)]
    for spec in specs:
        loaded.load(spec)
    assert len(loaded._loaded) == in_process.MAX_LOADED
    assert loaded.load(specs[-1]) is loaded.load(specs[-1])


def test_threads_get_the_same_vectors_as_one(model: Path):
    tables = [pa.table({"tokens": [[f"w{i}x{j}" for j in range(20)]] * 3}) for i in range(24)]
    embed = EmbedArrowBatches(model=model)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(embed, tables))
    alone = EmbedArrowBatches(model=model, threads=1)
    assert all(table.equals(alone(one)) for table, one in zip(found, tables, strict=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_worker_loads_its_own_model_and_answers():
    embed, table = (
        EmbedArrowBatches(model="tiny", layers="2", pool="mean"),
        pa.table({"tokens": [["a"] * 50] * 50}),
    )
    with n_threads(2):
        torch.ones(1 << 20).sum()  # starts threads that the child will not have
        mine = embed(table)
        with multiprocessing.get_context("fork").Pool(1) as pool:
            theirs = pool.apply_async(embed, [table]).get(timeout=120)
    np.testing.assert_allclose(
        theirs["layer_2"].to_pylist(), mine["layer_2"].to_pylist(), atol=1e-6
    )


GUIDE = (Path(__file__).parents[2] / "elmo_cli/cli/guides/dataframes.md").read_text(
    encoding="utf-8"
)
BLOCKS = {
    title: re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[0]
    for title, text in re.findall(r"(?s)^#+ ([^\n]+)\n(.*?)(?=^#|\Z)", GUIDE, re.MULTILINE)
}
LIBRARIES = {
    "polars": "polars",
    "datasets": "datasets",
    "Spark": "pyspark",
    "Ray Data": "ray",
    "Daft": "daft",
    "Dask": "dask",
}
ROWS_OF = {
    "polars": "embedded['layer_2'].to_list()",
    "datasets": "embedded.with_format(None)['layer_2'][:]",
    "Spark": "[row.layer_2 for row in embedded.orderBy('id').collect()]",
    "Ray Data": "[r['layer_2'] for r in sorted(embedded.take_all(), key=lambda r: r['id'])]",
    "Daft": "embedded.to_pydict()['layer_2']",
    "Dask": "pa.Table.from_pandas(embedded)['layer_2'].to_pylist()",
}
CHECK = """
import numpy, pyarrow
found = {rows}
expected = embed(pyarrow.table(rows))["layer_2"].to_pylist()
assert found[2] is None and len(found) == 3, found
first = numpy.array([list(row) for row in found[:2]])
numpy.testing.assert_allclose(first, expected[:2], atol=1e-6)
print("the vectors agree")
"""


def test_the_guide_has_an_example_for_each_library():
    assert (
        set(BLOCKS) - {"Spark, Ray Data, Daft, Dask, datasets, polars"}
        == set(LIBRARIES)
        == set(ROWS_OF)
    )


@pytest.mark.parametrize("title", LIBRARIES)
def test_the_same_object_gives_the_same_vectors_in_each_library_as_the_guide_writes_it(
    title, tmp_path: Path
):
    if find_spec(LIBRARIES[title]) is None:
        pytest.skip(f"{LIBRARIES[title]} is not installed")
    first = BLOCKS["Spark, Ray Data, Daft, Dask, datasets, polars"]
    script = tmp_path / "example.py"
    script.write_text(first + BLOCKS[title] + CHECK.format(rows=ROWS_OF[title]), encoding="utf-8")
    quiet = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path),
        "OMP_NUM_THREADS": "2",
    }
    done = subprocess.run(
        [sys.executable, script],
        env={**os.environ, **quiet},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert "the vectors agree" in done.stdout, done.stderr[-3000:]

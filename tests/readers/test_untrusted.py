import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc, parquet

from elmo_cli.errors import CorpusError
from elmo_cli.io import sandbox
from elmo_cli.io.arrow_sizes import value_bytes
from elmo_cli.io.sizes import DamagedError
from elmo_cli.readers import columns
from elmo_cli.readers.arrow import read_arrow
from elmo_cli.readers.corpus import Corpus, CorpusScan
from elmo_cli.readers.options import ReadOptions
from elmo_cli.readers.parquet import read_parquet
from tests.helpers.corpora import table, write_arrow, write_parquet

READ = {"parquet": (write_parquet, read_parquet), "arrow": (write_arrow, read_arrow)}
both = pytest.mark.parametrize("kind", READ)
MIB = 1 << 20


def dictionary(n: int, value: str) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int8)), pa.array([value]))


def rows_of(array: pa.Array, *ends: int) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array([0, *ends], pa.int32()), array)


def problems_of(
    kind: str, data: pa.Table, folder: Path, **reading: object
) -> tuple[list, list[str]]:
    problems: list[CorpusError] = []
    path = READ[kind][0](data, folder / f"a.{kind}")
    sentences = list(READ[kind][1](path, ReadOptions(**reading), problems.append))
    return sentences, [str(problem).partition(f"a.{kind}: ")[2] for problem in problems]


@both
def test_a_long_text_that_a_dictionary_repeats_is_held_a_few_times(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
):
    rows_read = []
    monkeypatch.setattr(
        columns, "_read_rows", lambda batch, *_: rows_read.append(batch.num_rows) or []
    )
    problems_of(kind, pa.table({"tokens": dictionary(4000, "word " * (MIB // 5))}), tmp_path)
    assert sum(rows_read) == 4000
    assert max(rows_read) <= columns.TARGET_BYTES / MIB


@both
@pytest.mark.parametrize("column", ["tokens", "id", "other"])
def test_a_row_that_repeats_long_tokens_is_named_and_not_made(
    tmp_path: Path, kind: str, column: str
):
    values = {
        "tokens": pa.array([["a"], ["b"], ["c"]]),
        "id": pa.array(["x", "y", "z"]),
        "other": pa.array([1, 2, 3]),
    }
    large = (
        pa.array(["x", "y" * (1 + columns.MAX_ROW_BYTES), "z"])
        if column == "id"
        else rows_of(dictionary(1002, "x" * MIB), 1, 1001, 1002)
    )
    sentences, problems = problems_of(
        kind, pa.table({**values, column: large}), tmp_path, id_column="id", keep=("other",)
    )
    assert [sentence.key for sentence in sentences] == ["0", "2"]
    assert len(problems) == 1
    assert problems[0].startswith(f"row 2: column '{column}' takes ")
    assert problems[0].endswith("; a row has to be a sentence")


@both
def test_a_row_of_too_many_tokens_is_named(tmp_path: Path, kind: str):
    n = columns.MAX_TOKENS
    sentences, problems = problems_of(
        kind, pa.table({"tokens": rows_of(dictionary(n + 4, "x"), 2, n + 3, n + 4)}), tmp_path
    )
    assert [len(sentence.tokens) for sentence in sentences] == [2, 1]
    assert problems == [
        (
            "row 2: column 'tokens' has 1,048,577 tokens, more than 1,048,576; a row has to be a "
            "sentence"
        )
    ]


@both
def test_a_text_of_too_many_tokens_is_named(tmp_path: Path, kind: str):
    sentences, problems = problems_of(
        kind,
        table(["a " * columns.MAX_TOKENS, "a " * (columns.MAX_TOKENS + 1), "b"], pa.string()),
        tmp_path,
    )
    assert [len(sentence.tokens) for sentence in sentences] == [columns.MAX_TOKENS, 1]
    assert problems == [
        "row 2: column 'tokens' has more than 1,048,576 tokens; a row has to be a sentence"
    ]


def test_lists_and_texts_that_share_their_memory_are_weighed_as_often_as_they_are_told():
    views = np.array([[MIB, 0, 0, 0]] * 3, np.int32).tobytes()
    texts = pa.Array.from_buffers(
        pa.string_view(), 3, [None, pa.py_buffer(views), pa.py_buffer(b"\0" * MIB)]
    )
    lists = pa.ListViewArray.from_arrays(
        pa.array([0, 0, 1], pa.int32()), pa.array([3, 3, 2], pa.int32()), texts
    )
    assert (value_bytes(texts) // MIB).tolist() == [1, 1, 1]
    assert (value_bytes(lists) // MIB).tolist() == [3, 3, 2]
    assert (value_bytes(lists[1:]) // MIB).tolist() == [3, 2]


def test_views_are_weighed_though_their_buffer_ends_within_one():
    views = np.array([[2, 0, 0, 0]] * 2, np.int32).tobytes() + b"x"
    texts = pa.Array.from_buffers(pa.string_view(), 2, [None, pa.py_buffer(views)])
    assert np.diff([value_bytes(pa.array([""]))[0], *value_bytes(texts)]).tolist() == [2, 0]


@pytest.mark.parametrize(
    "array",
    [
        pa.array([["a", "bc"], None, [], ["def"]]),
        pa.array([["a", "bc"], None, [], ["def"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
        pa.array([["a", None], None], pa.list_(pa.string(), 2)),
        pa.array([["a", "bc"], None, [], ["def"]], pa.list_view(pa.string())),
        pa.array(["a", None, "b" * 40], pa.string_view()),
        pa.array([b"a", None], pa.large_binary()),
        pa.array([None, None], pa.dictionary(pa.int8(), pa.string())),
        pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
        pa.array([{"x": 1, "y": ["a"]}, None]),
        pa.nulls(3),
        pa.array([1, 2]),
    ],
    ids=lambda array: str(array.type),
)
def test_arrays_of_any_kind_are_weighed_whole_and_cut(array: pa.Array):
    whole = value_bytes(array)
    for start, stop in itertools.combinations(range(len(array) + 1), 2):
        assert value_bytes(array[start:stop]).tolist() == whole[start:stop].tolist()


def packed_arrow(new: Callable[..., ipc.RecordBatchFileWriter], data: pa.Table, path: Path) -> None:
    with new(path, data.schema, options=ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(data)


def plain_parquet(data: pa.Table, path: Path) -> None:
    """Without Arrow's own schema, so that dictionaries are put in place."""
    parquet.write_table(data, path, compression="zstd", store_schema=False)


LARGE = 300 * MIB
LARGE_TEXT = pa.table({"tokens": pa.array(["b", "a" * LARGE])})
BOMBS: dict[str, Callable[[Path], object]] = {
    "page.parquet": lambda path: parquet.write_table(
        LARGE_TEXT, path, compression="zstd", use_dictionary=False
    ),
    "list.parquet": lambda path: plain_parquet(
        pa.table({"tokens": rows_of(dictionary(LARGE >> 2, "x"), LARGE >> 2)}), path
    ),
    "repeated.parquet": lambda path: plain_parquet(
        pa.table({"tokens": dictionary(600, "x" * MIB)}), path
    ),
    "batch.arrow": lambda path: packed_arrow(ipc.new_file, LARGE_TEXT, path),
    "batch.arrows": lambda path: packed_arrow(ipc.new_stream, LARGE_TEXT, path),
    "dictionary.arrow": lambda path: packed_arrow(
        ipc.new_file,
        pa.table({"tokens": LARGE_TEXT["tokens"].combine_chunks().dictionary_encode()}),
        path,
    ),
}


@pytest.mark.sandboxed
@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux enforces a limit of a process's memory"
)
@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_that_stands_for_a_large_one_is_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capfd
):
    monkeypatch.setattr(sandbox, "FREE_BYTES", 256 * MIB)
    BOMBS[name](tmp_path / name)
    assert (tmp_path / name).stat().st_size < MIB
    with pytest.raises(
        CorpusError, match=rf"{name}: takes more (than 25[67] MiB of )?memory to read"
    ):
        Corpus([tmp_path / name]).scan()
    assert capfd.readouterr().err == ""


@pytest.mark.sandboxed
def test_a_file_that_takes_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sandbox, "FREE_SECONDS", 1)
    plain_parquet(pa.table({"tokens": dictionary(10_000_000, "x")}), tmp_path / "1.parquet")
    with pytest.raises(
        CorpusError, match=r"1\.parquet: takes more than \d s of processor time to read"
    ):
        Corpus([tmp_path]).scan()


@pytest.mark.sandboxed
def test_a_scan_in_a_child_process_counts_the_same(tmp_path: Path):
    path = write_parquet(table([["a", "b"], [], ["c"]]), tmp_path / "a.parquet")
    corpus, read = Corpus([path], "keep"), CorpusScan()
    scan = corpus.scan()
    assert [sentence.tokens for sentence in corpus.read(read)] == [["a", "b"], [], ["c"]]
    assert (scan.sentences, scan.tokens, scan.n_blank, scan.hexdigest()) == (
        3,
        3,
        1,
        read.hexdigest(),
    )
    with pytest.raises(
        CorpusError, match=r"a\.parquet: 1 blank row \(2\); pass --blank-lines skip"
    ):
        Corpus([path]).scan()


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("encoding", ["PLAIN", "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", None])
@pytest.mark.parametrize(
    "data",
    [table([["a", "b"], ["c"]] * 3000), table(["a b", "c"] * 3000, pa.string())],
    ids=["lists", "texts"],
)
def test_every_encoding_of_text_is_read(
    tmp_path: Path, version: str, encoding: str | None, data: pa.Table
):
    path = tmp_path / "a.parquet"
    coding = {"column_encoding": encoding, "use_dictionary": False} if encoding else {}
    parquet.write_table(
        data,
        path,
        data_page_version=version,
        data_page_size=1000,
        row_group_size=2500,
        compression="zstd",
        **coding,
    )
    assert [sentence.tokens for sentence in read_parquet(path)] == [["a", "b"], ["c"]] * 3000


@pytest.mark.parametrize(
    ("column", "array", "words"),
    [
        (
            "tokens",
            pa.array([[]], pa.list_(pa.string(), 0)),
            "column 'tokens' is of type fixed_size_list<.*; it has to contain lists of strings",
        ),
        ("x", pa.array([[1]]), None),
        (
            "x",
            pa.ListArray.from_arrays(
                pa.array([0, 1], pa.int32()),
                pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array(["a"])]),
            ),
            (
                "column 'x' is of type list<.*union.*, whose values do not have one type; it "
                "cannot be kept"
            ),
        ),
    ],
    ids=["lists without elements", "lists", "unions"],
)
def test_a_type_that_no_output_takes_is_named(
    tmp_path: Path, column: str, array: pa.Array, words: str | None
):
    path = write_arrow(pa.table({"tokens": pa.array([["a"]]), column: array}), tmp_path / "a.arrow")
    reading = read_arrow(path, ReadOptions(keep=("x",) if column == "x" else ()))
    if words is None:
        assert len(list(reading)) == 1
    else:
        with pytest.raises(CorpusError, match=words):
            list(reading)


def test_a_place_that_a_dictionary_has_not_is_damage():
    for indices in ([0, 2], [-1, 0]):
        array = pa.DictionaryArray.from_arrays(
            pa.array(indices, pa.int8()), pa.array(["a", "b"]), safe=False
        )
        with pytest.raises(DamagedError, match="a dictionary has no such value"):
            value_bytes(pa.ListArray.from_arrays(pa.array([0, 2], pa.int32()), array))

import datetime
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from elmo_cli.errors import CorpusError
from elmo_cli.readers import columns
from elmo_cli.readers.arrow import read_arrow
from elmo_cli.readers.corpus import Corpus
from elmo_cli.readers.options import ReadOptions
from elmo_cli.readers.parquet import read_parquet
from tests.helpers.corpora import table, write_arrow, write_parquet

SENTENCES = [["The", "cat"], ["sat", "a\nb\tc", " "], ["."]]
LISTS = {
    "list": pa.list_(pa.string()),
    "large list": pa.large_list(pa.large_string()),
    "list of dictionary": pa.list_(pa.dictionary(pa.int32(), pa.string())),
    "list of binary": pa.list_(pa.binary()),
}
READ = {"parquet": (write_parquet, read_parquet), "arrow": (write_arrow, read_arrow)}
both = pytest.mark.parametrize("kind", READ)


def write(kind: str, data: object, folder: Path, **options: object) -> Path:
    return READ[kind][0](data, folder / f"data.{kind}", **options)


def read(kind: str, path: Path, **reading: object) -> list:
    return list(READ[kind][1](path, ReadOptions(**reading)))


@both
@pytest.mark.parametrize("type_", LISTS.values(), ids=LISTS.keys())
def test_lists_of_any_kind_are_tokens_as_they_are(tmp_path: Path, kind: str, type_: pa.DataType):
    path = write(kind, table(SENTENCES, type_), tmp_path)
    assert [sentence.tokens for sentence in read(kind, path)] == SENTENCES


@both
def test_fixed_size_lists_are_tokens(tmp_path: Path, kind: str):
    path = write(kind, table([["a", "b"], ["c", "d"]], pa.list_(pa.string(), 2)), tmp_path)
    assert [sentence.tokens for sentence in read(kind, path)] == [["a", "b"], ["c", "d"]]


@both
@pytest.mark.parametrize(
    "type_", [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int8(), pa.string())]
)
def test_texts_are_split(tmp_path: Path, kind: str, type_: pa.DataType):
    path = write(kind, table(["a  b ", "a\tb c"], type_), tmp_path)
    assert [(sentence.tokens, sentence.text) for sentence in read(kind, path)] == [
        (["a", "b"], "a  b"),
        (["a", "b", "c"], "a\tb c"),
    ]
    assert [sentence.tokens for sentence in read(kind, path, separator="tab")] == [
        ["a  b "],
        ["a", "b c"],
    ]


@both
def test_ids_and_kept_columns_come_along(tmp_path: Path, kind: str):
    moment = datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc)
    data = table(
        [["a"], ["b"]],
        other=pa.array([b"x" * 99] * 2),
        n=pa.array([7, 8]),
        label=pa.array(["no", None]).dictionary_encode(),
        spans=pa.array([[1, 2], []]),
        at=pa.array([moment, moment], pa.timestamp("us", "UTC")),
    )
    path = write(kind, data, tmp_path)
    sentences = read(kind, path, id_column="n", keep=("label", "spans", "at"))
    assert [(s.id, s.kept) for s in sentences] == [
        ("7", ("no", [1, 2], moment)),
        ("8", (None, [], moment)),
    ]
    fields = Corpus([path], reading=ReadOptions(keep=("label", "spans", "at"))).kept_fields()
    item = "element" if kind == "parquet" else "item"  # Parquet's own name
    assert [str(field.type) for field in fields] == [
        "string",
        f"list<{item}: int64>",
        "timestamp[us, tz=UTC]",
    ]


@both
def test_kept_nanoseconds_are_not_lost(tmp_path: Path, kind: str):
    at = pa.array([1, 1577836800000000001], pa.timestamp("ns"))
    sentences = read(kind, write(kind, table([["a"], ["b"]], at=at), tmp_path), keep=("at",))
    assert pa.array([sentence.kept[0] for sentence in sentences], at.type).equals(at)


@both
def test_only_the_needed_columns_are_read(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
):
    seen = []
    monkeypatch.setattr(
        f"elmo_cli.readers.{kind}.read_batch",
        lambda batch, *_: seen.append(batch.schema.names) or [],
    )
    read(
        kind, write(kind, table([["a"]], x=[1], y=[2], z=[3]), tmp_path), id_column="y", keep=("x",)
    )
    assert seen == [["tokens", "y", "x"]]


@both
def test_large_rows_are_decoded_a_few_at_a_time(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(columns, "TARGET_BYTES", 1 << 13)
    sizes = []
    monkeypatch.setattr(columns, "_read_rows", lambda batch, *_: sizes.append(batch.num_rows) or [])
    read(kind, write(kind, table([[f"token{i}"] * 10 for i in range(2000)]), tmp_path))
    assert sum(sizes) == 2000
    assert max(sizes) < 100


@both
@pytest.mark.parametrize(
    ("data", "reading", "words"),
    [
        (
            table([["a"]], words=["x"]),
            {"column": ("word",)},
            "has no column 'word'; its columns: tokens, words; choose one by --column",
        ),
        (
            table([["a"]]),
            {"id_column": "id"},
            "has no column 'id'; its columns: tokens; choose one by --id-column",
        ),
        (
            table([["a"]]),
            {"keep": ("label",)},
            "has no column 'label'; its columns: tokens; choose one by --keep",
        ),
        (
            table([["a"]], x=[1.5]),
            {"id_column": "x"},
            "column 'x' is of type double; an id has to be a string or an integer",
        ),
        (
            table([[1, 2]], pa.list_(pa.int64())),
            {},
            (
                "column 'tokens' is of type list<.*: int64>; it has to contain lists of strings, "
                "or strings"
            ),
        ),
        (table([1], pa.int64()), {}, "column 'tokens' is of type int64"),
        (table([[["a"]]], pa.list_(pa.list_(pa.string()))), {}, "column 'tokens' is of type list<"),
        (pa.table([[["a"]], [["b"]]], ["tokens", "tokens"]), {}, "has 2 columns 'tokens'"),
        (
            table([["a"], None]),
            {},
            "row 2: column 'tokens' is null; it has to be a text or a list of tokens",
        ),
        (
            table([["a"], ["b", None]]),
            {},
            "row 2: column 'tokens': token 2 is null; every token has to be a text",
        ),
        (table([["a", ""]]), {}, "row 1: column 'tokens': token 2 is an empty text"),
        (
            table([["a"]], id=pa.array([None], pa.string())),
            {"id_column": "id"},
            "row 1: column 'id' is null; the id of a sentence has to be",
        ),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, kind: str, data: pa.Table, reading: dict, words: str
):
    path = write(kind, data, tmp_path)
    with pytest.raises(CorpusError, match=rf"data\.{kind}: {words}"):
        Corpus([path], reading=ReadOptions(**reading)).scan()


@both
def test_text_that_is_no_utf8_names_its_row_or_is_replaced(tmp_path: Path, kind: str):
    path = write(kind, table([[b"a"], [b"b\xff"]], pa.list_(pa.binary())), tmp_path)
    with pytest.raises(
        CorpusError,
        match=(
            r"row 2: column 'tokens' is not UTF-8 \(invalid start byte\); pass --encoding-errors "
            r"replace"
        ),
    ):
        read(kind, path)
    assert [sentence.tokens for sentence in read(kind, path, encoding_errors="replace")] == [
        ["a"],
        ["b\ufffd"],
    ]


def test_parquet_whose_strings_are_no_utf8_names_the_row(tmp_path: Path):
    strings = pa.array([b"a", b"b\xff"]).cast(pa.binary()).view(pa.string())
    path = write_parquet(pa.table({"tokens": strings}), tmp_path / "data.parquet")
    with pytest.raises(CorpusError, match=r"row 2: column 'tokens' is not UTF-8"):
        read("parquet", path)
    path = write_parquet(pa.table({"tokens": pa.ListArray.from_arrays([0, 1, 2], strings)}), path)
    with pytest.raises(CorpusError, match=r"row 2: column 'tokens' is not UTF-8"):
        read("parquet", path)


def test_kept_text_that_is_no_utf8_is_an_error(tmp_path: Path):
    path = write_parquet(
        table([["a"], ["b"]], label=pa.array([b"x", b"\xff"]).view(pa.string())),
        tmp_path / "data.parquet",
    )
    with pytest.raises(
        CorpusError, match="rows 1 to 2: a column to keep contains text that is not UTF-8"
    ):
        read("parquet", path, keep=("label",))


@both
def test_a_truncated_file_is_an_error(tmp_path: Path, kind: str):
    path = write(kind, table([["word"] * 50] * 50), tmp_path)
    whole = path.read_bytes()
    for size in (0, 3, 8, 11, 12, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(
            CorpusError, match=rf"data\.{kind}: (is not a complete|cannot be read to its end)"
        ):
            Corpus([path]).scan()


@both
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_a_changed_byte_is_an_error_or_another_text_but_no_bug(
    tmp_path_factory: pytest.TempPathFactory, kind: str, place: float, byte: int
):
    path = write(
        kind,
        table([["word"] * 5] * 5, id=[str(i) for i in range(5)]),
        tmp_path_factory.mktemp("changed"),
    )
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] = byte
    path.write_bytes(data)
    try:
        Corpus([path], "keep").scan()
    except CorpusError as error:
        assert "data." in str(error)  # noqa: PT017  # either is right


def test_a_footer_larger_than_the_file_is_refused(tmp_path: Path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1" + b"x" * 20 + (0x7FFFFFFF).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(
        CorpusError, match=r"its footer declares 2,147,483,647 bytes.*; check that it was written"
    ):
        read("parquet", path)


def test_packed_parquet_is_told_to_be_unpacked(tmp_path: Path):
    path = tmp_path / "a.parquet.gz"
    path.write_bytes(b"\x1f\x8b" + b"x" * 40)
    with pytest.raises(
        CorpusError, match=r"a\.parquet\.gz: is not a complete Parquet file; .* not compressed"
    ):
        Corpus([path]).scan()


def test_many_columns_are_not_all_named(tmp_path: Path):
    path = write_parquet(pa.table({f"c{i}": [i] for i in range(300)}), tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match=r"its columns: c0, .*, c49, \.\.\.; choose"):
        read("parquet", path)


def test_columns_to_keep_have_to_be_of_one_type(tmp_path: Path):
    write_parquet(table([["a"]], label=[1]), tmp_path / "a.parquet")
    write_parquet(table([["a"]], label=["x"]), tmp_path / "b.parquet")
    with pytest.raises(
        CorpusError,
        match=(
            r"b\.parquet: its columns to keep are of other types .*label: string.* than those of "
            r".*a\.parquet"
        ),
    ):
        Corpus([tmp_path], reading=ReadOptions(keep=("label",))).scan()


def test_columns_to_keep_of_a_stream_are_refused(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CorpusError, match="--keep reads the schema first"):
        Corpus([tmp_path / "pipe"], reading=ReadOptions(format="arrow", keep=("x",))).kept_fields()


def test_stream_and_file_of_arrow_are_told_apart(tmp_path: Path):
    for name in ("a.arrow", "a.feather", "a.arrows"):
        assert [
            s.tokens for s in read_arrow(write_arrow(SENTENCES, tmp_path / name, rows=2))
        ] == SENTENCES


def test_shards_of_parquet_are_embedded_as_one(
    elmo: Callable[..., Result], model: Path, tmp_path: Path
):
    (tmp_path / "shards").mkdir()
    for number in (1, 0):
        parquet.write_table(
            table([[f"w{number}"]], id=[f"x{number}"]),
            tmp_path / "shards" / f"part-{number}.parquet",
        )
    (tmp_path / "shards" / "_SUCCESS").touch()
    result = elmo(
        "embed", tmp_path / "shards", tmp_path / "out.h5", "--model", model, "--id-column", "id"
    )
    assert result.exit_code == 0, result.output
    assert "2 sentences, 2 tokens" in result.stderr

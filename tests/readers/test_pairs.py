"""Several columns or fields of a row: each is a sentence, named by the row's id and the column."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result

from elmo_cli import open_features
from elmo_cli.errors import CorpusError
from elmo_cli.features.resume.parts import read_part, write_part
from elmo_cli.readers import columns
from elmo_cli.readers.corpus import Corpus
from elmo_cli.readers.options import ReadOptions
from tests.conftest import read_features
from tests.helpers.corpora import write_arrow, write_parquet

Elmo = Callable[..., Result]
ROWS = [
    {"pair": "p1", "one": "The cat sat .", "two": "A cat .", "label": "yes"},
    {"pair": "p2", "one": "It slept", "two": "No", "label": "no"},
]
NAMES = ("one", "two")


def write_rows(name: str, rows: list[dict], path: Path) -> Path:
    if name in ("parquet", "arrow"):
        return {"parquet": write_parquet, "arrow": write_arrow}[name](
            pa.Table.from_pylist(rows), path
        )
    if name == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], delimiter="," if name == "csv" else "\t")
        writer.writeheader()
        writer.writerows(rows)
    return path


def reading_of(
    name: str, *, ids: bool = False, names: tuple[str, ...] = NAMES, **more: object
) -> ReadOptions:
    kind = "field" if name == "jsonl" else "column"
    return ReadOptions(**{kind: names}, **({f"id_{kind}": "pair"} if ids else {}), **more)


formats = pytest.mark.parametrize("name", ["parquet", "arrow", "csv", "tsv", "jsonl"])


@formats
def test_columns_of_a_row_are_sentences_called_by_its_id_and_theirs(tmp_path: Path, name: str):
    path = write_rows(name, ROWS, tmp_path / f"a.{name}")
    source = Corpus([path], reading=reading_of(name, ids=True, keep=("label",)))
    assert [(s.key, s.id, s.text, s.kept) for s in source.read()] == [
        ("0", "p1/one", "The cat sat .", ("yes",)),
        ("1", "p1/two", "A cat .", ("yes",)),
        ("2", "p2/one", "It slept", ("no",)),
        ("3", "p2/two", "No", ("no",)),
    ]
    assert source.scan().sentences == 4


@formats
def test_without_an_id_the_rows_number_stands_for_it_from_file_to_file(tmp_path: Path, name: str):
    paths = [write_rows(name, ROWS, tmp_path / f"{letter}.{name}") for letter in "ab"]
    found = list(Corpus(paths, reading=reading_of(name, names=("two", "one"))).read())
    assert [s.key for s in found] == list("01234567")
    assert [s.id for s in found] == [
        f"{row}/{column}" for row in range(4) for column in ("two", "one")
    ]
    assert [s.text for s in found[4:6]] == ["A cat .", "The cat sat ."]


@formats
def test_sentences_are_the_same_after_a_run_that_was_stopped(tmp_path: Path, name: str):
    path = write_rows(name, ROWS, tmp_path / f"a.{name}")
    for names in (NAMES, ("two",)):
        source = Corpus([path], reading=reading_of(name, names=names, keep=("label",)))
        window = list(source.read())
        write_part(
            tmp_path / "part",
            window,
            [np.zeros((1, 1, 1), np.float32)] * len(window),
            source.kept_fields(),
        )
        assert read_part(tmp_path / "part")[0] == window


@formats
def test_one_column_gives_rows_as_ever(tmp_path: Path, name: str):
    path = write_rows(name, ROWS, tmp_path / f"a.{name}")
    assert [
        (s.key, s.id) for s in Corpus([path], reading=reading_of(name, names=("two",))).read()
    ] == [("0", None), ("1", None)]


@formats
def test_a_blank_sentence_and_an_equal_id_are_named_by_their_row(tmp_path: Path, name: str):
    path = write_rows(
        name, [ROWS[0], {**ROWS[1], "two": ""}, {**ROWS[0], "pair": "p2"}], tmp_path / f"a.{name}"
    )
    with pytest.raises(CorpusError) as caught:
        Corpus([path], reading=reading_of(name, ids=True)).scan()
    place = f"{path}:" if name == "jsonl" else f"{path}: row "
    assert f"1 blank {'line' if name == 'jsonl' else 'row'} (2)" in str(caught.value)
    assert f"{place}3 has the id 'p2/one' of {place}2; make ids unique" in str(caught.value)
    assert "'p2/two'" in str(caught.value)
    kept = Corpus([path], "skip", reading_of(name)).read()
    assert [s.key for s in kept] == ["0", "1", "2", "4", "5"]


@formats
def test_a_column_that_is_not_there_is_named(tmp_path: Path, name: str):
    path = write_rows(name, ROWS, tmp_path / f"a.{name}")
    with pytest.raises(
        CorpusError,
        match=r"has no (column|field) 'three'; its (columns|fields): pair, one, two, label",
    ):
        Corpus([path], reading=reading_of(name, names=("one", "three"))).scan()


@pytest.mark.parametrize("name", ["parquet", "arrow"])
def test_a_bad_value_of_any_column_is_named(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
):
    rows = [
        {"one": ["a"], "two": ["b"]},
        {"one": ["c"], "two": [""]},
        {"one": ["d"], "two": ["e"] * 20},
    ]
    path = write_rows(name, rows, tmp_path / f"a.{name}")
    monkeypatch.setattr(columns, "MAX_TOKENS", 10)
    with pytest.raises(CorpusError) as caught:
        Corpus([path], reading=reading_of(name)).scan()
    assert "row 2: column 'two': token 1 is an empty text" in str(caught.value)
    assert "row 3: column 'two' has 20 tokens, more than 10" in str(caught.value)


def test_fields_that_hold_documents_number_their_sentences(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text('{"one": [["a"], ["b"]], "two": "c"}\n')
    found = Corpus([tmp_path / "a.jsonl"], reading=reading_of("jsonl")).read()
    assert [(s.key, s.id, s.text) for s in found] == [
        ("0", "0/one/0", "a"),
        ("1", "0/one/1", "b"),
        ("2", "0/two", "c"),
    ]


def test_pairs_have_the_vectors_of_their_sentences(elmo: Elmo, model: Path, tmp_path: Path):
    table = write_rows("tsv", ROWS, tmp_path / "a.tsv")
    (tmp_path / "a.txt").write_text("".join(f"{row['one']}\n{row['two']}\n" for row in ROWS))
    options = ("--column", "one", "--column", "two")
    assert (
        elmo(
            "embed", table, tmp_path / "pairs.h5", "--model", model, *options, "--id-column", "pair"
        ).exit_code
        == 0
    )
    assert elmo("embed", tmp_path / "a.txt", tmp_path / "text.h5", "--model", model).exit_code == 0
    pairs, text = read_features(tmp_path / "pairs.h5"), read_features(tmp_path / "text.h5")
    assert list(pairs) == list(text)
    assert all(np.array_equal(pairs[key], text[key]) for key in text)
    assert (
        elmo(
            "verify", tmp_path / "pairs.h5", "--corpus", table, *options, "--id-column", "pair"
        ).exit_code
        == 0
    )
    assert (
        elmo(
            "embed", table, tmp_path / "a.parquet", "--model", model, *options, "--keep", "label"
        ).exit_code
        == 0
    )
    found = pq.read_table(tmp_path / "a.parquet").select(["key", "number", "label"]).to_pylist()
    assert [tuple(row.values()) for row in found] == [
        ("0/one", 0, "yes"),
        ("0/two", 1, "yes"),
        ("1/one", 2, "no"),
        ("1/two", 3, "no"),
    ]


def test_a_field_of_json_lines_is_kept_in_every_table(elmo: Elmo, model: Path, tmp_path: Path):
    lines = [{"tokens": "a b", "label": 1, "meta": {"x": 1}}, {"tokens": "c", "label": 2.5}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name in ("parquet", "arrow", "jsonl"):
        out = tmp_path / f"out.{name}"
        result = elmo(
            "embed",
            tmp_path / "a.jsonl",
            out,
            "--model",
            model,
            "--keep",
            "label",
            "--keep",
            "meta",
        )
        assert result.exit_code == 0, result.output
    kept = [(1.0, '{"x": 1}'), (2.5, None)]
    for table in (
        pq.read_table(tmp_path / "out.parquet"),
        pa.ipc.open_file(tmp_path / "out.arrow").read_all(),
    ):
        assert list(zip(*table.select(["label", "meta"]).to_pydict().values(), strict=True)) == kept
    told = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(line["label"], line["meta"]) for line in told] == kept
    assert '"label": 1.0' in (tmp_path / "out.jsonl").read_text()  # as after a run that was resumed
    with open_features(tmp_path / "out.jsonl") as features:
        assert len(features) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--column", "one", "--column", "one"), "--column names one twice; name it once."),
        (("--keep", "label", "--keep", "label"), "--keep names label twice"),
        (("--model", "tiny", "--model", "original"), "--model is given 2 times; give it once."),
        (("--layers", "0", "--layers", "1", "--layers", "2"), "--layers is given 3 times"),
        (("--options", "a", "--options-file", "b"), "--options-file is given 2 times"),
        (("--resume", "--no-resume"), "--resume is given 2 times"),
    ],
)
def test_what_has_one_value_is_given_once(
    elmo: Elmo, tmp_path: Path, options: tuple[str, ...], words: str
):
    result = elmo("embed", tmp_path / "a.tsv", tmp_path / "out.h5", *options)
    assert (result.exit_code, words in result.stderr) == (2, True), result.stderr


def test_commands_of_a_group_take_an_option_once_too(elmo: Elmo):
    result = elmo("models", "path", "tiny", "--cache-dir", "a", "--cache-dir", "b")
    assert (result.exit_code, "--cache-dir is given 2 times" in result.stderr) == (2, True), (
        result.stderr
    )


def test_flags_and_options_of_several_values_may_be_repeated(
    elmo: Elmo, model: Path, tmp_path: Path
):
    path = write_rows("tsv", ROWS, tmp_path / "a.tsv")
    options = (
        "--column",
        "one",
        "--keep",
        "pair",
        "--keep",
        "label",
        "--quiet",
        "-q",
        "--include-package",
        "a",
        "--include-package",
        "a",
    )
    assert elmo("embed", path, tmp_path / "out.parquet", "--model", model, *options).exit_code == 0

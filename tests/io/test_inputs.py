"""Several inputs, folders and globs form one corpus."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from elmo_cli.errors import CorpusError
from elmo_cli.io.inputs import expand_input
from elmo_cli.readers.corpus import Corpus
from elmo_cli.readers.options import ReadOptions
from tests.conftest import read_features
from tests.helpers.corpora import table, write_arrow, write_corpus

Elmo = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Shards, one of them in a folder, among what is no shard."""
    (tmp_path / "shards" / "b").mkdir(parents=True)
    for name, content in {
        "a.txt": "a1\na2\n",
        "b/x.txt": "b1\n",
        "c.txt.gz": "",
        "_SUCCESS": "",
        ".hidden.txt": "no\n",
    }.items():
        (tmp_path / "shards" / name).write_text(content)
    (tmp_path / "shards" / "c.txt.gz").unlink()
    (tmp_path / "shards" / "c.txt").write_text("c1\n")
    return tmp_path / "shards"


def keys_and_texts(*inputs: str | Path, **reading: str) -> list[tuple[str, str]]:
    return [
        (sentence.key, sentence.text)
        for sentence in Corpus(inputs, reading=ReadOptions(**reading)).read()
    ]


def test_a_folder_is_read_in_the_order_of_names_and_numbered_on(folder: Path):
    assert keys_and_texts(folder) == [("0", "a1"), ("1", "a2"), ("2", "b1"), ("3", "c1")]


def test_inputs_are_read_in_the_order_in_which_they_are_named(folder: Path):
    assert keys_and_texts(folder / "c.txt", folder / "a.txt", folder / "c.txt") == [
        ("0", "c1"),
        ("1", "a1"),
        ("2", "a2"),
        ("3", "c1"),
    ]


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        ("*.txt", ["a1", "a2", "c1"]),
        ("[bc]*", ["b1", "c1"]),
        ("**/x.txt", ["b1"]),
        ("?.txt", ["a1", "a2", "c1"]),
    ],
)
def test_a_glob_is_read_in_the_order_of_names(folder: Path, pattern: str, texts: list[str]):
    assert [text for _, text in keys_and_texts(folder / pattern)] == texts


def test_a_file_whose_name_looks_like_a_glob_is_a_file(folder: Path):
    (folder / "[a].txt").write_text("x\n")
    assert keys_and_texts(folder / "[a].txt") == [("0", "x")]


def test_formats_may_differ_from_input_to_input_but_not_in_a_folder(folder: Path):
    jsonl = write_corpus("jsonl", [["j"]], folder / "d.jsonl")
    assert keys_and_texts(folder / "c.txt", jsonl) == [("0", "c1"), ("1", "j")]
    with pytest.raises(
        CorpusError,
        match=(
            r"contains files of several formats: c\.txt \(text\), d\.jsonl \(jsonl\); name the "
            r"files or a pattern"
        ),
    ):
        Corpus([folder]).scan()


def test_a_format_without_columns_keeps_none(tmp_path: Path):
    table = write_corpus("tsv", [["t"]], tmp_path / "a.tsv")
    text = write_corpus("text", [["j"]], tmp_path / "b.txt")
    assert Corpus([table], reading=ReadOptions(keep=("label",))).scan().sentences == 1
    with pytest.raises(
        CorpusError, match=r"b\.txt: --keep takes columns of parquet, arrow, jsonl, csv, tsv"
    ):
        Corpus([table, text], reading=ReadOptions(keep=("label",))).scan()


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """What `save_to_disk` of Hugging Face's datasets writes, with a cache beside it."""
    folder = tmp_path / "saved"
    folder.mkdir()
    for number in range(2):
        stream = write_arrow(table([[f"s{number}"]], label=[number]), folder / f"{number}.arrows")
        stream.rename(folder / f"data-{number:05}-of-00002.arrow")
    write_arrow(table([["cached"]]), folder / "cache-1f.arrow")
    (folder / "state.json").write_text('{"_data_files": []}')
    (folder / "dataset_info.json").write_text("{}")
    return folder


def test_a_saved_dataset_is_its_shards(dataset: Path):
    reading = ReadOptions(keep=("label",))
    for name in (dataset, dataset.as_uri(), f"{dataset.parent}/*"):
        assert [(s.text, s.kept) for s in Corpus([name], reading=reading).read()] == [
            ("s0", (0,)),
            ("s1", (1,)),
        ]


@pytest.mark.parametrize("remote", [False, True])
def test_a_saved_dataset_that_lacks_a_shard_or_has_splits_is_one_error(dataset: Path, remote: bool):
    (dataset / "data-00000-of-00002.arrow").unlink()
    with pytest.raises(
        CorpusError,
        match=(
            r"saved: is a saved dataset without data-00000-of-00002\.arrow; "
            r"save or copy it again"
        ),
    ):
        Corpus([dataset.as_uri() if remote else dataset]).scan()
    splits = dataset.parent / "splits"
    (splits / "train").mkdir(parents=True)
    dataset.rename(splits / "test")
    (splits / "dataset_dict.json").write_text("{}")
    named = (
        r"several splits; name the folder"
        if remote
        else r"several splits: test, train; name the folder of one, such as .*splits/test$"
    )
    with pytest.raises(CorpusError, match=named):
        Corpus([splits.as_uri() if remote else splits]).scan()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none/*.txt", "no such file; nothing matches"),
        ("empty", "contains no files to read"),
        ("none", "no such file"),
        ("", "name of an input is empty"),
    ],
)
def test_inputs_without_files_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "_SUCCESS").touch()
    with pytest.raises(CorpusError, match=words):
        Corpus([name]).scan()


def test_a_file_called_as_standard_input_is_named_by_its_folder(
    elmo: Elmo, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-").write_text("a b\n")
    assert [sentence.text for sentence in Corpus(["./-"]).read()] == ["a b"]
    result = elmo("embed", "./-", "-", "./-", "--model", model, "--overwrite", stdin=b"c\n")
    assert (result.exit_code, "is read by this run" in result.stderr) == (1, True)
    result = elmo("embed", "-", "./-", "--model", model, "--overwrite", stdin=b"c\n")
    assert result.exit_code == 0, result.output
    assert list(read_features(tmp_path / "-")) == ["0"]


def test_standard_input_is_named_once():
    with pytest.raises(CorpusError, match="standard input is named more than once"):
        Corpus(["-", "a.txt", "-"]).scan()


def test_problems_and_blank_lines_name_their_file(folder: Path):
    (folder / "a.txt").write_bytes(b"a\n\xff\n")
    (folder / "b" / "x.txt").write_bytes(b"\nb\n")
    with pytest.raises(CorpusError) as caught:
        Corpus([folder]).scan()
    first, *problems = str(caught.value).splitlines()
    assert first == f"{folder}: 2 problems:"
    assert problems[0].startswith(f"  {folder}/a.txt:2: byte 0xff")
    assert problems[1].startswith(
        f"  {folder}: 1 blank line ({folder}/b/x.txt:1); pass --blank-lines"
    )


def test_skipped_lines_keep_their_numbers_over_files(folder: Path):
    (folder / "a.txt").write_text("a1\n\n")
    assert [sentence.key for sentence in Corpus([folder], "skip").read()] == ["0", "2", "3"]


def test_a_row_without_tokens_names_its_row_and_file(tmp_path: Path):
    for name in ("a", "b"):
        write_corpus("parquet", [["x"], []], tmp_path / f"{name}.parquet")
    with pytest.raises(
        CorpusError, match=r"2 blank rows \(.*a\.parquet: row 2, .*b\.parquet: row 2\)"
    ):
        Corpus([tmp_path]).scan()


def test_equal_ids_of_a_stream_are_an_error_too(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_text(">a\nM\n>a\nM\n"))
    writer.start()
    with pytest.raises(CorpusError, match=r"pipe: sequence 2 has the id 'a' of .*pipe: sequence 1"):
        list(Corpus([tmp_path / "pipe"], reading=ReadOptions(format="fasta")).read())
    writer.join()


def test_several_inputs_are_embedded_as_one(elmo: Elmo, model: Path, folder: Path, tmp_path: Path):
    result = elmo(
        "embed",
        folder / "a.txt",
        folder / "b",
        folder / "c*",
        tmp_path / "out.h5",
        "--model",
        model,
    )
    assert result.exit_code == 0, result.output
    assert list(read_features(tmp_path / "out.h5")) == ["0", "1", "2", "3"]


def test_an_output_among_the_inputs_is_refused(elmo: Elmo, model: Path, folder: Path):
    result = elmo("embed", folder, folder / "c.txt", "--overwrite", "--model", model)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "c.txt: is read by this run" in result.stderr
    assert (folder / "c.txt").read_text() == "c1\n"


def test_a_priming_text_is_one_file_of_any_format(
    elmo: Elmo, model: Path, folder: Path, tmp_path: Path
):
    prime = write_corpus("conllu", [["a", "b"]], tmp_path / "prime.conllu")
    options = ("--model", model, "--overwrite", "--prime")
    assert elmo("embed", folder / "a.txt", tmp_path / "out.h5", *options, prime).exit_code == 0
    result = elmo("embed", folder / "a.txt", tmp_path / "out.h5", *options, folder)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "name one file" in result.stderr


def test_a_name_is_no_uri_without_a_scheme():
    assert expand_input("a:b/c//d").files == (Path("a:b/c//d"),)

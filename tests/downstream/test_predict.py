"""`elmo predict`: formats, columns, pipes, resuming, and the errors of folders."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import elmo_cli
from elmo_cli.cli.main import main
from elmo_cli.downstream.prediction_writers import TextWriter
from elmo_cli.errors import ModelError
from elmo_cli.inference.pipeline import Embedded
from elmo_cli.types import Sentence
from tests.conftest import make_model
from tests.helpers.fit_corpus import make_tagged, make_texts, run, write_conll, write_tsv


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    folder = tmp_path_factory.mktemp("tagger")
    train = write_conll(folder / "train.conll", make_tagged(30, 0))
    assert (
        run(
            "fit",
            folder / "ner",
            train,
            "--label",
            2,
            "--head",
            "crf",
            "--epochs",
            10,
            "--model",
            model,
            "-q",
        ).exit_code
        == 0
    )
    return folder / "ner"


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    folder = tmp_path_factory.mktemp("classifier")
    train = write_tsv(folder / "train.tsv", make_texts(60, 0))
    assert (
        run(
            "fit",
            folder / "kinds",
            train,
            "--column",
            "text",
            "--label",
            "label",
            "--model",
            model,
            "-q",
        ).exit_code
        == 0
    )
    return folder / "kinds"


def predict(*args: object, stdin: str | None = None) -> str:
    result = CliRunner().invoke(main, ["predict", *map(str, args), "-q"], input=stdin)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_text_becomes_columns_and_blank_lines_stay(tagger: Path, tmp_path: Path):
    (tmp_path / "new.txt").write_text("Ada x\n\nOslo\n")
    predict(tagger, tmp_path / "new.txt", tmp_path / "out.conll")
    tags = elmo_cli.load_predictor(tagger).predict(["Ada x", "Oslo"])
    assert (
        tmp_path / "out.conll"
    ).read_text() == f"Ada\t{tags[0][0]}\nx\t{tags[0][1]}\n\n\nOslo\t{tags[1][0]}\n\n"


def test_column_files_keep_their_columns_and_other_lines(tagger: Path, tmp_path: Path):
    content = "-DOCSTART- -X- O\n\nAda NNP O\nx y O\n\n"
    (tmp_path / "in.conll").write_text(content)
    tags = elmo_cli.load_predictor(tagger).predict(["Ada x"])[0]
    predict(tagger, tmp_path / "in.conll", tmp_path / "out.conll")
    assert (
        tmp_path / "out.conll"
    ).read_text() == f"-DOCSTART- -X- O\n\nAda NNP O {tags[0]}\nx y O {tags[1]}\n\n"


def test_conllu_keeps_ten_columns_comments_and_ranges(tagger: Path, tmp_path: Path):
    rest = "\t_\t_\t_\t_\t_\t_\t_\t"
    content = f"# sent_id = s1\n1-2\tAdax{rest}_\n1\tAda{rest}SpaceAfter=No\n2\tx{rest}_\n\n"
    (tmp_path / "in.conllu").write_text(content)
    predict(tagger, tmp_path / "in.conllu", tmp_path / "out.conllu", "--tag-scheme", "iobes")
    lines = (tmp_path / "out.conllu").read_text().splitlines()
    tags = [line.rpartition("Label=")[2].split("|")[0] for line in lines[2:4]]
    assert lines[:2] == content.splitlines()[:2]
    assert lines[2] == f"1\tAda{rest}Label={tags[0]}|SpaceAfter=No"
    assert lines[3:] == [f"2\tx{rest}Label={tags[1]}", ""]


def test_json_lines_keep_fields_and_ids(classifier: Path, tmp_path: Path):
    (tmp_path / "in.jsonl").write_text(
        '{"n": 7, "text": "Ada x", "key": "a"}\n{"n": 8, "text": "x Rome", "key": "b"}\n'
    )
    predict(
        classifier,
        tmp_path / "in.jsonl",
        tmp_path / "out.jsonl",
        "--field",
        "text",
        "--id-field",
        "key",
        "--proba",
    )
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    chances = elmo_cli.load_predictor(classifier).predict_proba(["Ada x", "x Rome"])
    assert [(record["id"], record["n"], record["text"]) for record in records] == [
        ("a", 7, "Ada x"),
        ("b", 8, "x Rome"),
    ]
    np.testing.assert_allclose(
        [list(record["probabilities"].values()) for record in records], chances, atol=1e-5
    )
    assert [record["label"] for record in records] == list(
        elmo_cli.load_predictor(classifier).predict(["Ada x", "x Rome"])
    )


def test_tables_keep_their_columns_and_a_label_column_is_not_overwritten(
    classifier: Path, tmp_path: Path
):
    texts = make_texts(12, 3)
    path = write_tsv(tmp_path / "in.tsv", texts)
    predict(classifier, path, tmp_path / "out.tsv", "--column", "text")
    rows = [line.split("\t") for line in (tmp_path / "out.tsv").read_text().splitlines()]
    assert rows[0] == ["label", "text", "predicted_label"]
    assert [(text, label) for label, text, _ in rows[1:]] == texts
    predict(classifier, path, tmp_path / "out.parquet", "--column", "text", "--proba")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["label", "text", "predicted_label", "probabilities"]
    assert table["predicted_label"].to_pylist() == [row[2] for row in rows[1:]]


def test_a_pipe_is_labelled_line_by_line(classifier: Path, tagger: Path):
    lines = predict(
        classifier, "-", "-", "--output-format", "jsonl", stdin="Ada x\n\nx Rome\n"
    ).splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["Ada x", "", "x Rome"]
    assert json.loads(lines[1])["label"] is None
    found = predict(tagger, "-", "-", "--proba", stdin="Ada x\n")
    assert all(0 < float(line.split("\t")[2]) <= 1 for line in found.splitlines() if line)


def test_a_stopped_run_is_resumed_to_the_same_bytes(
    tagger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "in.txt").write_text("Ada x Rome\n" * 40)
    args = [tagger, tmp_path / "in.txt", tmp_path / "out.conll", "--window-tokens", 12]
    predict(*args)
    expected = (tmp_path / "out.conll").read_bytes()
    (tmp_path / "out.conll").unlink()
    calls, write = [], TextWriter.write

    def stop_at_third(self: TextWriter, window: list, arrays: list) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        write(self, window, arrays)

    monkeypatch.setattr(TextWriter, "write", stop_at_third)
    result = run("predict", *args)
    assert result.exit_code == 130
    assert "pass --resume to continue" in result.stderr
    assert not (tmp_path / "out.conll").exists()
    monkeypatch.setattr(TextWriter, "write", write)
    predict(*args, "--resume")
    assert (tmp_path / "out.conll").read_bytes() == expected


def test_the_labels_do_not_depend_on_the_window(tagger: Path, tmp_path: Path):
    (tmp_path / "in.txt").write_text(
        "".join(" ".join(tokens) + "\n" for tokens, _ in make_tagged(30, 5))
    )
    outputs = [
        predict(tagger, tmp_path / "in.txt", "-", "--window-tokens", size) for size in (1, 1000)
    ]
    assert outputs[0] == outputs[1]


def test_several_devices_give_the_same_labels(tagger: Path, tmp_path: Path):
    (tmp_path / "in.txt").write_text(
        "".join(" ".join(tokens) + "\n" for tokens, _ in make_tagged(30, 5))
    )
    args = [tagger, tmp_path / "in.txt", "-", "--window-tokens", 20]
    assert predict(*args, "--device", "cpu,cpu") == predict(*args, "--device", "cpu")


def test_vectors_that_are_not_finite_are_an_error(
    tagger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from elmo_cli.inference.engines.local import LocalEngine

    complete = LocalEngine.embedded

    def spoilt(self: LocalEngine, windows: Iterator[list[Sentence]]) -> Iterator[Embedded]:
        for embedded in complete(self, windows):
            embedded.arrays[1][0, 0, 0] = np.nan
            yield embedded

    monkeypatch.setattr(LocalEngine, "embedded", spoilt)
    (tmp_path / "in.txt").write_text("Ada\nx Rome\n")
    result = run("predict", tagger, tmp_path / "in.txt", tmp_path / "out.conll")
    assert (result.exit_code, "sentence 2: its vectors contain NaN" in result.stderr) == (
        1,
        True,
    ), result.stderr


def test_a_folder_of_another_kind_or_a_missing_bilm_is_one_line(
    tagger: Path, classifier: Path, tmp_path: Path, model: Path
):
    with pytest.raises(ModelError, match="is not a folder that elmo fit has made"):
        elmo_cli.load_predictor(model)
    with pytest.raises(ModelError, match="no such folder"):
        elmo_cli.load_predictor(tmp_path / "nowhere")
    copy = tmp_path / "copy"
    shutil.copytree(tagger, copy)
    shutil.rmtree(copy / "bilm")
    settings = json.loads((copy / "predictor.json").read_text())
    (copy / "predictor.json").write_text(json.dumps({**settings, "model": "no-such-model"}))
    with pytest.raises(ModelError, match=r"its biLM 'no-such-model' .* cannot be found"):
        elmo_cli.load_predictor(copy)
    with pytest.raises(ModelError, match="was trained with the biLM"):
        elmo_cli.load_predictor(copy, model=make_model(tmp_path / "other", seed=9))
    assert elmo_cli.load_predictor(copy, model=model).predict(["x"]) == elmo_cli.load_predictor(
        tagger
    ).predict(["x"])
    (copy / "predictor.json").write_text("{")
    with pytest.raises(ModelError, match="is damaged"):
        elmo_cli.load_predictor(copy)
    shutil.copy(classifier / "head.hdf5", copy / "head.hdf5")
    shutil.copy(tagger / "predictor.json", copy / "predictor.json")
    with pytest.raises(ModelError, match="train the classifier again"):
        elmo_cli.load_predictor(copy)


def test_formats_that_do_not_fit_are_refused(classifier: Path, tmp_path: Path):
    (tmp_path / "in.txt").write_text("x\n")
    for args, expected in [
        (["out.conll"], "CoNLL columns are for labels of tokens"),
        (
            ["-", "--output-format", "parquet"],
            "-: Parquet cannot be written to standard output; name a file",
        ),
        (["out.xyz"], "is of no format of predictions"),
        (["out.tsv", "--tag-scheme", "iob2"], "--tag-scheme is for tags of spans"),
    ]:
        result = run(
            "predict",
            classifier,
            tmp_path / "in.txt",
            args[0] if args[0] == "-" else tmp_path / args[0],
            *args[1:],
        )
        assert (result.exit_code, expected in result.stderr) == (2, True), result.stderr

"""Only the same job can resume a work folder."""

from pathlib import Path

import pytest

from elmo_cli.inference.job import EmbedJob, PreparedRun
from tests.cli.test_main import assert_one_line_error
from tests.conftest import SAMPLE, max_difference, read_features, sentences_of
from tests.helpers.runs import Corpus, Run

CHANGES = {
    "layers": (["--layers", "top"], ["--layers (all, now top)"]),
    "window": (["--window-tokens", "601"], ["--window-tokens (600, now 601)"]),
    "start": (["--prime", str(SAMPLE)], ["where sentences start (zero, now primed by"]),
    "keys": (
        ["--use-sentence-keys", "--forget-sentences"],
        ["--keys (None, now sentence)", "--forget-sentences (False, now True)"],
    ),
}


@pytest.mark.parametrize(("options", "words"), CHANGES.values(), ids=CHANGES.keys())
def test_another_job_is_refused_and_told_apart(
    run: Run, stopped: Run, tmp_path: Path, options: list[str], words: list[str]
):
    stopped()
    result = run("--resume", *options)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "the unfinished run was another job" in result.stderr
    assert all(word in result.stderr for word in words), result.stderr
    # What decides the speed alone may change
    assert run("--resume", "--batch-tokens", "100").exit_code == 0
    run(out="whole.h5")
    assert (
        max_difference(read_features(tmp_path / "out.h5"), read_features(tmp_path / "whole.h5"))
        < 1e-6
    )


def test_another_model_is_refused(run: Run, stopped: Run):
    stopped()
    result = run("--resume", "--model", "tiny")
    assert result.exit_code == 1
    assert "the model (" in result.stderr
    assert "its options (" in result.stderr


@pytest.mark.parametrize("line", [0, -1])
def test_a_changed_input_is_refused(run: Run, stopped: Run, corpus: Corpus, line: int):
    lines = SAMPLE.read_text(encoding="utf-8").splitlines()
    path = corpus("\n".join(lines))
    stopped(corpus=path)
    lines[line] = lines[line].replace("e", "a")
    result = run("--resume", corpus=corpus("\n".join(lines)))
    assert result.exit_code == 1
    assert "it differs in the input (" in result.stderr


def test_a_stream_is_resumed_if_it_is_the_same(run: Run, stopped: Run, tmp_path: Path):
    text = SAMPLE.read_bytes()
    result = stopped(corpus=Path("-"), stdin=text)
    assert "pass --resume to continue" in result.stderr
    other = run("--resume", corpus=Path("-"), stdin=text.replace(b"muddy", b"dusty"))
    assert "the unfinished run read another input: sentence 2 was another one" in other.stderr
    shorter = run("--resume", corpus=Path("-"), stdin=b"\n".join(text.splitlines()[:3]))
    assert "the unfinished run read another input: sentence 4 is missing" in shorter.stderr
    assert "the input (a stream, now sha256" in run("--resume").stderr
    assert run("--resume", corpus=Path("-"), stdin=text).exit_code == 0
    run(out="file.h5")
    assert (
        max_difference(read_features(tmp_path / "out.h5"), read_features(tmp_path / "file.h5")) == 0
    )


def test_a_bad_line_late_in_a_stream_can_be_mended(run: Run, tmp_path: Path):
    text = SAMPLE.read_bytes()
    result = run(corpus=Path("-"), stdin=text + b"\xff\n")
    assert "is not UTF-8" in result.stderr
    assert "are kept: pass --resume to continue" in result.stderr
    assert run("--resume", corpus=Path("-"), stdin=text).exit_code == 0
    assert len(read_features(tmp_path / "out.h5")) == len(sentences_of(SAMPLE))


def test_blank_lines_are_part_of_the_job(run: Run, tmp_path: Path):
    corpus = tmp_path / "blank.txt"
    corpus.write_text("a b\n\nc\n")
    assert run("--blank-lines", "skip", corpus=corpus).exit_code == 0
    again = run("--blank-lines", "keep", "--resume", corpus=corpus)
    assert again.exit_code == 1
    assert "exists already" in again.stderr


def test_a_stateful_run_says_that_it_cannot_be_resumed(run: Run, tmp_path: Path):
    result = run("--stateful", "--resume")
    assert result.exit_code == 2
    assert "--stateful cannot be resumed" in result.stderr
    assert run("--resume", "--fresh").exit_code == 2
    assert run("--stateful").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]


def test_an_input_that_changes_during_the_run_ends_it(
    run: Run, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = corpus("a b\nc d\n")
    prepare = EmbedJob.prepare

    def prepare_then_change(job: EmbedJob) -> PreparedRun:
        prepared = prepare(job)
        path.write_text("a b\nc e\n")
        return prepared

    monkeypatch.setattr(EmbedJob, "prepare", prepare_then_change)
    assert_one_line_error(
        run(corpus=path), "was changed during the run; nothing is written: start over with --fresh"
    )
    assert not (tmp_path / "out.h5").exists()

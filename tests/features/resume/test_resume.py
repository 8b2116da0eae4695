"""Interrupted runs: what is kept, and when it is used or removed."""

import signal
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest

from elmo_cli.errors import OutputError
from elmo_cli.features.formats import allennlp as hdf5
from elmo_cli.features.formats.npy import NpyWriter
from elmo_cli.features.formats.npz_arrays import NpzArraysWriter
from elmo_cli.features.formats.word2vec import Word2VecWriter
from elmo_cli.features.protocols import FeatureWriter
from elmo_cli.features.resume.parts import count_sentences
from elmo_cli.inference.embedder import Embedder
from elmo_cli.inference.engines import worker as engine_worker
from elmo_cli.types import Sentence
from tests.conftest import SAMPLE, sentences_of
from tests.helpers.runs import BugError, Check, Corpus, Run, parts_of, stop_writing, work_of


@pytest.mark.parametrize("after", [0, 1, 4, 8])
def test_a_resumed_run_writes_what_an_uninterrupted_one_does(
    assert_whole: Check, run: Run, stopped: Run, tmp_path: Path, after: int
):
    result = stopped(after=after)
    kept = sum(map(count_sentences, parts_of(tmp_path)))
    assert result.exit_code == 143
    assert len(parts_of(tmp_path)) == after + 1  # a window is kept before it is written
    assert (
        result.stderr
        == f"Stopped by SIGTERM; {kept} sentences are kept: pass --resume to continue.\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == [work_of(tmp_path).name]
    assert run("--resume").exit_code == 0
    assert_whole()


@pytest.mark.parametrize(
    ("out", "kind", "options"),
    [
        ("out.vec", Word2VecWriter, ["--layers", "top"]),
        ("out.npy", NpyWriter, ["--pool", "mean"]),
        ("out.npz", NpzArraysWriter, ["--layout", "arrays"]),
    ],
)
def test_a_file_that_is_made_at_the_end_is_the_same_when_it_is_resumed(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    out: str,
    kind: type[FeatureWriter],
    options: list[str],
):
    assert run(*options, out=out).exit_code == 0
    expected = (tmp_path / out).read_bytes()
    (tmp_path / out).unlink()
    with monkeypatch.context() as patch:
        stop_writing(patch, kind, 3, KeyboardInterrupt(signal.SIGTERM))
        assert run(*options, out=out).exit_code == 143
    assert [path.name for path in tmp_path.iterdir()] == [work_of(tmp_path, out).name]
    assert run(*options, "--resume", out=out).exit_code == 0
    assert (tmp_path / out).read_bytes() == expected


def test_what_is_kept_is_not_computed_again(
    run: Run, stopped: Run, tmp_path: Path, embedded: list[list[str]]
):
    stopped(after=4)
    kept = sum(map(count_sentences, parts_of(tmp_path)))
    embedded.clear()
    assert run("--resume").exit_code == 0
    assert len(embedded) == len(sentences_of(SAMPLE)) - kept


def test_a_run_may_be_stopped_again_and_again(assert_whole: Check, run: Run, stopped: Run):
    for after in (0, 2, 1, 5, 6):
        assert stopped("--resume", after=after).exit_code == 143
    assert run("--resume").exit_code == 0
    assert_whole()


@pytest.mark.parametrize(
    "by", [OSError(28, "No space left on device"), BugError("a bug"), KeyboardInterrupt()]
)
def test_any_failure_leaves_work_that_can_be_resumed(
    assert_whole: Check, run: Run, stopped: Run, tmp_path: Path, by: BaseException
):
    result = stopped(by=by)
    assert result.exit_code in (1, 130)
    assert not (tmp_path / "out.h5").exists()
    assert run("--resume").exit_code == 0
    assert_whole()


def test_a_failing_disk_is_one_line_that_says_how_to_go_on(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(
            hdf5,
            "create_dataset",
            lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")),
        )
        result = run()
    kept = sum(map(count_sentences, parts_of(tmp_path)))
    assert result.stderr == (
        f"Error: {tmp_path}/out.h5: cannot be written (No space left on device); {kept} sentences "
        "are kept: pass --resume to continue\n"
    )


@pytest.mark.parametrize("after", [0, 3])
def test_what_the_output_cannot_hold_is_not_to_be_resumed(
    run: Run, stopped: Run, tmp_path: Path, after: int
):
    for options in ([], ["--resume"]):
        result = stopped(
            *options, after=after, by=OutputError("two sentences are one; pass --keys number")
        )
        advice = "; a resumed run would stop here again: pass --fresh too" if after else ""
        assert result.stderr == f"Error: two sentences are one; pass --keys number{advice}\n"
        assert len(parts_of(tmp_path)) == after
    assert run("--fresh").exit_code == 0


def test_counts_and_warnings_are_those_of_the_whole_run(run: Run, stopped: Run, corpus: Corpus):
    long = corpus("\n".join(f"{'x' * (40 + i % 20)} a b c d e f g\n" for i in range(600)))
    options = ["--blank-lines", "skip", "--use-sentence-keys"]
    whole = run(*options, corpus=long, out="whole.h5")
    stopped(*options, corpus=long)
    resumed = run(*options, "--resume", corpus=long)
    assert "skipped" in whole.stderr
    assert "tokens truncated" in whole.stderr
    assert [line for line in whole.stderr.splitlines() if line.startswith("Warning")] == [
        line for line in resumed.stderr.splitlines() if line.startswith("Warning")
    ]
    assert "600 sentences" in resumed.stderr


def test_unfinished_work_is_not_thrown_away_by_mistake(
    assert_whole: Check, run: Run, stopped: Run, tmp_path: Path
):
    stopped()
    for options in ([], ["--overwrite"], ["--no-resume"]):
        result = run(*options)
        assert result.exit_code == 1
        assert "a run was stopped after" in result.stderr
        assert "pass --resume to continue, or --fresh to start over" in result.stderr
        assert parts_of(tmp_path)
    assert run("--fresh").exit_code == 0
    assert_whole()


def test_a_run_without_a_work_folder_leaves_nothing(
    assert_whole: Check, run: Run, stopped: Run, tmp_path: Path
):
    result = stopped("--no-resume")
    assert (result.exit_code, result.stderr) == (143, "Stopped by SIGTERM.\n")
    assert list(tmp_path.iterdir()) == []
    assert run("--no-resume").exit_code == 0
    assert_whole()


def test_with_nothing_to_resume_a_run_begins(assert_whole: Check, run: Run):
    assert run("--resume").exit_code == 0
    assert_whole()


def test_numbers_that_are_none_stop_the_run_with_the_sentence(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    embed = engine_worker.embed_window

    def spoilt(window: Sequence[Sentence], **options: object) -> list[np.ndarray]:
        arrays = embed(window, **options)
        for sentence, array in zip(window, arrays, strict=True):
            if sentence.key == "9":
                array[-1, -1, -1] = np.nan
        return arrays

    monkeypatch.setattr(engine_worker, "embed_window", spoilt)
    result = run()
    assert result.exit_code == 1
    assert "sentence 10: its vectors contain NaN or infinite values" in result.stderr
    assert not (tmp_path / "out.h5").exists()


def test_a_long_name_has_a_work_folder_too(run: Run, stopped: Run, tmp_path: Path):
    name = "ü" * 120 + ".h5"
    assert stopped(out=name).exit_code == 143
    assert run("--resume", out=name).exit_code == 0
    assert h5py.is_hdf5(tmp_path / name)
    assert len(list(tmp_path.iterdir())) == 1


def test_what_was_written_before_an_error_in_computing_is_kept(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    embed, computed = Embedder.embed_batch, []

    def failing(embedder: Embedder, batch: Sequence[Sequence[str]]) -> list[np.ndarray]:
        computed.append(batch)
        if len(computed) > 4:
            raise BugError
        return embed(embedder, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Embedder, "embed_batch", failing)
        assert isinstance(run().exception, BugError)
    kept = sum(map(count_sentences, (tmp_path / ".out.h5.elmo-work").glob("*.part")))
    assert kept > 0
    assert run("--resume").exit_code == 0
    assert run(out="whole.h5").exit_code == 0
    assert (tmp_path / "out.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()

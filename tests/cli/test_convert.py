"""Interrupted `elmo convert`: what is kept, how it is resumed, and its messages."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result

from elmo_cli.cli.main import main
from elmo_cli.features import convert as convert_job
from elmo_cli.features.formats.packed import PackedWriter
from elmo_cli.features.reader import open_features
from elmo_cli.io.lock import locked
from tests.conftest import SAMPLE, sentences_of
from tests.helpers.runs import stop_writing, work_of

Elmo = Callable[..., Result]
Run = Callable[..., Result]

WINDOW = 600  # tokens: the sample corpus has ten such windows
N_SENTENCES = len(sentences_of(SAMPLE))


@pytest.fixture(scope="session")
def sources(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the features of the sample corpus in several layouts."""
    folder = tmp_path_factory.mktemp("sources")
    corpus = folder / "corpus.jsonl"
    rows = (
        {"tokens": tokens, "id": f"doc/{i // 50}/{i % 50}"}
        for i, tokens in enumerate(sentences_of(SAMPLE))
    )
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    reading = ("--field", "tokens", "--id-field", "id", "--model", model)
    call("embed", corpus, folder / "a.h5", *reading)
    for name, *options in LAYOUTS:
        call("convert", folder / "a.h5", folder / name, *options)
    return folder


LAYOUTS = [
    ("packed.h5", "--layout", "packed"),
    ("coref.h5", "--layout", "e2e-coref"),
    ("rows.parquet",),
    ("tokens.parquet", "--rows", "token"),
    ("shards", "--output-format", "parquet", "--shard-tokens", 1000),
    ("a.arrow",),
    ("a.jsonl",),
    ("a.npz",),
]
NAMES = ["a.h5", *(name for name, *_ in LAYOUTS)]


def call(*arguments: object) -> None:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output


@pytest.fixture
def run(elmo: Elmo, sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that converts one of them in small windows.

    `after` stops it in the write after so many windows.
    """
    monkeypatch.setattr(convert_job, "WINDOW_TOKENS", WINDOW)

    def convert(
        *options: object,
        source: str | Path = "a.h5",
        after: int | None = None,
        by: BaseException | None = None,
    ) -> Result:
        with monkeypatch.context() as patch:
            if after is not None:
                stop_writing(patch, PackedWriter, after, by or KeyboardInterrupt(signal.SIGTERM))
            return elmo(
                "convert", sources / source, tmp_path / "out.h5", "--layout", "packed", *options
            )

    return convert


@pytest.mark.parametrize("source", NAMES)
def test_a_resumed_conversion_writes_the_same_file(run: Run, tmp_path: Path, source: str):
    assert run("--resume", source=source).exit_code == 0
    whole = (tmp_path / "out.h5").read_bytes()
    (tmp_path / "out.h5").unlink()
    for after in (0, 4):
        stopped = run("--resume", source=source, after=after)
        assert stopped.exit_code == 143
        assert "sentences are kept: pass --resume to continue" in stopped.stderr
    assert len(list(work_of(tmp_path).glob("*.part"))) == 5
    resumed = run("--resume", source=source)
    assert resumed.exit_code == 0, resumed.output
    assert f"{N_SENTENCES} sentences" in resumed.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]
    assert (tmp_path / "out.h5").read_bytes() == whole


@pytest.mark.parametrize("source", NAMES)
def test_features_are_streamed_from_any_sentence_on(sources: Path, source: str):
    with open_features(sources / source) as features:
        whole = [
            (s, array.tobytes())
            for window in features.windows()
            for s, array in zip(*window, strict=True)
        ]
        assert len(whole) == N_SENTENCES
        for first in (1, 77, N_SENTENCES - 1, N_SENTENCES):
            assert [
                (s, array.tobytes())
                for window in features.windows(first)
                for s, array in zip(*window, strict=True)
            ] == whole[first:]


def test_what_is_kept_is_not_read_again(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run("--resume", after=4)
    begun = []
    windows = convert_job.Features.windows
    monkeypatch.setattr(
        convert_job.Features,
        "windows",
        lambda features, first=0: begun.append(first) or windows(features, first),
    )
    kept = run("--resume", after=9).stderr
    # Through all of the source for damage, and then from where it had stopped
    looked, went_on = begun
    assert (looked, went_on > 0) == (0, True)
    assert f"Stopped by SIGTERM; {N_SENTENCES} sentences are kept" in kept
    assert work_of(tmp_path).is_dir()


def test_a_conversion_that_is_not_told_to_resume_keeps_nothing(run: Run, tmp_path: Path):
    for options in ([], ["--no-resume"], ["--fresh"]):
        result = run(*options, after=3)
        assert (result.exit_code, result.stderr) == (143, "Stopped by SIGTERM.\n")
        assert list(tmp_path.iterdir()) == []
    failed = run("--resume", after=3, by=OSError(28, "No space left on device"))
    assert failed.exit_code == 1
    assert work_of(tmp_path).is_dir()


def test_kept_windows_are_not_thrown_away_by_mistake(run: Run, tmp_path: Path):
    run("--resume", after=3)
    result = run()
    assert result.exit_code == 1
    assert "pass --resume to continue, or --fresh to start over" in result.stderr
    assert run("--fresh").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]


def test_another_source_is_refused(run: Run):
    run("--resume", after=3)
    for source in ("packed.h5", "shards"):
        result = run("--resume", source=source)
        assert result.exit_code == 1
        assert result.stderr.count("\n") == 1
        assert "the unfinished run was another job: it differs in the source (" in result.stderr
    assert "--dtype (None, now float16)" in run("--resume", "--dtype", "float16").stderr
    assert run("--resume").exit_code == 0


def test_a_source_that_was_written_anew_is_refused(run: Run, sources: Path, tmp_path: Path):
    copy = tmp_path / "copy.h5"
    copy.write_bytes((sources / "a.h5").read_bytes())
    run("--resume", source=copy, after=3)
    os.utime(copy, ns=(0, 0))
    assert "it differs in the source (" in run("--resume", source=copy).stderr


def test_other_sentences_under_the_same_identity_are_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch
):
    run("--resume", after=3)
    sentence = convert_job.Features.sentence
    monkeypatch.setattr(
        convert_job.Features,
        "sentence",
        lambda features, i: sentence(features, (i + 1) % N_SENTENCES),
    )
    result = run("--resume")
    assert result.exit_code == 1
    assert "the unfinished run read another input: sentence 1 was another one" in result.stderr


def test_a_finished_conversion_is_not_done_twice(run: Run, tmp_path: Path):
    assert run("--resume").exit_code == 0
    assert "out.h5: is already complete, written by the same job" in run("--resume").stderr
    assert (
        "out.h5: exists already; pass --overwrite" in run("--resume", "--dtype", "float16").stderr
    )
    assert run("--overwrite").exit_code == 0
    with open_features(tmp_path / "out.h5") as features:
        # A file's time of change is none of its content
        assert "job_sha256" not in features.metadata


def test_two_conversions_to_one_output_are_refused(run: Run, tmp_path: Path):
    with locked(work_of(tmp_path), tmp_path / "out.h5"):
        assert "out.h5: is being written by another run" in run().stderr


def test_options_that_cannot_go_together_are_wrong_usage(run: Run, elmo: Elmo, sources: Path):
    assert run("--resume", "--fresh").exit_code == 2
    assert (
        elmo("convert", sources / "a.h5", "-", "--output-format", "jsonl", "--resume").exit_code
        == 2
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_signalled_conversion_is_resumed(
    sources: Path, tmp_path: Path, number: signal.Signals, code: int
):
    """The process stops itself after its third window, at the very moment when that is kept."""
    main_ = (
        "import os, signal, sys, time; from elmo_cli.features import convert as convert_job\n"
        "from elmo_cli.cli import main as cli; from elmo_cli.features.resume.writer import "
        "ResumableWriter as J\n"
        f"convert_job.WINDOW_TOKENS = {WINDOW}; keep, parts = J._pass_on, []\n"
        "def pass_on(store, *window):\n"
        "    parts.append(0); keep(store, *window)\n"
        "    if len(parts) == int(sys.argv[1]): os.kill(os.getpid(), int(sys.argv[2])); "
        "time.sleep(60)\n"
        "J._pass_on = pass_on; cli.main(sys.argv[3:])"
    )
    arguments = ["convert", sources / "a.jsonl", tmp_path / "out.npz", "--resume"]
    stopped = subprocess.run(
        [sys.executable, "-c", main_, "3", str(int(number)), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert stopped.returncode == code, stopped.stderr
    assert not (tmp_path / "out.npz").exists()
    if number == signal.SIGINT:
        assert stopped.stderr.startswith("Stopped by SIGINT; ")
        assert stopped.stderr.endswith("sentences are kept: pass --resume to continue.\n")
    again = subprocess.run(
        [sys.executable, "-c", main_, "-1", "0", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out.npz"]
    with open_features(tmp_path / "out.npz") as ours, open_features(sources / "a.jsonl") as theirs:
        assert all((a == b).all() for a, b in zip(ours, theirs, strict=True))


def test_tokens_that_have_no_place_are_said_to_be_left_out(
    elmo: Elmo, sources: Path, tmp_path: Path
):
    result = elmo("convert", sources / "packed.h5", tmp_path / "a.h5", "--layout", "e2e-coref")
    assert (
        f"Warning: left out the tokens of {N_SENTENCES} sentences: e2e-coref has no place for them"
        in result.stderr
    )
    again = elmo("convert", tmp_path / "a.h5", tmp_path / "b.h5", "--layout", "e2e-coref")
    assert (again.exit_code, "left out" in again.stderr) == (0, False)


def test_a_sentence_without_the_id_that_the_layout_needs_stops_it_before_anything_is_kept(
    elmo: Elmo, model: Path, tmp_path: Path
):
    assert elmo("embed", SAMPLE, tmp_path / "plain.h5", "--model", model).exit_code == 0
    result = elmo(
        "convert", tmp_path / "plain.h5", tmp_path / "out.h5", "--layout", "e2e-coref", "--resume"
    )
    assert result.exit_code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["plain.h5"]


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_vector_that_is_no_number_stops_it(
    elmo: Elmo, sources: Path, tmp_path: Path, value: float
):
    source = tmp_path / "source.h5"
    source.write_bytes((sources / "a.h5").read_bytes())
    with h5py.File(source, "r+") as file:
        file["7"][1, 0, 2] = value
        del file.attrs["checksums"]
    result = elmo("convert", source, tmp_path / "out.h5")
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: {source}: sentence 8: its vectors contain NaN or infinite values; make it again\n",
    )
    assert list(tmp_path.iterdir()) == [source]


def test_a_value_that_float16_cannot_hold_stops_it(elmo: Elmo, sources: Path, tmp_path: Path):
    source = tmp_path / "source.h5"
    source.write_bytes((sources / "a.h5").read_bytes())
    with h5py.File(source, "r+") as file:
        file["7"][1, 0, 2] = 1e5
        del file.attrs["checksums"]
    result = elmo("convert", source, tmp_path / "out.h5", "--dtype", "float16")
    assert result.exit_code == 1
    assert "a value of 100,000 exceeds its maximum" in result.stderr


def test_a_source_that_does_not_fit_its_checksums_stops_it(
    elmo: Elmo, sources: Path, tmp_path: Path
):
    source = tmp_path / "source.h5"
    source.write_bytes((sources / "a.h5").read_bytes())
    with h5py.File(source, "r+") as file:
        file["7"][1, 0, 2] += 1
    result = elmo("convert", source, tmp_path / "out.npz")
    assert result.exit_code == 1
    assert "do not match their checksum); make it again" in result.stderr
    assert list(tmp_path.iterdir()) == [source]


def test_what_tells_no_sentences_cannot_be_named_by_them(elmo: Elmo, sources: Path, tmp_path: Path):
    result = elmo("convert", sources / "coref.h5", tmp_path / "out.h5", "--keys", "sentence")
    assert result.exit_code == 1
    assert (
        f"--keys sentence: {sources / 'coref.h5'} does not contain its sentences; pass --keys "
        "number or id" in result.stderr
    )
    assert list(tmp_path.iterdir()) == []

"""A run that stops half way: what is kept, how it goes on, and what it refuses."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from elmo_cli import embed_job
from elmo_cli.cli import main
from elmo_cli.corpus import Sentence
from elmo_cli.embedder import Embedder
from elmo_cli.errors import OutputError
from elmo_cli.journal.lock import locked
from elmo_cli.journal.parts import count_sentences, read_part, write_part
from elmo_cli.journal.plan import Plan
from elmo_cli.journal.work_folder import WorkFolder
from elmo_cli.stores import hdf5
from elmo_cli.stores.hdf5 import Hdf5Store
from tests.conftest import SAMPLE, max_difference, read_features, sentences_of

Elmo = Callable[..., Result]
Corpus = Callable[..., Path]
Run = Callable[..., Result]
Check = Callable[[], None]

WINDOW = 600  # tokens: the sample corpus has ten such windows


class BugError(Exception):
    """Stands for any bug."""


@pytest.fixture(autouse=True, scope="session")
def _one_date() -> Iterator[None]:
    """Outputs tell when they were made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "0")
        yield


@pytest.fixture
def run(elmo: Elmo, model: Path, tmp_path: Path) -> Run:
    """A function that embeds the sample corpus in small windows."""

    def embed(*options: object, corpus: Path = SAMPLE, out: str = "out.h5", stdin: bytes | None = None) -> Result:
        return elmo("embed", corpus, tmp_path / out, "--model", model, "--window-tokens", WINDOW, *options, stdin=stdin)

    return embed


@pytest.fixture
def stopped(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that does the same, and is stopped in the write after the first `after` windows."""

    def embed(*options: object, after: int = 3, by: BaseException | None = None, **more: object) -> Result:
        with monkeypatch.context() as patch:
            stop_writing(patch, after, by or KeyboardInterrupt(signal.SIGTERM))
            return run(*options, **more)

    return embed


def stop_writing(patch: pytest.MonkeyPatch, after: int, by: BaseException) -> None:
    written, write = [], Hdf5Store.write

    def failing(store: Hdf5Store, window: Sequence[Sentence], arrays: Sequence[np.ndarray]) -> None:
        written.append(window)
        if len(written) > after:
            raise by
        write(store, window, arrays)

    patch.setattr(Hdf5Store, "write", failing)


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The sentences that are computed, whatever is read from parts."""
    seen: list[list[str]] = []
    embed = Embedder.embed_batch

    def noting(embedder: Embedder, batch: Sequence[list[str]]) -> list[np.ndarray]:
        seen.extend(batch)
        return embed(embedder, batch)

    monkeypatch.setattr(Embedder, "embed_batch", noting)
    return seen


def work_of(folder: Path, name: str = "out.h5") -> Path:
    return folder / f".{name}.elmo-work"


def parts_of(folder: Path) -> list[Path]:
    return sorted(work_of(folder).glob("*.part"))


@pytest.fixture(scope="session")
def uninterrupted(model: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a run writes that nothing stops."""
    path = tmp_path_factory.mktemp("uninterrupted") / "out.h5"
    arguments = ["embed", str(SAMPLE), str(path), "--model", str(model), "--window-tokens", str(WINDOW)]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    return path.read_bytes()


@pytest.fixture
def assert_whole(uninterrupted: bytes, tmp_path: Path) -> Callable[[], None]:
    """A check: out.h5 is what an uninterrupted run writes, byte for byte, and nothing else is left."""

    def check() -> None:
        assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]
        assert (tmp_path / "out.h5").read_bytes() == uninterrupted

    return check


@pytest.mark.parametrize("after", [0, 1, 4, 8])
def test_a_resumed_run_writes_what_an_uninterrupted_one_does(assert_whole: Check, run: Run, stopped: Run, tmp_path: Path, after: int):
    result = stopped(after=after)
    kept = sum(map(count_sentences, parts_of(tmp_path)))
    assert result.exit_code == 143
    assert len(parts_of(tmp_path)) == after + 1  # a window is kept before it is written
    assert result.stderr == f"Stopped by SIGTERM; {kept} sentences are kept: pass --resume to go on.\n"
    assert [path.name for path in tmp_path.iterdir()] == [work_of(tmp_path).name]
    assert run("--resume").exit_code == 0
    assert_whole()


def test_what_is_kept_is_not_computed_again(run: Run, stopped: Run, tmp_path: Path, embedded: list[list[str]]):
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


@pytest.mark.parametrize("by", [OSError(28, "No space left on device"), BugError("a bug"), KeyboardInterrupt()])
def test_any_failure_leaves_work_that_can_be_resumed(assert_whole: Check, run: Run, stopped: Run, tmp_path: Path, by: BaseException):
    result = stopped(by=by)
    assert result.exit_code in (1, 130)
    assert not (tmp_path / "out.h5").exists()
    assert run("--resume").exit_code == 0
    assert_whole()


def test_a_failing_disk_is_one_line_that_says_how_to_go_on(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(hdf5, "_create_dataset", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        result = run()
    kept = sum(map(count_sentences, parts_of(tmp_path)))
    assert result.stderr == (
        f"Error: {tmp_path}/out.h5: cannot be written (No space left on device); {kept} sentences are kept: pass --resume to go on\n"
    )


@pytest.mark.parametrize("after", [0, 3])
def test_what_the_output_cannot_hold_is_not_to_be_resumed(run: Run, stopped: Run, tmp_path: Path, after: int):
    for options in ([], ["--resume"]):
        result = stopped(*options, after=after, by=OutputError("two sentences are one; pass --keys number"))
        advice = "; a resumed run would end here again: pass --fresh too" if after else ""
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
    assert "cut tokens" in whole.stderr
    assert [line for line in whole.stderr.splitlines() if line.startswith("Warning")] == [
        line for line in resumed.stderr.splitlines() if line.startswith("Warning")
    ]
    assert "600 sentences" in resumed.stderr


def test_unfinished_work_is_not_thrown_away_by_mistake(assert_whole: Check, run: Run, stopped: Run, tmp_path: Path):
    stopped()
    for options in ([], ["--overwrite"], ["--no-resume"]):
        result = run(*options)
        assert result.exit_code == 1
        assert "a run was stopped after" in result.stderr
        assert "pass --resume to go on with it, or --fresh to begin anew" in result.stderr
        assert parts_of(tmp_path)
    assert run("--fresh").exit_code == 0
    assert_whole()


def test_a_run_without_a_work_folder_leaves_nothing(assert_whole: Check, run: Run, stopped: Run, tmp_path: Path):
    result = stopped("--no-resume")
    assert (result.exit_code, result.stderr) == (143, "Stopped by SIGTERM.\n")
    assert list(tmp_path.iterdir()) == []
    assert run("--no-resume").exit_code == 0
    assert_whole()


def test_with_nothing_to_resume_a_run_begins(assert_whole: Check, run: Run):
    assert run("--resume").exit_code == 0
    assert_whole()


def test_a_finished_job_is_not_done_twice(run: Run, embedded: list[list[str]]):
    run("--resume")
    embedded.clear()
    result = run("--resume")
    assert result.exit_code == 0
    assert "out.h5: is whole already, made by this very job" in result.stderr
    assert embedded == []
    other = run("--resume", "--top")
    assert other.exit_code == 1
    assert "out.h5: exists already; pass --overwrite" in other.stderr
    assert run("--resume", "--top", "--overwrite").exit_code == 0


def test_an_output_whose_job_cannot_be_known_is_there_already(run: Run):
    for options in ({"out": "out.jsonl"}, {"corpus": Path("-"), "stdin": b"a b\n"}):
        assert run("--layers", "top", "--resume", **options).exit_code == 0
        again = run("--layers", "top", "--resume", **options)
        assert (again.exit_code, "exists already; pass --overwrite" in again.stderr) == (1, True)


def test_a_run_that_was_killed_between_its_last_two_steps_is_tidied_up(assert_whole: Check, run: Run, stopped: Run, tmp_path: Path):
    stopped()
    work_of(tmp_path).rename(tmp_path / "aside")
    run()
    (tmp_path / "aside").rename(work_of(tmp_path))
    assert "is whole already" in run("--resume").stderr
    assert_whole()


CHANGES = {
    "layers": (["--layers", "top"], ["--layers (all, now top)"]),
    "window": (["--window-tokens", "601"], ["--window-tokens (600, now 601)"]),
    "start": (["--prime", str(SAMPLE)], ["where sentences start (zero, now primed by"]),
    "keys": (["--use-sentence-keys", "--forget-sentences"], ["--keys (None, now sentence)", "--forget-sentences (False, now True)"]),
}


@pytest.mark.parametrize(("options", "words"), CHANGES.values(), ids=CHANGES.keys())
def test_another_job_is_refused_and_told_apart(run: Run, stopped: Run, tmp_path: Path, options: list[str], words: list[str]):
    stopped()
    result = run("--resume", *options)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "the unfinished run was another job" in result.stderr
    assert all(word in result.stderr for word in words), result.stderr
    assert run("--resume", "--batch-tokens", "100").exit_code == 0  # what decides the speed alone may change
    assert max_difference(read_features(tmp_path / "out.h5"), read_features(tmp_path / "out.h5")) == 0


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
    assert "pass --resume to go on" in result.stderr
    other = run("--resume", corpus=Path("-"), stdin=text.replace(b"muddy", b"dusty"))
    assert "the unfinished run read another input: sentence 2 was another one" in other.stderr
    shorter = run("--resume", corpus=Path("-"), stdin=b"\n".join(text.splitlines()[:3]))
    assert "the unfinished run read another input: sentence 4 is missing" in shorter.stderr
    assert "the input (a stream, now sha256" in run("--resume").stderr
    assert run("--resume", corpus=Path("-"), stdin=text).exit_code == 0
    run(out="file.h5")
    assert max_difference(read_features(tmp_path / "out.h5"), read_features(tmp_path / "file.h5")) == 0


def test_a_bad_line_late_in_a_stream_can_be_mended(run: Run, tmp_path: Path):
    text = SAMPLE.read_bytes()
    result = run(corpus=Path("-"), stdin=text + b"\xff\n")
    assert "is not UTF-8" in result.stderr
    assert "are kept: pass --resume to go on" in result.stderr
    assert run("--resume", corpus=Path("-"), stdin=text).exit_code == 0
    assert len(read_features(tmp_path / "out.h5")) == len(sentences_of(SAMPLE))


def flip(path: Path, at: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize("at", [0.0, 0.001, 0.1, 0.5, 0.9999])
def test_a_damaged_part_and_those_after_it_are_computed_again(assert_whole: Check, run: Run, stopped: Run, tmp_path: Path, at: float):
    stopped(after=5)
    flip(parts_of(tmp_path)[2], at)
    assert run("--resume").exit_code == 0
    assert_whole()


@pytest.mark.parametrize("size", [0, 7, 39, 41, 2000])
def test_a_torn_part_is_computed_again(assert_whole: Check, run: Run, stopped: Run, tmp_path: Path, size: int):
    stopped()
    os.truncate(parts_of(tmp_path)[-1], size)
    assert run("--resume").exit_code == 0
    assert_whole()


def test_a_missing_part_ends_what_can_be_resumed(assert_whole: Check, run: Run, stopped: Run, tmp_path: Path):
    stopped(after=5)
    parts_of(tmp_path)[1].unlink()
    assert run("--resume").exit_code == 0
    assert_whole()


@pytest.mark.parametrize("plan", [b"", b"{", b"[]", b'{"format": "0"}', b"\xff"])
def test_a_damaged_plan_is_one_error(run: Run, stopped: Run, tmp_path: Path, plan: bytes):
    stopped()
    (work_of(tmp_path) / "plan.json").write_bytes(plan)
    result = run("--resume")
    assert result.exit_code == 1
    assert "is of another version of elmo, or damaged; pass --fresh to begin anew" in result.stderr
    assert run("--fresh").exit_code == 0


def test_a_second_run_on_the_same_output_is_refused(assert_whole: Check, run: Run, tmp_path: Path):
    for options in ([], ["--resume"], ["--fresh"], ["--overwrite"]):
        with locked(work_of(tmp_path), tmp_path / "out.h5"):
            result = run(*options)
        assert result.exit_code == 1
        assert f"out.h5: is being written by another run (process {os.getpid()} on " in result.stderr
    assert run().exit_code == 0
    assert_whole()


def test_a_lock_whose_process_is_dead_is_free(assert_whole: Check, run: Run, tmp_path: Path):
    work_of(tmp_path).mkdir()
    (work_of(tmp_path) / "lock").write_text("elsewhere 1\n")
    (work_of(tmp_path) / "left.partial").touch()
    assert run().exit_code == 0
    assert_whole()


def test_a_stateful_run_says_that_it_cannot_be_resumed(run: Run, tmp_path: Path):
    result = run("--stateful", "--resume")
    assert result.exit_code == 2
    assert "--stateful cannot be resumed" in result.stderr
    assert run("--resume", "--fresh").exit_code == 2
    assert run("--stateful").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]


def test_numbers_that_are_none_stop_the_run_with_the_sentence(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    embed = embed_job.embed_window

    def spoilt(window: Sequence[Sentence], **options: object) -> list[np.ndarray]:
        arrays = embed(window, **options)
        for sentence, array in zip(window, arrays, strict=True):
            if sentence.key == "9":
                array[-1, -1, -1] = np.nan
        return arrays

    monkeypatch.setattr(embed_job, "embed_window", spoilt)
    result = run()
    assert result.exit_code == 1
    assert "sentence 10: its vectors hold NaN or infinite values" in result.stderr
    assert not (tmp_path / "out.h5").exists()


def test_a_long_name_has_a_work_folder_too(run: Run, stopped: Run, tmp_path: Path):
    name = "ü" * 120 + ".h5"
    assert stopped(out=name).exit_code == 143
    assert run("--resume", out=name).exit_code == 0
    assert h5py.is_hdf5(tmp_path / name)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_signalled_run_is_resumed(model: Path, tmp_path: Path, number: signal.Signals, code: int):
    command = [sys.executable, "-m", "elmo_cli", "embed", "-", tmp_path / "out.h5", "--model", model, "--window-tokens", "200"]
    text = SAMPLE.read_text(encoding="utf-8")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdin
        process.stdin.write(text)
        process.stdin.flush()
        deadline = time.monotonic() + 240
        while len(parts_of(tmp_path)) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        _, words = process.communicate(timeout=240)
    assert process.returncode == code
    if number != signal.SIGKILL:
        assert words.startswith(f"Stopped by {number.name}; ")
        assert words.endswith("sentences are kept: pass --resume to go on.\n")
    again = subprocess.run([*command, "--resume"], input=text, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]
    assert len(read_features(tmp_path / "out.h5")) == len(sentences_of(SAMPLE))


WORDS = st.text(max_size=5)
SENTENCES = st.lists(st.tuples(st.lists(WORDS, max_size=4), st.none() | WORDS, st.none() | WORDS, st.integers() | st.none()), max_size=4)


@given(SENTENCES, st.sampled_from(["<f4", "<f2"]), st.sampled_from([(), (3,)]))
def test_a_part_is_read_back_bit_for_bit(tmp_path_factory: pytest.TempPathFactory, content: list, dtype: str, layers: tuple[int, ...]):
    path = tmp_path_factory.getbasetemp() / "a.part"
    window = [
        Sentence(str(i), tokens, " ".join(tokens) if text is None else text, name, (value and value % 1000, {"a": [text]}))
        for i, (tokens, text, name, value) in enumerate(content)
    ]
    arrays = [np.random.default_rng(i).random((*layers, len(s.tokens), 2)).astype(dtype) for i, s in enumerate(window)]
    write_part(path, window, arrays)
    read = read_part(path)
    assert read is not None
    assert read[0] == window
    assert [(a.dtype, a.shape, a.tobytes()) for a in read[1]] == [(a.dtype, a.shape, a.tobytes()) for a in arrays]
    assert count_sentences(path) == len(window)


def test_runs_killed_at_random_and_on_full_disks_lose_nothing():
    command = [sys.executable, "-m", "tests.crash", "--kills", "4", "--fill", "2"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("0 different") == 2


@pytest.mark.parametrize(("host", "process", "free"), [("here", 1 << 30, True), ("here", 1, False), ("elsewhere", 1 << 30, False)])
def test_without_locks_of_the_file_system_the_words_of_the_lock_decide(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, process: int, free: bool
):
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    work_of(tmp_path).mkdir()
    name = socket.gethostname() if host == "here" else host
    (work_of(tmp_path) / "lock").write_text(f"{name} {process}\n")
    result = run()
    assert result.exit_code == (0 if free else 1), result.output
    assert free or f"is being written by another run (process {process} on {name}); if that is over, delete" in result.stderr


def test_a_signal_that_is_ignored_stays_ignored(run: Run, monkeypatch: pytest.MonkeyPatch):
    seen = []
    check = embed_job.EmbedJob.check
    monkeypatch.setattr(embed_job.EmbedJob, "check", lambda job: seen.append(signal.getsignal(signal.SIGHUP)) or check(job))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run().exit_code == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert seen == [signal.SIG_IGN]


def test_an_idle_pipe_does_not_hold_a_stopped_run(model: Path, tmp_path: Path):
    command = [sys.executable, "-m", "elmo_cli", "embed", "-", tmp_path / "out.h5", "--model", model, "--window-tokens", "2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(b"a b\nc d\ne f\ng h\n")  # and no more, but the pipe stays open
        process.stdin.flush()
        part = tmp_path / ".out.h5.elmo-work" / "00000000.part"
        while not part.exists() and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
        assert b"pass --resume to go on" in process.stderr.read()


def test_blank_lines_are_part_of_the_job(run: Run, tmp_path: Path):
    corpus = tmp_path / "blank.txt"
    corpus.write_text("a b\n\nc\n")
    assert run("--blank-lines", "skip", corpus=corpus).exit_code == 0
    again = run("--blank-lines", "keep", "--resume", corpus=corpus)
    assert again.exit_code == 1
    assert "exists already" in again.stderr


def test_what_was_written_before_an_error_in_computing_is_kept(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
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


def raising(error: type[BaseException]) -> Callable[..., None]:
    """A function that does nothing but that."""

    def function(*_: object, **__: object) -> None:
        raise error

    return function


@pytest.mark.parametrize("changed", [False, True])
def test_a_run_killed_between_its_output_and_its_work_folder_is_gone_on_with(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: bool
):
    """JSON Lines do not tell which job has made them: the job is done again from its parts, and compared."""
    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "finish", raising(BugError))
        assert isinstance(run(out="out.jsonl").exception, BugError)
    made = (tmp_path / "out.jsonl").read_bytes()
    if changed:
        (tmp_path / "out.jsonl").write_bytes(made + b"\n")
    again = run("--resume", out="out.jsonl")
    assert again.exit_code == (1 if changed else 0), again.stderr
    assert (tmp_path / "out.jsonl").read_bytes() == made + b"\n" * changed
    assert ("has appeared during the run" in again.stderr) == changed
    assert (tmp_path / ".out.jsonl.elmo-work").exists() == changed


@pytest.mark.parametrize("step", ["sync_folder", "shutil.rmtree"])
def test_a_run_killed_while_its_work_folder_is_removed_is_known_to_be_whole(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedded: list[list[str]], step: str
):
    """JSON Lines do not tell which job has made them; the folder does, to the end."""
    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "begin", failing_later(WorkFolder.begin, patch, f"elmo_cli.journal.work_folder.{step}"))
        assert isinstance(run(out="out.jsonl").exception, BugError)
    made = (tmp_path / "out.jsonl").read_bytes()
    embedded.clear()
    other = run("--resume", "--top", out="out.jsonl")
    assert (other.exit_code, "exists already" in other.stderr) == (1, True)
    again = run("--resume", out="out.jsonl")
    assert "out.jsonl: is whole already, made by this very job" in again.stderr
    assert embedded == []
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"out.jsonl": made}


def failing_later(begin: Callable[..., Plan], patch: pytest.MonkeyPatch, name: str) -> Callable[..., Plan]:
    """`WorkFolder.begin`, after which the function of that name fails: it is called next when the run ends."""

    def function(folder: WorkFolder, plan: Plan, **options: bool) -> Plan:
        begun = begin(folder, plan, **options)
        patch.setattr(name, raising(BugError))
        return begun

    return function

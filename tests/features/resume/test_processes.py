"""Signals and locks."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from elmo_cli.inference import job as embed_job
from elmo_cli.io.lock import locked
from tests.conftest import SAMPLE, read_features, sentences_of
from tests.helpers.runs import Check, Run, embedding_stdin, parts_of, work_of


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_signalled_run_is_resumed(model: Path, tmp_path: Path, number: signal.Signals, code: int):
    command = embedding_stdin(
        tmp_path / "out.h5",
        "--model",
        model,
        "--window-tokens",
        "200",
    )
    text = SAMPLE.read_text(encoding="utf-8")
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
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
        assert words.endswith("sentences are kept: pass --resume to continue.\n")
    again = subprocess.run(
        [*command, "--resume"], input=text, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]
    assert len(read_features(tmp_path / "out.h5")) == len(sentences_of(SAMPLE))


def test_a_signal_that_is_ignored_stays_ignored(run: Run, monkeypatch: pytest.MonkeyPatch):
    seen = []
    prepare = embed_job.EmbedJob.prepare
    monkeypatch.setattr(
        embed_job.EmbedJob,
        "prepare",
        lambda job: seen.append(signal.getsignal(signal.SIGHUP)) or prepare(job),
    )
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run().exit_code == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert seen == [signal.SIG_IGN]


def test_an_idle_pipe_does_not_hold_a_stopped_run(model: Path, tmp_path: Path):
    command = embedding_stdin(
        tmp_path / "out.h5",
        "--model",
        model,
        "--window-tokens",
        "2",
    )
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(b"a b\nc d\ne f\ng h\n")  # and no more, but the pipe stays open
        process.stdin.flush()
        part = tmp_path / ".out.h5.elmo-work" / "00000000.part"
        while not part.exists() and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
        assert b"pass --resume to continue" in process.stderr.read()


def test_a_second_run_on_the_same_output_is_refused(assert_whole: Check, run: Run, tmp_path: Path):
    for options in ([], ["--resume"], ["--fresh"], ["--overwrite"]):
        with locked(work_of(tmp_path), tmp_path / "out.h5"):
            result = run(*options)
        assert result.exit_code == 1
        assert (
            f"out.h5: is being written by another run (process {os.getpid()} on " in result.stderr
        )
    assert run().exit_code == 0
    assert_whole()


def test_a_lock_whose_process_is_dead_is_free(assert_whole: Check, run: Run, tmp_path: Path):
    work_of(tmp_path).mkdir()
    (work_of(tmp_path) / "lock").write_text("elsewhere 1\n")
    (work_of(tmp_path) / "left.partial").touch()
    assert run().exit_code == 0
    assert_whole()


@pytest.mark.parametrize(
    ("host", "process", "free"),
    [("here", 1 << 30, True), ("here", 1, False), ("elsewhere", 1 << 30, False)],
)
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
    assert (
        free
        or (
            f"is being written by another run (process {process} on {name}); if that run has "
            "ended, delete"
        )
        in result.stderr
    )


def test_runs_killed_at_random_and_on_full_disks_lose_nothing():
    command = [sys.executable, "-m", "tests.manual.crash", "--kills", "4", "--fill", "2"]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("0 different") == 2


def test_a_work_folder_that_is_a_link_is_left_alone(run: Run, tmp_path: Path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "00000000.part").touch()
    work_of(tmp_path).symlink_to("precious")
    result = run("--fresh")
    assert (result.exit_code, "out.h5.elmo-work is a link; remove it" in result.stderr) == (1, True)
    assert [path.name for path in (tmp_path / "precious").iterdir()] == ["00000000.part"]


def test_a_lock_that_is_a_link_is_one_error(run: Run, stopped: Run, tmp_path: Path):
    stopped()
    lock = work_of(tmp_path) / "lock"
    lock.unlink()
    lock.symlink_to(tmp_path / "nowhere" / "lock")
    result = run("--resume")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {tmp_path / 'out.h5'}: cannot be written")


def test_a_signal_while_an_object_is_taken_down_is_not_lost():
    program = """if True:
        import os, signal, sys, time
        from elmo_cli.cli import main as cli

        class Falling:
            def __del__(self):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.1)  # the handler runs here, and what it raises is dropped

        def command(context):
            falling = Falling()
            del falling
            time.sleep(30)

        ended = cli.click.Command("embed", callback=lambda: command(None))
        cli.Commands.resolve_command = lambda *_: ("embed", ended, [])
        cli.main(["embed"])
    """
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False
    )
    assert (ended.returncode, ended.stderr) == (143, "Stopped by SIGTERM.\n")

"""Worker processes. The tests share them, because each one imports torch when it starts."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from elmo_cli.errors import DeviceError
from elmo_cli.inference.embedder_spec import EmbedderSpec
from elmo_cli.inference.engines.local import LocalEngine
from elmo_cli.inference.engines.processes import ProcessEngine
from elmo_cli.inference.engines.protocol import WorkerError, WorkerTracebackError
from elmo_cli.inference.pipeline import windows
from elmo_cli.inference.selection import Selection
from elmo_cli.readers.corpus import Corpus as Source
from elmo_cli.types import Sentence, Window
from tests.conftest import SAMPLE
from tests.helpers.runs import Check, Elmo, Run, embedding_stdin, parts_of
from tests.inference.engines.conftest import WINDOW

BAD = [Sentence("7", [5], "")]  # a token that is not a string: a bug in whatever makes such


@pytest.fixture
def spec() -> EmbedderSpec:
    return EmbedderSpec(model="tiny", device="cpu", window_tokens=WINDOW)


def read(n_tokens: int) -> list[Window]:
    return list(islice(windows(Source([SAMPLE]).read(), n_tokens), 4))


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


def children_of(process: int) -> list[int]:
    path = Path(f"/proc/{process}/task/{process}/children")
    if not path.exists():
        pytest.skip("needs /proc/PID/task/PID/children")
    return [int(child) for child in path.read_text().split()]


def test_two_processes_give_the_local_vectors_pass_errors_on_and_are_named_when_killed(
    spec: EmbedderSpec, tmp_path: Path
):
    local = LocalEngine(spec, Selection("top"))
    engine = ProcessEngine(spec, Selection("top"), ["cpu", "cpu"], lambda: tmp_path)
    try:
        assert (engine.settled, engine.limit) == (local.settled, local.limit)
        sizes = [1, WINDOW, 50, 800, 3]  # blocks are replaced, and used again
        given = [window for size in sizes for window in read(size)]
        pairs = zip(engine.embedded(given), local.embedded(given), strict=True)
        for ours, theirs in pairs:
            assert (ours.window, ours.truncated) == (theirs.window, theirs.truncated)
            assert [a.tobytes() for a in ours.arrays] == [a.tobytes() for a in theirs.arrays]
            assert all(a.shape == b.shape for a, b in zip(ours.arrays, theirs.arrays, strict=True))
        long = [Sentence("0", ["x" * 60, "y"], "")]
        assert engine.replay(long) == local.replay(long) == (1, "x" * 60)

        with pytest.raises(Exception, match=r"encode|int") as raised:
            list(engine.embedded([*given[:2], BAD, *given]))
        assert isinstance(raised.value.__cause__, WorkerTracebackError)
        assert "process.py" in str(raised.value.__cause__)

        embedded = engine.embedded(given * 50)
        next(embedded)
        wait_until(lambda: engine.activity() == (2, 2))
        engine._workers[1]._process.kill()
        with pytest.raises(
            WorkerError,
            match=r"^the worker on cpu \(2 of 2\) was killed \(SIGKILL\); check whether",
        ):
            list(embedded)
    finally:
        engine.close()
    assert [worker._process.poll() for worker in engine._workers] == [-signal.SIGKILL] * 2
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_a_worker_is_raised_as_itself(spec: EmbedderSpec, tmp_path: Path):
    engine = ProcessEngine(spec, Selection(), ["cuda:77"], lambda: tmp_path)
    try:
        with pytest.raises(DeviceError, match=r"--device cuda:77: not available here"):
            _ = engine.settled
    finally:
        engine.close()


def test_a_job_is_begun_by_one_engine_and_finished_by_another(
    assert_whole: Check, run: Run, stopped: Run, tmp_path: Path
):
    assert stopped(after=2).exit_code == 143
    result = stopped("--resume", "--engine", "processes", "--device", "cpu", after=5)
    assert (result.exit_code, "are kept: pass --resume to continue" in result.stderr) == (143, True)
    assert len(parts_of(tmp_path)) == 6
    assert run("--resume").exit_code == 0
    assert_whole()


@pytest.fixture
def begun(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A run with a worker process that has kept three windows, and waits for more input."""
    command = embedding_stdin(
        tmp_path / "out.h5",
        "--model",
        "tiny",
        "--window-tokens",
        "200",
    )
    process = subprocess.Popen(
        [*command, "--engine", "processes", "--device", "cpu"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stdin
        process.stdin.write("a b c\n" * 500)
        process.stdin.flush()
        wait_until(lambda: len(parts_of(tmp_path)) >= 3)
        yield process
        process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ctrl_c_is_for_the_run_and_its_workers_end_with_it(begun: "subprocess.Popen[str]"):
    children = children_of(begun.pid)
    os.killpg(begun.pid, signal.SIGINT)  # as a terminal does
    _, words = begun.communicate(timeout=60)
    assert begun.returncode == 130
    assert words.startswith("Stopped by SIGINT; ")
    assert words.endswith("sentences are kept: pass --resume to continue.\n")
    assert words.count("\n") == 1
    wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in children), 10)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_end_with_a_run_that_is_killed(begun: "subprocess.Popen[str]"):
    children = children_of(begun.pid)
    assert children
    begun.kill()
    begun.communicate(timeout=60)
    wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in children), 10)
    # Their memory has no name: the system frees it with them


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--device", "cpu,cpu", "--stateful"],
            "--stateful carries state from batch to batch, on one device",
        ),
        (["--device", "cpu,cpu", "--engine", "local"], "--engine local computes on one device"),
        (["--device", "cpu;cpu"], "is none of auto, all, cpu"),
        (["--workers", "2"], "--workers requires --engine ray"),
        (["--engine", "ray", "--device", "cpu,cpu"], "Ray gives each worker its device"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(run: Run, options: list[str], words: str):
    result = run(*options)
    assert (result.exit_code, words in result.stderr) == (2, True), result.output


def test_ray_does_not_write_to_standard_output(elmo: Elmo):
    result = elmo("embed", SAMPLE, "-", "--output-format", "jsonl", "--engine", "ray")
    assert (result.exit_code, "--engine ray writes messages" in result.stderr) == (2, True), (
        result.output
    )


def test_all_without_a_gpu_is_one_error(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    result = run("--device", "all")
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: --device all: there is no CUDA GPU here; pass --device cpu\n",
    )

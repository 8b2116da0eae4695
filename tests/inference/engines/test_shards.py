"""Shards that workers write: `--write workers`.

Without workers, this process writes them in the same way.
"""

import pickle
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from elmo_cli.errors import DiskError
from elmo_cli.features.formats.parquet import ParquetShard, find_missing
from elmo_cli.features.resume import shard_folder
from elmo_cli.features.resume.shard_folder import ShardFolder
from elmo_cli.features.resume.shard_maker import ShardMaker
from elmo_cli.features.resume.shard_store import ALL_SHARDS
from elmo_cli.inference.engines.processes import WorkerProcess
from elmo_cli.io.lock import locked
from elmo_cli.io.output_folder import OutputFolder
from tests.helpers.runs import Elmo, Run, raising
from tests.inference.engines.conftest import N_SHARDS, SHARDS, content

Write = Callable[..., Result]


@pytest.fixture
def write(run: Run) -> Write:
    """A function that lets workers write the shards of the text."""
    return lambda *more: run(*SHARDS, "--write", "workers", *more, out="features")


def shards_of(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / ".features.elmo-shards" / "shards").iterdir())


def assert_complete(tmp_path: Path, local_shards: dict[str, bytes]) -> None:
    assert [path.name for path in tmp_path.iterdir()] == ["features"]
    assert len(local_shards) == N_SHARDS
    assert content(tmp_path / "features") == local_shards


def test_a_killed_worker_process_is_one_line_and_its_run_is_resumed(
    write: Write,
    elmo: Elmo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    local_shards: dict[str, bytes],
):
    make = WorkerProcess.write

    def killing(worker: WorkerProcess, shard: object, maker: ShardMaker) -> object:
        if shard.number == 2:
            worker._process.kill()
        return make(worker, shard, maker)

    with monkeypatch.context() as patch:
        patch.setattr(WorkerProcess, "write", killing)
        result = write("--engine", "processes", "--device", "cpu")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "Error: the worker on cpu (1 of 1) was killed (SIGKILL); check whether the machine has "
        "enough memory, "
        "and run it again; 2 complete shards kept: pass --resume to continue\n"
    )
    assert shards_of(tmp_path) == ["part-00000.parquet", "part-00001.parquet"]

    result = write("--device", "cpu,cpu", "--resume")
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    assert_complete(tmp_path, local_shards)
    assert elmo("verify", tmp_path / "features").exit_code == 0


@pytest.mark.parametrize("first", [("--write", "workers"), ()], ids=["shards", "windows"])
def test_unfinished_work_of_the_other_way_is_neither_ignored_nor_lost(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: tuple[str, ...]
):
    with monkeypatch.context() as patch:
        failing_at(patch, 2, KeyboardInterrupt(signal.SIGTERM))
        run(*SHARDS, *first, out="features")
    before = sorted(tmp_path.rglob("*"))
    for more in ("--resume",), ():
        other = () if first else ("--write", "workers")
        result = run(*SHARDS, *other, *more, out="features")
        words = "with" if first else "without"
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"continue it {words} --write workers or --shard, or remove" in result.stderr
    assert sorted(tmp_path.rglob("*")) == before
    assert run(*SHARDS, *first, "--resume", out="features").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["features"]


def failing_at(patch: pytest.MonkeyPatch, shard: int, error: BaseException) -> None:
    """Let the write of a window of a shard fail."""
    original = ParquetShard.write

    def write(file: ParquetShard, *given: object) -> None:
        if file.number == shard:
            raise error
        original(file, *given)

    patch.setattr(ParquetShard, "write", write)


STOPS = {
    "in the first shard": (
        0,
        KeyboardInterrupt(signal.SIGTERM),
        143,
        "; 0 complete shards kept: pass --resume to continue",
    ),
    "in the third": (
        2,
        KeyboardInterrupt(signal.SIGTERM),
        143,
        "; 2 complete shards kept: pass --resume to continue",
    ),
    "by a full disk": (
        1,
        OSError(28, "No space left on device"),
        1,
        "; 1 complete shard kept: pass --resume to continue",
    ),
}


@pytest.mark.parametrize(("shard", "by", "code", "words"), STOPS.values(), ids=STOPS)
def test_what_a_stopped_run_advises_is_possible(
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    local_shards: dict[str, bytes],
    shard: int,
    by: BaseException,
    code: int,
    words: str,
):
    with monkeypatch.context() as patch:
        failing_at(patch, shard, by)
        result = write()
    assert (result.exit_code, words in result.stderr) == (code, True), result.output
    refused = write()
    assert (
        refused.exit_code,
        "pass --resume to continue, or pass --fresh to start over" in refused.stderr,
    ) == (1, True), refused.output
    resumed = write("--resume")
    assert (resumed.exit_code, resumed.stderr.startswith("80 sentences, ")) == (0, True), (
        resumed.output
    )
    assert_complete(tmp_path, local_shards)
    assert "nothing to do" in write("--resume").stderr


def test_fresh_discards_the_shards_of_another_job(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_shards: dict[str, bytes]
):
    with monkeypatch.context() as patch:
        failing_at(patch, 2, KeyboardInterrupt(signal.SIGTERM))
        assert write("--layers", "top").exit_code == 143
    result = write("--resume")
    assert (
        result.exit_code,
        "it differs in --layers (top, now all); give the same" in result.stderr,
    ) == (1, True), result.output
    with locked(tmp_path / ".features.elmo-shards" / "task-1-of-2", tmp_path):
        result = write("--fresh")
        assert (result.exit_code, "is being written by another run" in result.stderr) == (
            1,
            True,
        ), result.output
    assert len(shards_of(tmp_path)) == 2
    assert write("--fresh").exit_code == 0
    assert_complete(tmp_path, local_shards)


def test_what_killed_workers_leave_is_removed(
    write: Write, tmp_path: Path, local_shards: dict[str, bytes]
):
    killed = tmp_path / ".features.elmo-shards" / "task-0-of-1" / "worker-x"
    killed.mkdir(parents=True)
    (killed / "part-00000.parquet").write_bytes(b"PAR1 half")
    assert write().exit_code == 0
    assert_complete(tmp_path, local_shards)


def test_tasks_of_a_job_array_finish_what_workers_began(
    write: Write,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    local_shards: dict[str, bytes],
):
    with monkeypatch.context() as patch:
        failing_at(patch, 2, KeyboardInterrupt(signal.SIGTERM))
        assert write().exit_code == 143
    assert write("--shard", "0/2").exit_code == 0  # the workers of a task write its shards
    assert shards_of(tmp_path) == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    assert run(*SHARDS, "--shard", "1/2", out="features").exit_code == 0
    assert_complete(tmp_path, local_shards)


def test_an_empty_corpus_is_one_shard_without_rows(
    elmo: Elmo, corpus: Callable[..., Path], tmp_path: Path
):
    assert (
        elmo("embed", corpus(""), tmp_path / "features", *SHARDS, "--write", "workers").exit_code
        == 0
    )
    assert list(content(tmp_path / "features")) == ["part-00000.parquet"]
    assert not list(find_missing(tmp_path / "features"))


def test_a_worker_without_the_folder_of_the_run_names_its_machine(tmp_path: Path):
    there = pickle.loads(pickle.dumps(ShardFolder(OutputFolder(tmp_path / "features"), ALL_SHARDS)))  # noqa: S301
    with pytest.raises(
        DiskError,
        match=(
            f"does not exist on {socket.gethostname()}, where a worker runs; name an output on a "
            "disk"
        ),
    ):
        there.worker_folder().__enter__()
    assert list(tmp_path.iterdir()) == []


def test_a_shard_that_does_not_arrive_ends_the_run(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shard_folder, "ARRIVAL_SECONDS", 0.0)
    # As if the file were on the disk of another machine
    monkeypatch.setattr(ShardFolder, "put", lambda _, __, path: path.stat().st_size)
    result = write()
    assert (
        result.exit_code,
        "a worker wrote it, but it is not there; name an output on a disk" in result.stderr,
    ) == (1, True)
    assert not (tmp_path / "features").exists()


def test_a_relative_output_has_an_absolute_path_in_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    there = pickle.loads(pickle.dumps(ShardFolder(OutputFolder(Path("features")), ALL_SHARDS)))  # noqa: S301
    assert there.path == tmp_path.resolve() / "features"


REFUSED = {
    "standard output": (
        ["c.txt", "-", "--output-format", "jsonl"],
        "and the output is standard output",
    ),
    "another format": (["c.txt", "out.h5"], "and the output is out.h5 (allennlp)"),
    "one file": (["c.txt", "out.parquet"], "and the output is out.parquet (parquet)"),
    "state": (
        ["c.txt", "out/", "--output-format", "parquet", "--stateful"],
        "--write workers and --stateful contradict each other",
    ),
    "a pipe": (["-", "out/", "--output-format", "parquet"], "- can be read only once; name a file"),
}


@pytest.mark.parametrize(("arguments", "words"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_go_with_shards_is_one_line(
    elmo: Elmo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("elmo_cli.inference.job.EmbedJob.prepare", raising(AssertionError))
    Path("c.txt").write_text("a b\n")
    result = elmo("embed", *arguments, "--write", "workers", stdin=b"a b\n")
    assert (result.exit_code, words in result.stderr) == (2, True), result.output
    assert sum(line.startswith("Error: ") for line in result.stderr.splitlines()) == 1

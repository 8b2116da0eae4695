"""Runs of a job that is complete, or almost complete."""

from collections.abc import Callable
from pathlib import Path

import pytest

from elmo_cli.features.resume.manifest import Manifest
from elmo_cli.features.resume.work_dir import WorkDir
from tests.conftest import SAMPLE
from tests.helpers.runs import BugError, Check, Elmo, Run, raising, work_of


def test_a_finished_job_is_not_done_twice(run: Run, embedded: list[list[str]]):
    run("--resume")
    embedded.clear()
    result = run("--resume")
    assert result.exit_code == 0
    assert "out.h5: is already complete, written by the same job" in result.stderr
    assert embedded == []
    other = run("--resume", "--top")
    assert other.exit_code == 1
    assert "out.h5: exists already; pass --overwrite" in other.stderr
    assert run("--resume", "--top", "--overwrite").exit_code == 0


def test_an_output_that_lacks_a_shard_is_not_whole(elmo: Elmo, model: Path, tmp_path: Path):
    options = [
        "--model",
        model,
        "--output-format",
        "parquet",
        "--shard-tokens",
        1200,
        "--window-tokens",
        600,
        "--resume",
    ]
    assert elmo("embed", SAMPLE, tmp_path / "out", *options).exit_code == 0
    assert "is already complete" in elmo("embed", SAMPLE, tmp_path / "out", *options).stderr
    (tmp_path / "out" / "part-00002.parquet").unlink()
    result = elmo("embed", SAMPLE, tmp_path / "out", *options)
    assert result.exit_code == 1
    assert "exists already" in result.stderr


def test_an_output_whose_job_cannot_be_known_is_there_already(run: Run):
    for options in ({"out": "out.jsonl"}, {"corpus": Path("-"), "stdin": b"a b\n"}):
        assert run("--layers", "top", "--resume", **options).exit_code == 0
        again = run("--layers", "top", "--resume", **options)
        assert (again.exit_code, "exists already; pass --overwrite" in again.stderr) == (1, True)


def test_a_run_that_was_killed_between_its_last_two_steps_is_tidied_up(
    assert_whole: Check, run: Run, stopped: Run, tmp_path: Path
):
    stopped()
    work_of(tmp_path).rename(tmp_path / "aside")
    run()
    (tmp_path / "aside").rename(work_of(tmp_path))
    assert "is already complete" in run("--resume").stderr
    assert_whole()


@pytest.mark.parametrize("changed", [False, True])
def test_a_run_killed_between_its_output_and_its_work_folder_is_gone_on_with(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: bool
):
    """JSON Lines do not tell which job has made them: the job is done again from its parts, and
    compared.
    """
    with monkeypatch.context() as patch:
        patch.setattr(WorkDir, "finish", raising(BugError))
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
        patch.setattr(
            WorkDir,
            "begin",
            failing_later(WorkDir.begin, patch, f"elmo_cli.features.resume.work_dir.{step}"),
        )
        assert isinstance(run(out="out.jsonl").exception, BugError)
    made = (tmp_path / "out.jsonl").read_bytes()
    embedded.clear()
    other = run("--resume", "--top", out="out.jsonl")
    assert (other.exit_code, "exists already" in other.stderr) == (1, True)
    again = run("--resume", out="out.jsonl")
    assert "out.jsonl: is already complete, written by the same job" in again.stderr
    assert embedded == []
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"out.jsonl": made}


def failing_later(
    begin: Callable[..., Manifest], patch: pytest.MonkeyPatch, name: str
) -> Callable[..., Manifest]:
    """`WorkFolder.begin`, after which the function of that name fails: it is called next when the
    run ends.
    """

    def function(folder: WorkDir, plan: Manifest, **options: bool) -> Manifest:
        begun = begin(folder, plan, **options)
        patch.setattr(name, raising(BugError))
        return begun

    return function

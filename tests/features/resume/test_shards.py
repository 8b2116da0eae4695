"""Job arrays: the tasks of `--shard I/N` in one shared folder."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from elmo_cli.features.formats.parquet import ParquetShard
from elmo_cli.features.resume import shard_folder
from elmo_cli.features.resume.shard_folder import ShardFolder
from elmo_cli.io.lock import locked
from elmo_cli.io.output_folder import OutputFolder
from tests.conftest import SAMPLE, make_model
from tests.helpers.runs import BugError, Corpus, Elmo, raising

OPTIONS = ("--output-format", "parquet", "--window-tokens", 50, "--shard-tokens", 120)
N_SENTENCES, N_SHARDS = 50, 6  # with these options
Array = Callable[..., Result]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose widths are multiples of 8, as those of published ones.

    With widths of 6 the products' last bits depend on how many word types are encoded together.
    """
    widths = {"projection_dim": 8, "dim": 16, "filters": [[1, 8], [2, 8], [3, 16]]}
    return make_model(tmp_path_factory.mktemp("models") / "eights", **widths)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The beginning of the sample corpus."""
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text("".join(SAMPLE.read_text().splitlines(keepends=True)[:N_SENTENCES]))
    return path


@pytest.fixture(scope="module")
def expected(
    small: Path, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The shards of an ordinary run."""
    from click.testing import CliRunner

    from elmo_cli.cli.main import main

    out = tmp_path_factory.mktemp("ordinary") / "features"
    arguments = ["embed", small, out, "--model", model, *OPTIONS]
    assert CliRunner().invoke(main, list(map(str, arguments))).exit_code == 0
    return content(out)


@pytest.fixture
def run(elmo: Elmo, small: Path, model: Path, tmp_path: Path) -> Array:
    """A function that runs one task."""

    def task(
        shard: str, *more: object, corpus: Path | None = None, options: tuple[object, ...] = OPTIONS
    ) -> Result:
        return elmo(
            "embed",
            corpus or small,
            tmp_path / "features",
            "--model",
            model,
            *options,
            "--shard",
            shard,
            *more,
        )

    return task


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def work_of(tmp_path: Path) -> Path:
    return tmp_path / ".features.elmo-shards"


def shards_of(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (work_of(tmp_path) / "shards").iterdir())


def assert_complete(tmp_path: Path, expected: dict[str, bytes]) -> None:
    assert [path.name for path in tmp_path.iterdir()] == ["features"]
    assert content(tmp_path / "features") == expected


@pytest.mark.parametrize(
    "order", [[1, 0, 2], range(9)], ids=["some have several shards", "some have none"]
)
def test_the_tasks_together_make_the_shards_of_an_ordinary_run(
    run: Array, tmp_path: Path, expected: dict[str, bytes], order: list[int]
):
    for index in order:
        assert not (tmp_path / "features").exists() or index >= N_SHARDS
        result = run(f"{index}/{len(order)}")
        assert result.exit_code == 0, result.output
    assert len(expected) == N_SHARDS
    assert_complete(tmp_path, expected)


def test_a_shard_is_computed_by_its_task_alone(run: Array, embedded: list[list[str]]):
    for index in range(2):
        assert run(f"{index}/2").exit_code == 0
    assert len(embedded) == N_SENTENCES
    again = run("0/2")
    assert "nothing to do" in again.stderr
    assert len(embedded) == N_SENTENCES


def test_a_task_that_is_missing_leaves_the_output_to_whoever_comes_last(
    run: Array, tmp_path: Path, expected: dict[str, bytes]
):
    for index in (0, 2, 2):
        result = run(f"{index}/3")
        assert result.exit_code == 0
        assert "complete shards so far" in result.stderr
    assert "part-00001.parquet" not in shards_of(tmp_path)
    assert run("1/3").exit_code == 0
    assert_complete(tmp_path, expected)


def test_the_number_of_tasks_may_change(run: Array, tmp_path: Path, expected: dict[str, bytes]):
    for shard in ("1/4", "0/2", "1/3", "0/1"):
        assert run(shard).exit_code == 0
    assert_complete(tmp_path, expected)


@pytest.mark.parametrize(
    ("step", "by"),
    [
        ("write", KeyboardInterrupt(signal.SIGTERM)),
        ("close", BugError()),
        ("close", OSError(28, "No space left on device")),
    ],
)
def test_a_task_that_is_stopped_is_run_again(
    run: Array,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    expected: dict[str, bytes],
    step: str,
    by: BaseException,
):
    done, function = [], getattr(ParquetShard, step)

    def failing(*given: object, **more: object) -> object:
        done.append(step)
        if len(done) > 2:
            raise by
        return function(*given, **more)

    with monkeypatch.context() as patch:
        patch.setattr(ParquetShard, step, failing)
        assert run("0/2").exit_code != 0
    assert (
        shards_of(tmp_path)
        == ["part-00000.parquet", "part-00002.parquet"][: 2 if step == "close" else 0]
    )
    for shard in ("1/2", "0/2"):
        assert run(shard).exit_code == 0
    assert_complete(tmp_path, expected)


def test_what_a_killed_task_leaves_is_removed_by_the_next(
    run: Array, tmp_path: Path, expected: dict[str, bytes]
):
    assert run("1/2").exit_code == 0
    killed = work_of(tmp_path) / "task-0-of-2"
    killed.mkdir()
    (killed / "lock").write_text("")
    (killed / "part-00000.parquet").write_bytes(b"PAR1 half")
    assert run("0/2").exit_code == 0
    assert_complete(tmp_path, expected)


def test_a_task_that_runs_already_is_refused_in_one_line(run: Array, tmp_path: Path):
    assert run("0/2").exit_code == 0
    before = content(work_of(tmp_path) / "shards")
    with locked(work_of(tmp_path) / "task-0-of-2", tmp_path):
        result = run("0/2")
        assert result.exit_code == 1
        assert (
            f"features, task 0/2: is being written by another run (process {os.getpid()}"
            in result.stderr
        )
        assert run("0/4").exit_code == 0  # another task
    assert content(work_of(tmp_path) / "shards") == before


def test_two_tasks_that_find_all_shards_commit_once(
    run: Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, bytes]
):
    """The other task commits just before this one takes the lock, or while it holds it."""
    assert run("0/2").exit_code == 0
    commit = ShardFolder.commit

    def twice(store: ShardFolder, *given: object) -> None:
        commit(store, *given)
        commit(store, *given)

    monkeypatch.setattr(ShardFolder, "commit", twice)
    assert run("1/2").exit_code == 0
    assert_complete(tmp_path, expected)


def test_a_commit_waits_for_another_that_may_die(
    run: Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, bytes]
):
    monkeypatch.setattr(shard_folder, "COMMIT_SECONDS", 0.0)
    assert run("0/2").exit_code == 0
    with locked(work_of(tmp_path) / "commit", tmp_path / "features"):
        assert "is being written by another run" in run("1/2").stderr
    assert len(shards_of(tmp_path)) == N_SHARDS
    assert run("0/2").exit_code == 0  # has nothing to compute, and commits
    assert_complete(tmp_path, expected)


def test_a_kill_between_commit_and_cleaning_up_is_cleaned_up(
    run: Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, bytes]
):
    assert run("0/2").exit_code == 0
    with monkeypatch.context() as patch:
        patch.setattr(ShardFolder, "clear", raising(KeyboardInterrupt(signal.SIGTERM)))
        assert run("1/2").exit_code == 143
    assert work_of(tmp_path).is_dir()
    assert "nothing to do" in run("0/2").stderr
    assert_complete(tmp_path, expected)


def test_a_task_that_starts_while_another_commits_has_nothing_to_do(
    run: Array,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    expected: dict[str, bytes],
    embedded: list[list[str]],
):
    """It has looked for the output before it was there, and claims the folder when it is."""
    for shard in ("0/2", "1/2"):
        assert run(shard).exit_code == 0
    embedded.clear()
    claimed, claim, made_by = [], ShardFolder.claim, ShardFolder.made_by
    monkeypatch.setattr(ShardFolder, "claim", lambda store: claimed.append(store) or claim(store))
    monkeypatch.setattr(ShardFolder, "made_by", lambda store: made_by(store) if claimed else None)
    monkeypatch.setattr(OutputFolder, "check", lambda _: None)
    assert run("0/2").exit_code == 0
    assert embedded == []
    assert_complete(tmp_path, expected)


def test_a_damaged_shard_is_not_committed(run: Array, tmp_path: Path, expected: dict[str, bytes]):
    assert run("0/2").exit_code == 0
    (work_of(tmp_path) / "shards" / "part-00002.parquet").write_bytes(b"PAR1")
    result = run("1/2")
    assert result.exit_code == 1
    assert "part-00002.parquet: is damaged" in result.stderr
    (work_of(tmp_path) / "shards" / "part-00002.parquet").unlink()
    assert run("0/2").exit_code == 0
    assert_complete(tmp_path, expected)


@pytest.mark.parametrize("changed", [["--layers", "top"], ["--shard-tokens", "900"], "corpus"])
def test_tasks_of_another_job_are_refused(
    run: Array, corpus: Corpus, tmp_path: Path, changed: list[str] | str
):
    assert run("0/2").exit_code == 0
    before = content(work_of(tmp_path) / "shards")
    other = {"corpus": corpus("another text\n")} if changed == "corpus" else {}
    options = OPTIONS[:-2] if "--shard-tokens" in changed else OPTIONS
    result = run("1/2", *([] if changed == "corpus" else changed), **other, options=options)
    assert result.exit_code == 1
    assert "features: the unfinished job is another one: it differs in" in result.stderr
    assert f"or remove {work_of(tmp_path)} to start over" in result.stderr
    assert content(work_of(tmp_path) / "shards") == before


def test_shards_of_an_input_that_changes_during_the_run_are_not_kept(
    run: Array, small: Path, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    text = corpus(small.read_bytes())
    build = "elmo_cli.inference.embedder_spec.EmbedderSpec.build"
    from elmo_cli.inference.embedder_spec import EmbedderSpec

    original = EmbedderSpec.build

    def change(spec: EmbedderSpec, *given: object) -> object:
        text.write_text("other " + small.read_text())
        return original(spec, *given)

    monkeypatch.setattr(build, change)
    assert "was changed during the run" in run("0/2", corpus=text).stderr
    assert shards_of(tmp_path) == []


def test_an_empty_corpus_is_one_shard_without_rows(
    elmo: Elmo, run: Array, corpus: Corpus, tmp_path: Path
):
    empty = corpus("")
    for index in (1, 0):
        assert run(f"{index}/2", corpus=empty).exit_code == 0
    assert list(content(tmp_path / "features")) == ["part-00000.parquet"]
    assert elmo("verify", tmp_path / "features").exit_code == 0


REFUSED = {
    "a task that is none": (["c.txt", "out/"], "2/2", "the tasks of 2 are 0/2 to 1/2"),
    "no task": (["c.txt", "out/"], "1", "'1' is not I/N, such as 0/8"),
    "standard output": (
        ["c.txt", "-", "--output-format", "jsonl"],
        "0/2",
        "and the output is standard output",
    ),
    "another format": (["c.txt", "out.h5"], "0/2", r"and the output is out.h5 (allennlp)"),
    "one file": (["c.txt", "out.parquet"], "0/2", "and the output is out.parquet (parquet)"),
    "state": (
        ["c.txt", "out/", "--stateful"],
        "0/2",
        "--shard and --stateful contradict each other",
    ),
    "fresh": (["c.txt", "out/", "--fresh"], "0/2", "--shard and --fresh contradict each other"),
    "no resume": (
        ["c.txt", "out/", "--no-resume"],
        "0/2",
        "--shard and --no-resume contradict each other",
    ),
    "a pipe": (["-", "out/"], "0/2", "- can be read only once; name a file"),
}


@pytest.mark.parametrize(("arguments", "shard", "words"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_go_with_shards_is_one_line(
    elmo: Elmo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    shard: str,
    words: str,
):
    monkeypatch.chdir(tmp_path)
    Path("c.txt").write_text("a b\n")
    format_ = (
        []
        if "--output-format" in arguments or not arguments[1].endswith("/")
        else ["--output-format", "parquet"]
    )
    result = elmo("embed", *arguments, *format_, "--shard", shard, stdin=b"a b\n")
    assert result.exit_code == 2
    assert words in result.stderr
    assert sum(line.startswith("Error: ") for line in result.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["c.txt"]


def test_an_output_of_another_job_is_replaced_only_if_asked(
    run: Array, tmp_path: Path, expected: dict[str, bytes]
):
    for options in ([], ["--layers", "top"], ["--overwrite"]):
        results = [run(f"{index}/2", *options) for index in range(2)]
        if options == ["--layers", "top"]:
            assert all(
                "exists already; pass --overwrite to replace it" in result.stderr
                for result in results
            )
        else:
            assert all(result.exit_code == 0 for result in results)
        assert_complete(tmp_path, expected)
    assert run("0/1", "--layers", "top", "--overwrite").exit_code == 0
    assert content(tmp_path / "features") != expected
    shutil.rmtree(tmp_path / "features")

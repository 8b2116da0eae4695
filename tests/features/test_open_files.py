"""More shards than open files are allowed: shards are opened when needed; a limit is not damage."""

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from click.testing import Result

from elmo_cli import open_features
from elmo_cli.errors import LimitError
from tests.cli.test_main import assert_one_line_error

Elmo = Callable[..., Result]
SHARDS, ROOM = 40, 16  # files in the folder, and files that may be open beside those that are
SHARDED = [
    "--output-format",
    "parquet",
    "--shard-tokens",
    1,
    "--window-tokens",
    1,
    "--layers",
    "top",
]


def fill(opened: ExitStack) -> list[IO[bytes]]:
    """Open files until no more may be opened."""
    files: list[IO[bytes]] = []
    with suppress(OSError):
        while True:
            files.append(opened.enter_context(Path(os.devnull).open("rb")))  # noqa: SIM115  # closed with the stack
    return files


@pytest.fixture
def few_files() -> Iterator[int]:
    """The limit of this process, which has room for ROOM more open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = min(soft, 1024)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    with ExitStack() as opened:
        for file in fill(opened)[:ROOM]:
            file.close()
        yield limit
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def shards(elmo: Elmo, model: Path, corpus: Callable[..., Path], tmp_path: Path) -> Path:
    """A folder of a shard a sentence."""
    path = corpus("".join(f"word {i}\n" for i in range(SHARDS)))
    assert elmo("embed", path, tmp_path / "shards", "--model", model, *SHARDED).exit_code == 0
    assert len(list((tmp_path / "shards").iterdir())) == SHARDS
    return tmp_path / "shards"


@pytest.mark.usefixtures("few_files")
def test_a_folder_of_more_shards_than_files_may_be_open_is_read(
    elmo: Elmo, model: Path, tmp_path: Path, shards: Path
):
    with open_features(shards) as features:
        streamed = list(features)
        assert len(streamed) == len(features) == SHARDS
        assert [features.tokens(i) for i in (0, 17, -1)] == [
            ["word", "0"],
            ["word", "17"],
            ["word", str(SHARDS - 1)],
        ]
        np.testing.assert_array_equal(features[SHARDS - 1], streamed[-1])
    for command in (
        ["inspect", shards],
        ["verify", shards],
        ["convert", shards, tmp_path / "out.h5"],
    ):
        result = elmo(*command)
        assert result.exit_code == 0, result.output
    with open_features(tmp_path / "out.h5") as converted:
        np.testing.assert_array_equal(np.concatenate(list(converted)), np.concatenate(streamed))
    result = elmo("embed", tmp_path / "corpus.txt", shards, "--model", model, *SHARDED, "--resume")
    assert "is already complete" in result.output


@pytest.mark.usefixtures("few_files")
def test_many_input_files_are_read_one_after_the_other(elmo: Elmo, model: Path, tmp_path: Path):
    (tmp_path / "texts").mkdir()
    for i in range(3 * ROOM):
        (tmp_path / "texts" / f"{i:04}.txt").write_text("a b\n")
    result = elmo("embed", tmp_path / "texts", tmp_path / "out.h5", "--model", model)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    "name", ["out.h5", "out.npz", "out.parquet", "out.arrow", "out.jsonl", "out"]
)
def test_the_limit_is_named_and_is_not_called_damage(
    elmo: Elmo, model: Path, corpus: Callable[..., Path], tmp_path: Path, few_files: int, name: str
):
    options = ["--output-format", "parquet"] if name == "out" else []
    path = corpus("a b\n")
    assert elmo("embed", path, tmp_path / name, "--model", model, *options).exit_code == 0
    with ExitStack() as opened:
        fill(opened)
        with pytest.raises(
            LimitError,
            match=(
                f"Too many open files: a process may have {few_files:,} open; raise the limit with "
                "ulimit -n"
            ),
        ):
            open_features(tmp_path / name)
        assert_one_line_error(elmo("inspect", tmp_path / name), "ulimit -n")

"""Runs of the built-in model, whose vectors do not depend on earlier work of the process."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from elmo_cli.cli.main import main
from elmo_cli.features.formats.allennlp import AllennlpWriter
from tests.conftest import SAMPLE
from tests.helpers.runs import Elmo, Run, stop_writing

WINDOW = 200  # tokens: the text below has seven such windows
SHARDS = ("--output-format", "parquet", "--shard-tokens", 300)
N_SHARDS = 4  # of the text, with these options


@pytest.fixture(autouse=True)
def _one_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs record when they were made."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first lines of the sample corpus."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(
        "".join(SAMPLE.read_text(encoding="utf-8").splitlines(keepends=True)[:80]), encoding="utf-8"
    )
    return path


@pytest.fixture
def run(elmo: Elmo, text: Path, tmp_path: Path) -> Run:
    """A function that embeds the text in small windows."""

    def embed(*options: object, out: str = "out.h5") -> Result:
        return elmo(
            "embed", text, tmp_path / out, "--model", "tiny", "--window-tokens", WINDOW, *options
        )

    return embed


@pytest.fixture
def stopped(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that does the same, stopped in the write after the first `after` windows."""

    def embed(*options: object, after: int) -> Result:
        with monkeypatch.context() as patch:
            stop_writing(patch, AllennlpWriter, after, KeyboardInterrupt(signal.SIGTERM))
            return run(*options)

    return embed


@pytest.fixture(scope="session")
def uninterrupted(text: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a local run writes that nothing stops."""
    path = tmp_path_factory.mktemp("uninterrupted") / "out.h5"
    arguments = ["embed", str(text), str(path), "--model", "tiny", "--window-tokens", str(WINDOW)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "0")
        assert CliRunner().invoke(main, arguments).exit_code == 0
    return path.read_bytes()


@pytest.fixture
def assert_whole(uninterrupted: bytes, tmp_path: Path) -> Callable[[], None]:
    """A check: out.h5 is what an uninterrupted local run writes, byte for byte, and is alone."""

    def check() -> None:
        assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]
        assert (tmp_path / "out.h5").read_bytes() == uninterrupted

    return check


@pytest.fixture(scope="session")
def local_shards(text: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The shards of an ordinary run."""
    out = tmp_path_factory.mktemp("ordinary") / "features"
    arguments = ["embed", text, out, "--model", "tiny", "--window-tokens", WINDOW, *SHARDS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "0")
        assert CliRunner().invoke(main, list(map(str, arguments))).exit_code == 0
    assert len(content(out)) == N_SHARDS
    return content(out)


def content(folder: Path) -> dict[str, bytes]:
    """The files of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from elmo_cli.cli.main import main
from elmo_cli.features.formats.allennlp import AllennlpWriter
from elmo_cli.inference.embedder import Embedder
from tests.conftest import SAMPLE
from tests.helpers.runs import WINDOW, Elmo, Run, stop_writing


@pytest.fixture(autouse=True, scope="session")
def _one_date() -> Iterator[None]:
    """Outputs tell when they were made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "0")
        yield


@pytest.fixture
def run(elmo: Elmo, model: Path, tmp_path: Path) -> Run:
    """A function that embeds the sample corpus in small windows."""

    def embed(
        *options: object, corpus: Path = SAMPLE, out: str = "out.h5", stdin: bytes | None = None
    ) -> Result:
        defaults = {"--model": model, "--window-tokens": WINDOW}  # an option may be given once
        given = [word for option in defaults.items() if option[0] not in options for word in option]
        return elmo("embed", corpus, tmp_path / out, *given, *options, stdin=stdin)

    return embed


@pytest.fixture
def stopped(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that does the same, stopped in the write after the first `after` windows."""

    def embed(
        *options: object, after: int = 3, by: BaseException | None = None, **more: object
    ) -> Result:
        with monkeypatch.context() as patch:
            stop_writing(patch, AllennlpWriter, after, by or KeyboardInterrupt(signal.SIGTERM))
            return run(*options, **more)

    return embed


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


@pytest.fixture(scope="session")
def uninterrupted(model: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a run writes that nothing stops."""
    path = tmp_path_factory.mktemp("uninterrupted") / "out.h5"
    arguments = [
        "embed",
        str(SAMPLE),
        str(path),
        "--model",
        str(model),
        "--window-tokens",
        str(WINDOW),
    ]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    return path.read_bytes()


@pytest.fixture
def assert_whole(uninterrupted: bytes, tmp_path: Path) -> Callable[[], None]:
    """A check: out.h5 is what an uninterrupted run writes, byte for byte, and is alone."""

    def check() -> None:
        assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]
        assert (tmp_path / "out.h5").read_bytes() == uninterrupted

    return check

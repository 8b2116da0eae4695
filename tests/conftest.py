import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import settings

from elmo_cli.cli.main import main
from elmo_cli.models import download
from tests.helpers.flaky_server import FlakyServer, serve
from tests.helpers.reference import ReferenceElmo

settings.register_profile("untimed", deadline=None)  # machines may be busy
settings.load_profile("untimed")
torch.set_num_threads(1)  # the tests' models are tiny: threads would wait for each other

SHARED = Path(__file__).parents[2] / "shared"
SAMPLE = Path(__file__).parents[1] / "sample_data" / "corpus.txt"


def make_options(**changes: object) -> dict:
    """Options of a tiny biLM; a key of either part may be changed, or removed by None."""
    options = {
        "lstm": {
            "use_skip_connections": True,
            "projection_dim": 6,
            "cell_clip": 3,
            "proj_clip": 3,
            "dim": 10,
            "n_layers": 2,
        },
        "char_cnn": {
            "activation": "relu",
            "filters": [[1, 3], [2, 4], [3, 5]],
            "n_highway": 1,
            "embedding": {"dim": 4},
            "n_characters": 262,
            "max_characters_per_token": 50,
        },
    }
    for key, value in changes.items():
        part = options["lstm"] if key in options["lstm"] else options["char_cnn"]
        part[key] = value
        if value is None:
            del part[key]
    return options


def make_model(folder: Path, seed: int = 1, dtype: str = "float32", **changes: object) -> Path:
    """Write a random model in the published layout, tame enough that float32 stays near float64."""
    options = make_options(**changes)
    lstm, cnn = options["lstm"], options["char_cnn"]
    projection, dim, n_filters = (
        lstm["projection_dim"],
        lstm["dim"],
        sum(n for _, n in cnn["filters"]),
    )
    random = np.random.default_rng(seed)

    def normal(*shape: int, scale: float = 0.0) -> np.ndarray:
        scale = scale or 1.7 / np.sqrt(np.prod(shape[:-1]))  # of a matrix: by its inputs
        return (random.standard_normal(shape) * scale).astype(dtype)

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "options.json").write_text(json.dumps(options))
    with h5py.File(folder / "weights.hdf5", "w") as file:
        file["char_embed"] = normal(261, cnn["embedding"]["dim"], scale=1)
        for i, (width, n) in enumerate(cnn["filters"]):
            file[f"CNN/W_cnn_{i}"] = normal(1, width, cnn["embedding"]["dim"], n)
            file[f"CNN/b_cnn_{i}"] = normal(n, scale=0.3)
        for k in range(cnn.get("n_highway") or 0):
            for name in ("carry", "transform"):
                file[f"CNN_high_{k}/W_{name}"] = normal(n_filters, n_filters)
                file[f"CNN_high_{k}/b_{name}"] = normal(n_filters, scale=0.3)
        if n_filters != projection:
            file["CNN_proj/W_proj"] = normal(n_filters, projection)
            file["CNN_proj/b_proj"] = normal(projection, scale=0.1)
        for direction in range(2):
            for layer in range(lstm["n_layers"]):
                cell = f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
                file[f"{cell}/W_0"] = normal(2 * projection, 4 * dim)
                file[f"{cell}/B"] = normal(4 * dim, scale=0.5)
                if projection != dim:
                    file[f"{cell}/W_P_0"] = normal(dim, projection)
    return folder


@contextmanager
def n_threads(number: int) -> Iterator[None]:
    """So many threads for torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model."""
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def reference(model: Path) -> ReferenceElmo:
    """The tiny model in plain numpy."""
    return ReferenceElmo(model / "options.json", model / "weights.hdf5")


@pytest.fixture
def corpus(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a corpus file."""

    def write(content: str | bytes, name: str = "corpus.txt") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture(autouse=True)
def files_are_read_here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process for each file would take half of the suite's time.

    Tests of what it protects from are marked `sandboxed`.
    """
    if request.module.__name__ != "tests.io.test_sandbox" and not request.node.get_closest_marker(
        "sandboxed"
    ):
        monkeypatch.setattr(
            "elmo_cli.io.sandbox.run_sandboxed",
            lambda function, path, *arguments, **_: function(path, *arguments),
        )


@pytest.fixture
def elmo() -> Callable[..., Result]:
    """A function that runs the command line in this process."""

    def run(*arguments: object, stdin: bytes | None = None) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)

    return run


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyServer]:
    """A web server to fetch from, and no patience with it."""
    monkeypatch.setattr(download, "TIMEOUT", (2.0, 0.3))
    monkeypatch.setattr(download, "BACK_OFF", 0.0)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    with serve() as running:
        yield running


def shared(*parts: str) -> Path:
    """A file of ../shared; the test is skipped where it is absent."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs ../shared/{'/'.join(parts)}")
    return path


def sentences_of(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text(encoding="utf-8").splitlines()]


def read_features(path: Path) -> dict[str, np.ndarray]:
    """Every data set of a feature file but the map."""
    with h5py.File(path) as file:
        return {name: data[:] for name, data in file.items() if name != "sentence_to_index"}


def max_difference(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> float:
    assert ours.keys() == theirs.keys()
    assert all(ours[name].shape == theirs[name].shape for name in ours)
    return max(float(np.abs(ours[name] - theirs[name]).max(initial=0)) for name in ours)

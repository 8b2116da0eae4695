"""Engine protocol: embedding of windows on one device or several."""

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from elmo_cli.errors import DeviceError, ElmoError
from elmo_cli.features.resume.shard_maker import Shard, ShardMaker
from elmo_cli.inference.pipeline import Embedded, Truncated
from elmo_cli.types import Sentence, Window
from elmo_cli.version import __version__

Tokens = list[tuple[str, list[str]]]  # key and tokens of each sentence of a window


class WorkerError(ElmoError):
    """A worker of an engine ended before its work did."""


class WorkerTracebackError(Exception):
    """Traceback of a worker, the cause of an error raised again in this process."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class Settled(NamedTuple):
    """Compute settings, as determined by the machine that computes the vectors.

    Args:
        device: A torch device.
        precision: Precision of the LSTMs' matrix products.
        window_tokens: Tokens that are sorted and written together.
    """

    device: str
    precision: str
    window_tokens: int


class WorkerFacts(NamedTuple):
    """The first answer of a worker.

    Args:
        settled: Its compute settings.
        elmo: Version of this package there.
        torch: Version of PyTorch there.
        weights: sha256 of the model's weights, as loaded.
        limit: Maximum length of a token, such as "48 bytes".
    """

    settled: Settled
    elmo: str
    torch: str
    weights: str
    limit: str


class Written(NamedTuple):
    """A shard that a worker has made.

    Args:
        shard: The shard.
        n_bytes: Size of its file.
        truncated: Tokens that are longer than the model's limit.
    """

    shard: Shard
    n_bytes: int
    truncated: Truncated


class Activity(NamedTuple):
    """Present activity of the workers of an engine.

    Args:
        workers: Workers that have loaded the model.
        in_work: Windows, or shards, that they compute.
    """

    workers: int
    in_work: int


@dataclass(frozen=True)
class EngineOptions:
    """Choice of an engine and its options.

    Args:
        name: One of ENGINES.
        devices: Devices of the workers, in the order given.
        address: Address of a Ray cluster, or "local".
        workers: Number of Ray workers; None: by the cluster's resources.
        write: Who writes the features: "driver", or "workers" for shards of Parquet.
    """

    name: str = "local"
    devices: tuple[str, ...] = ("auto",)
    address: str = "local"
    workers: int | None = None
    write: str = "driver"


class Engine(Protocol):
    """Interface of engines; `local.py` is the shortest implementation.

    The vectors of a window must depend on the window alone, so that a run started with one engine
    can be resumed with another.
    """

    @property
    def settled(self) -> Settled:
        """Compute settings, available before the output is opened.

        Raises:
            ElmoError: The device or the model cannot be used.
        """

    @property
    def limit(self) -> str:
        """Maximum length of a token, such as "48 bytes"."""

    def load(self) -> None:
        """Load the model, if it is not loaded."""

    def replay(self, window: Window) -> Truncated:
        """Return the truncated tokens of a window that an earlier run has embedded."""

    def embedded(self, windows: Iterable[Window]) -> Generator[Embedded, None, None]:
        """Iterate over embedded windows in the order of `windows`.

        The number of windows in progress or finished but not yet taken is bounded.
        """

    def written(self, shards: Iterable[Shard], maker: ShardMaker) -> Generator[Written, None, None]:
        """Iterate over shards that the workers have made, in the order of `shards`."""

    def activity(self) -> Activity | None:
        """Return what the workers do; None without workers. Called at any time by any thread."""

    def close(self) -> None:
        """End the workers and release their resources."""


def to_tokens(window: Window) -> Tokens:
    """Return keys and tokens of a window, the input of a worker."""
    return [(sentence.key, sentence.tokens) for sentence in window]


def to_window(tokens: Tokens) -> Window:
    """Return the window of keys and tokens, without the sentences' other fields."""
    return [Sentence(key, of_sentence, "") for key, of_sentence in tokens]


def check_alike(weights: str, found: dict[str, WorkerFacts]) -> None:
    """Check that all workers compute the same numbers.

    Args:
        weights: sha256 of the weights, as in the metadata.
        found: The facts of each worker, by its name in messages.

    Raises:
        DeviceError: The workers differ in versions, weights or precision.
    """
    remedies = {
        "elmo": "install one version everywhere",
        "torch": "install one version everywhere",
        "weights": "its model files have changed: run it again",
        "precision": "name devices of one kind, or pass --precision fp32",
    }
    ours = {"elmo": __version__, "weights": weights}
    for what, remedy in remedies.items():
        values = {"this process": ours[what]} if what in ours else {}
        values |= {name: _value(facts, what) for name, facts in found.items()}
        first, expected = next(iter(values.items()))
        other = next((name for name, value in values.items() if value != expected), None)
        if other:
            fact = f"{first} has {expected[:20]}, and {other} has {values[other][:20]}"
            raise DeviceError(f"workers differ in {what}: {fact}; {remedy}")


def _value(facts: WorkerFacts, what: str) -> str:
    return facts.settled.precision if what == "precision" else str(getattr(facts, what))

"""The Ray engine on a cluster of two nodes, both on this machine.

`pip install 'elmo-cli[ray]'` runs these tests.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elmo_cli.errors import ModelError
from elmo_cli.features.resume.shard_maker import Shard, ShardMaker
from elmo_cli.inference.embedder_spec import EmbedderSpec
from elmo_cli.inference.engines.local import LocalEngine
from elmo_cli.inference.engines.protocol import EngineOptions, WorkerError
from elmo_cli.inference.engines.ray import RayEngine
from elmo_cli.inference.engines.ray_pool import RayWorker
from elmo_cli.inference.pipeline import windows
from elmo_cli.inference.selection import Selection
from elmo_cli.readers.corpus import Corpus as Source
from elmo_cli.types import Select, Window
from tests.conftest import SAMPLE
from tests.helpers.runs import Check, Run
from tests.inference.engines.conftest import SHARDS, content

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own
# Before the first import of Ray
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_AUTO_CONNECT": "0"}
SPEC = EmbedderSpec(model="tiny", window_tokens=200)


def test_without_ray_one_line_names_the_extra(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    result = run("--engine", "ray")
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: --engine ray: Ray is not installed; pip install 'elmo-cli[ray]'\n",
    )


@dataclass(frozen=True)
class Poisoned:
    """A selection that fails on a sentence of so many tokens."""

    length: int
    kill: bool
    inner: Selection = field(default_factory=Selection)

    def steps(self, n_layers: int) -> tuple[Select, Select]:
        choose, finish = self.inner.steps(n_layers)
        return choose, lambda array: finish(self._check(array))

    def _check(self, array: np.ndarray) -> np.ndarray:
        if array.shape[1] == self.length and self.kill:
            os._exit(9)
        if array.shape[1] == self.length:
            raise ModelError(f"a sentence of {self.length} tokens")
        return array


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    pytest.importorskip("ray", reason="needs Ray: pip install 'elmo-cli[ray]'")
    from ray.cluster_utils import Cluster

    nodes = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": 1 << 28, "include_dashboard": False},
    )
    nodes.add_node(num_cpus=1, object_store_memory=1 << 28)
    nodes.wait_for_nodes()
    yield nodes
    nodes.shutdown()


@pytest.fixture
def start(cluster: Any) -> Iterator[Callable[..., RayEngine]]:
    """A function that starts the engine on the cluster."""
    started = []

    def engine(selection: Any = Selection(), workers: int = 2) -> RayEngine:  # noqa: B008  # frozen
        started.append(
            RayEngine(SPEC, selection, EngineOptions("ray", ("cpu",), cluster.address, workers))
        )
        return started[0]

    yield engine
    for one in started:
        one.close()


def read() -> list[Window]:
    return list(windows(Source([SAMPLE]).read(), 200))


def test_a_job_is_begun_by_one_engine_and_finished_by_another(
    cluster: Any, assert_whole: Check, run: Run, stopped: Run
):
    options = [
        "--resume",
        "--engine",
        "ray",
        "--address",
        cluster.address,
        "--workers",
        "2",
        "--device",
        "cpu",
    ]
    assert stopped(after=1).exit_code == 143
    result = stopped(*options, after=4)
    assert (result.exit_code, result.stdout) == (143, ""), result.output
    result = run(*options)
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    assert_whole()


def test_lost_workers_and_nodes_lose_no_window(cluster: Any, start: Callable[..., RayEngine]):
    given = read()[:10] * 3
    engine = start(workers=3)  # of which one waits for a node
    node = cluster.add_node(num_cpus=1)
    local = LocalEngine(SPEC, Selection())
    assert (engine.settled, engine.limit) == (local.settled, local.limit)
    expected = [
        [array.tobytes() for array in embedded.arrays] for embedded in local.embedded(read()[:10])
    ] * 3
    found = []
    for worker in engine._pool.workers:
        worker.wait()
    for number, embedded in enumerate(engine.embedded(given)):
        found.append([array.tobytes() for array in embedded.arrays])
        if number == 2:
            engine._pool.workers[0].end()  # as if it had been killed
        if number == 8:
            cluster.remove_node(node, allow_graceful=False)
    assert found == expected


def test_workers_write_the_shards_of_a_local_run_after_stops_of_driver_and_workers(
    cluster: Any,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    local_shards: dict[str, bytes],
):
    options = [
        *SHARDS,
        "--write",
        "workers",
        "--engine",
        "ray",
        "--address",
        cluster.address,
        "--workers",
        "2",
        "--device",
        "cpu",
    ]
    write, killed = RayWorker.write, []

    def stopping(worker: RayWorker, shard: Shard, maker: ShardMaker) -> object:
        if shard.number == 2:
            raise KeyboardInterrupt(signal.SIGTERM)
        return write(worker, shard, maker)

    def killing(worker: RayWorker, shard: Shard, maker: ShardMaker) -> object:
        if not killed:
            killed.append(shard.number)
            worker.end()
        return write(worker, shard, maker)

    with monkeypatch.context() as patch:
        patch.setattr(RayWorker, "write", stopping)
        result = run(*options, out="features")
    assert (result.exit_code, "kept: pass --resume to continue" in result.stderr) == (143, True), (
        result.output
    )
    monkeypatch.setattr(RayWorker, "write", killing)
    result = run(*options, "--resume", out="features")
    assert (result.exit_code, result.stdout, killed) == (0, "", [2]), result.output
    assert [path.name for path in tmp_path.iterdir()] == ["features"]
    assert content(tmp_path / "features") == local_shards


def test_a_window_that_ends_its_worker_three_times_is_named(start: Callable[..., RayEngine]):
    embedded = start(Poisoned(length_of_sentence(30), kill=True)).embedded(read())
    kept = []
    with pytest.raises(WorkerError, match=r"3 workers ended while they embedded them") as raised:
        kept.extend(len(each.window) for each in embedded)
    assert sum(kept) > 0
    assert str(raised.value).startswith(f"sentences {sum(kept) + 1} to ")


def test_an_error_of_a_worker_is_raised_as_itself_at_once(start: Callable[..., RayEngine]):
    length = length_of_sentence(30)
    poisoned = [
        any(len(sentence.tokens) == length for sentence in window) for window in read()
    ].index(True)
    engine = start(Poisoned(length, kill=False), workers=1)
    engine.load()
    actors = [worker._actor for worker in engine._pool.workers]
    began, kept = time.monotonic(), []
    with pytest.raises(ModelError, match=r"^a sentence of \d+ tokens$"):
        kept.extend(each.window for each in engine.embedded(read()))
    assert time.monotonic() - began < 60
    assert kept == read()[:poisoned]
    assert [worker._actor for worker in engine._pool.workers] == actors
    assert not engine._pool._lost


def length_of_sentence(number: int) -> int:
    """The length of a sentence, which is that of none before it."""
    lengths = [len(sentence.tokens) for sentence in Source([SAMPLE]).read()]
    return next(length for length in lengths[number:] if length not in lengths[:number])


def test_no_cluster_at_an_address_is_one_line(run: Run):
    pytest.importorskip("ray")
    began = time.monotonic()
    result = run("--engine", "ray", "--address", "127.0.0.1:1", "--device", "cpu")
    assert time.monotonic() - began < 60
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1), result.output
    assert "--address 127.0.0.1:1: no Ray cluster can be reached" in result.stderr

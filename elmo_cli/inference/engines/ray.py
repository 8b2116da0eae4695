"""Engine of a Ray cluster: a pool of actors called by this process."""

import sys
from collections.abc import Generator, Iterable
from contextlib import ExitStack, redirect_stdout
from typing import Any

from elmo_cli.features.resume.shard_maker import Shard, ShardMaker
from elmo_cli.inference.embedder_spec import EmbedderSpec
from elmo_cli.inference.engines.pool import OrderedPool
from elmo_cli.inference.engines.protocol import Activity, EngineOptions, Settled, Written
from elmo_cli.inference.engines.ray_connection import connect
from elmo_cli.inference.engines.ray_pool import RayPool, RayWorker
from elmo_cli.inference.pipeline import Embedded, Truncated
from elmo_cli.inference.selection import Selection
from elmo_cli.types import Window


class RayEngine:
    """Engine that embeds windows on the workers of a Ray cluster.

    Args:
        spec: Specification of the embedders; its device is "auto", "cpu" or "cuda".
        selection: Choice of the vectors that are written.
        options: Address of the cluster and number of workers.

    Raises:
        ElmoError: Ray is not installed, or the cluster cannot be reached.
    """

    def __init__(self, spec: EmbedderSpec, selection: Selection, options: EngineOptions) -> None:
        self._ending = ExitStack()
        self._running: OrderedPool[RayWorker, Any, Any] | None = None
        try:
            # Ray prints the status of workers
            self._ending.enter_context(redirect_stdout(sys.stderr))
            self._pool = RayPool(connect(options.address), spec, selection, options)
            self._ending.callback(self._pool.close)
        except BaseException:
            self.close()
            raise

    @property
    def settled(self) -> Settled:
        """Compute settings of the worker that answered first.

        Raises:
            ElmoError: The model or the device cannot be used, or no worker starts.
        """
        return self._pool.first_facts().settled

    @property
    def limit(self) -> str:
        """Maximum length of a token, such as "48 bytes"."""
        return self._pool.first_facts().limit

    def load(self) -> None:
        """Wait for the first worker."""
        self._pool.first_facts()

    def replay(self, window: Window) -> Truncated:
        """Return the truncated tokens of a window."""
        return self._pool.count(window)

    def embedded(self, windows: Iterable[Window]) -> Generator[Embedded, None, None]:
        """Iterate over embedded windows, in order."""
        self._running = OrderedPool(windows, self._pool.workers, RayWorker.embed)
        return self._running.results()

    def written(self, shards: Iterable[Shard], maker: ShardMaker) -> Generator[Written, None, None]:
        """Iterate over shards that the workers have made, in order."""
        self._running = OrderedPool(
            shards, self._pool.workers, lambda worker, shard: worker.write(shard, maker)
        )
        return self._running.results()

    def activity(self) -> Activity:
        """Return the number of workers that have answered, and of their windows or shards."""
        return Activity(self._pool.n_live, self._running.in_work if self._running else 0)

    def close(self) -> None:
        """End the workers, and the cluster if it was started here."""
        self._ending.close()

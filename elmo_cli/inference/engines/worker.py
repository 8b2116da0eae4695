"""Embedding of windows in this process, the common part of all engines' workers."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import reduce
from threading import Event

import torch

from elmo_cli.features.resume.shard_maker import Shard, ShardMaker
from elmo_cli.inference.embedder import StatefulEmbedder
from elmo_cli.inference.embedder_spec import EmbedderSpec
from elmo_cli.inference.engines.protocol import Settled, WorkerFacts, Written
from elmo_cli.inference.pipeline import (
    Embedded,
    Truncated,
    batches,
    embed_ahead,
    embed_carrying_state,
    embed_window,
    select_each,
)
from elmo_cli.inference.selection import Selection
from elmo_cli.nn.characters import TokenMapper
from elmo_cli.nn.kernels.malloc import trim_malloc
from elmo_cli.types import Array, Window
from elmo_cli.version import __version__


def settle(spec: EmbedderSpec) -> Settled:
    """Return the compute settings of an embedder in this process.

    Raises:
        DeviceError: The device is not available, or does not have the precision.
    """
    device, precision = spec.place
    return Settled(device, precision, spec.max_window_tokens)


class WindowEmbedder:
    """A loaded model that embeds windows and selects the written vectors.

    Args:
        spec: Specification of the embedder.
        selection: Choice of the vectors that are written.

    Raises:
        ElmoError: The model or the device cannot be used.
    """

    def __init__(self, spec: EmbedderSpec, selection: Selection) -> None:
        config = spec.files.config()
        choose, self._select = selection.steps(config.n_output_layers)
        self._spec = spec
        self._embedder = spec.build(choose)
        self._stateful = StatefulEmbedder(self._embedder) if spec.start.stateful else None
        self._batch_tokens = spec.max_batch_tokens(config)

    @property
    def limit(self) -> str:
        """Maximum length of a token, such as "48 bytes"."""
        bilm = self._embedder.bilm
        return f"{bilm.config.max_characters - 2} {bilm.mapper.unit}"

    def facts(self) -> WorkerFacts:
        """Return the facts that must be the same in all workers."""
        weights = self._spec.files.sha256
        return WorkerFacts(settle(self._spec), __version__, torch.__version__, weights, self.limit)

    def embed(self, window: Window, *, stop: Event | None = None) -> Embedded:
        """Return the embedded window.

        Args:
            window: The sentences.
            stop: Event that ends the computation.

        Raises:
            StoppedError: `stop` was set.
            ElmoError: Memory is insufficient, or a value does not fit the data type.
        """
        arrays = select_each(window, self._layers(window, stop), self._select)
        return Embedded(window, arrays, self.count(window))

    def write(self, shard: Shard, maker: ShardMaker) -> Written:
        """Embed the windows of a shard, one ahead of the writer, and write it.

        Raises:
            ElmoError: Memory is insufficient, or the shard cannot be written.
        """
        found = [Truncated()]
        with closing(embed_ahead(shard.windows, self.embed)) as embedded:
            n_bytes = maker.make(shard, _noting(embedded, found))
        trim_malloc()
        return Written(shard, n_bytes, reduce(Truncated.plus, found))

    def _layers(self, window: Window, stop: Event | None) -> list[Array]:
        if self._stateful:
            return embed_carrying_state(window, self._stateful)
        return embed_window(
            window, embedder=self._embedder, max_tokens=self._batch_tokens, stop=stop
        )

    def replay(self, window: Window) -> Truncated:
        """Return the truncated tokens of a window, and compute the vectors of its word types alone.

        The cache of word types is then as after `embed(window)`.
        """
        for batch in batches(window, self._batch_tokens):
            self._embedder.warm_cache([window[i].tokens for i in batch])
        return self.count(window)

    def count(self, window: Window) -> Truncated:
        """Return the truncated tokens of a window."""
        return count_truncated(window, self._embedder.bilm.mapper)


def _noting(
    embedded: Iterable[Embedded], found: list[Truncated]
) -> Iterator[tuple[Window, list[Array]]]:
    """Iterate over windows and their vectors, and append their truncated tokens to `found`."""
    for window, arrays, truncated in embedded:
        found.append(truncated)
        yield window, arrays


def count_truncated(window: Window, mapper: TokenMapper) -> Truncated:
    """Return the tokens of a window that are longer than the model's limit."""
    found = [
        token for sentence in window for token in sentence.tokens if mapper.is_truncated(token)
    ]
    return Truncated(len(found), next(iter(found), None))

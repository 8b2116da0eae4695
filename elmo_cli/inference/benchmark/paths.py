"""Benchmarked implementations: the simple one, and the fast one at each precision."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import NamedTuple, Protocol

from elmo_cli.features.formats import open_writer
from elmo_cli.features.formats.registry import DEFAULT
from elmo_cli.features.protocols import FeatureWriter
from elmo_cli.features.spec import FeatureSpec
from elmo_cli.inference.benchmark.work import Tokens, Work
from elmo_cli.inference.embedder_spec import EmbedderSpec
from elmo_cli.inference.pipeline import (
    batches,
    embed_ahead,
    embed_corpus,
    embed_window,
    selecting,
    windows,
)
from elmo_cli.io.output_file import OutputFile
from elmo_cli.nn.prefixes import count_nodes
from elmo_cli.nn.reference import embed_padded
from elmo_cli.nn.type_cache import TypeCache
from elmo_cli.types import Array, Sentence, Window

SIMPLE, EXACT = "simple", "fp64"  # names of paths other than precisions
SIMPLE_BATCH = 64  # sentences, as AllenNLP's
SIMPLE_TOKENS = 1500  # part of the text that the slow path reads


class Round(NamedTuple):
    """One measurement, in tokens and seconds."""

    tokens: int
    end_to_end: float  # with an empty cache, into an HDF5 file; the simple path does not write
    writing: float | None = None  # part of `end_to_end` spent in the feature writer
    lstm: float | None = None  # all word types cached, nothing written
    # Computed LSTM steps of a layer, both directions; 2 for each token without sharing
    nodes: int | None = None


class BenchmarkPath(Protocol):
    """A loaded network and an implementation that runs it."""

    def vectors(self, sample: Sequence[Tokens]) -> list[Array]:
        """Return all layers of each sentence, (layer, token, dim)."""

    def measure(self) -> Round:
        """Return the measurement of one run over the text."""


class SimplePath:
    """Reference: padded batches in input order, no cache, on the CPU; float64 if `exact`."""

    def __init__(self, work: Work, *, exact: bool = False) -> None:
        self.bilm = work.load().double() if exact else work.load()
        self.sentences = work.sentences

    def vectors(self, sample: Sequence[Tokens]) -> list[Array]:
        """Return all layers of each sentence, (layer, token, dim), in the network's dtype."""
        return [layers.numpy() for layers in embed_padded(self.bilm, sample)]

    def measure(self) -> Round:
        """Return the measurement of at least the first SIMPLE_TOKENS of the text."""
        tokens, began = 0, time.perf_counter()
        for start in range(0, len(self.sentences), SIMPLE_BATCH):
            batch = self.sentences[start : start + SIMPLE_BATCH]
            embed_padded(self.bilm, batch)
            tokens += sum(map(len, batch))
            if tokens >= SIMPLE_TOKENS:
                break
        return Round(tokens, time.perf_counter() - began)


class FastPath:
    """The implementation of `elmo embed`."""

    def __init__(self, work: Work, precision: str) -> None:
        spec = EmbedderSpec(work.model, device=work.device, precision=precision)
        self.embedder = spec.build(bilm=work.load())
        config = self.embedder.bilm.config
        self.batch_tokens, self.window_tokens = (
            spec.max_batch_tokens(config),
            spec.max_window_tokens,
        )
        self.described = FeatureSpec(
            tuple(f"layer_{layer}" for layer in range(config.n_output_layers)), config.output_dim
        )
        self.text = [
            Sentence(str(i), tokens, " ".join(tokens)) for i, tokens in enumerate(work.sentences)
        ]

    def vectors(self, sample: Sequence[Tokens]) -> list[Array]:
        """Return all layers of each sentence, (layer, token, dim) float32."""
        return self.embedder.embed_batch(sample)

    def measure(self) -> Round:
        """Return the measurement of two runs: empty cache, to a temporary file.

        Full cache, no output.
        """
        self.embedder.types = TypeCache(self.embedder.bilm)
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            with open_writer(
                DEFAULT.name, OutputFile(Path(folder) / "out.h5"), self.described
            ) as store:
                timed = _TimedStore(store)
                read = windows(self.text, self.window_tokens)
                for _ in embed_corpus(
                    embed_ahead(read, selecting(self._embed, lambda layers: layers)), timed
                ):
                    pass
            end_to_end = time.perf_counter() - began
        began = time.perf_counter()
        for window in windows(self.text, self.window_tokens):
            self._embed(window)
        lstm = time.perf_counter() - began
        return Round(
            sum(len(sentence.tokens) for sentence in self.text),
            end_to_end,
            timed.seconds,
            lstm,
            self._count_nodes(),
        )

    def _count_nodes(self) -> int:
        parts = (
            (window, batch)
            for window in windows(self.text, self.window_tokens)
            for batch in batches(window, self.batch_tokens)
        )
        return sum(count_nodes([window[i].tokens for i in batch]) for window, batch in parts)

    def _embed(self, window: Window, *, stop: Event | None = None) -> list[Array]:
        return embed_window(window, self.embedder, self.batch_tokens, stop)


class _TimedStore:
    """Wrapper of a feature writer that measures its time."""

    def __init__(self, store: FeatureWriter) -> None:
        self.store = store
        self.seconds = 0.0

    def write(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        began = time.perf_counter()
        self.store.write(window, arrays)
        self.seconds += time.perf_counter() - began


def make_path(name: str, work: Work) -> BenchmarkPath:
    """Return the path of a name: SIMPLE, EXACT, or a precision."""
    return (
        SimplePath(work, exact=name == EXACT) if name in (SIMPLE, EXACT) else FastPath(work, name)
    )

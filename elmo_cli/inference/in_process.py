"""Cache of loaded embedders in this process, and the selected vectors of many sentences."""

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from elmo_cli.features.values import check_finite
from elmo_cli.inference.embedder import Embedder
from elmo_cli.inference.embedder_spec import EmbedderSpec
from elmo_cli.inference.pipeline import embed_window, windows
from elmo_cli.io.forks import Lock, is_forked
from elmo_cli.nn.parallel import use_one_thread_after_fork
from elmo_cli.types import Array, Select, Sentence

MAX_LOADED = 4  # embedders that a process keeps; the least recently used is discarded first

Stamp = tuple[tuple[str, int, int], ...]


class LoadedEmbedders:
    """Embedders by process, description and state of the model's files.

    The process is part of the key, because an embedder that was loaded before a fork has threads
    that the child does not have. A forked child computes on one thread: OpenMP would wait for the
    parent's others.
    """

    def __init__(self) -> None:
        self._loaded: OrderedDict[tuple[int, EmbedderSpec, Stamp], Embedder] = OrderedDict()
        self._lock = Lock()

    def load(self, spec: EmbedderSpec) -> Embedder:
        """Return the embedder of this process, loading it if necessary.

        Args:
            spec: Description of the embedder; its model must be a name or path.

        Raises:
            ElmoError: The model or the device cannot be used.
        """
        key = (os.getpid(), spec, file_stamp(spec))
        with self._lock:
            if key not in self._loaded:
                use_one_thread_after_fork()
                self._loaded[key] = (replace(spec, threads=1) if is_forked() else spec).build()
            self._loaded.move_to_end(key)
            while len(self._loaded) > MAX_LOADED:
                self._loaded.popitem(last=False)
            return self._loaded[key]


EMBEDDERS = LoadedEmbedders()


def file_stamp(spec: EmbedderSpec) -> Stamp:
    """Return path, size and modification time of the model's files."""
    states = [(path, path.stat()) for path in spec.files.files.values()]
    return tuple((str(path), state.st_size, state.st_mtime_ns) for path, state in states)


def embed_selected(
    sentences: Sequence[Sentence], embedder: Embedder, spec: EmbedderSpec, select: Select
) -> Iterator[Array]:
    """Iterate over the selected vectors of sentences, in input order, computed window by window.

    Args:
        sentences: Sentences whose keys are their numbers from 0.
        embedder: The embedder that `spec` describes.
        spec: Provides the sizes of windows and batches.
        select: Function from (layer, token, dim) float32 to the vectors to return.

    Raises:
        ElmoError: Vectors are not finite, or do not fit the data type.
    """
    batch_tokens = spec.max_batch_tokens(embedder.bilm.config)
    for window in windows(sentences, spec.max_window_tokens):
        arrays = [select(layers) for layers in embed_window(window, embedder, batch_tokens)]
        check_finite(window, arrays)
        yield from arrays

"""One run of `elmo embed`: everything that can be checked first, then the work, then what is to be said about it."""

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch

from elmo_cli.batching import BATCH_TOKENS, STATEFUL_BATCH, WINDOW_TOKENS
from elmo_cli.embedder import Embedder, StatefulEmbedder, choose_device
from elmo_cli.errors import CorpusError
from elmo_cli.models import ModelFiles, sha256
from elmo_cli.pipeline import Progress, Window, embed_carrying_state, embed_corpus, embed_window, groups, windows
from elmo_cli.pooling import Array, select_layers
from elmo_cli.scan import Scan, Source
from elmo_cli.stores.files import Output
from elmo_cli.stores.hdf5 import Hdf5Store, estimate_bytes


@dataclass(frozen=True)
class Start:
    """Where sentences start: at zero, at the state that `prime` leaves, or where those of the batch before ended (`stateful`)."""

    stateful: bool = False
    batch_size: int = STATEFUL_BATCH
    prime: Source | None = None

    def describe(self) -> str:
        """For the metadata; a priming text is named and hashed."""
        if self.stateful:
            return f"carried between batches of {self.batch_size}"
        return f"primed by {self.prime.name}, sha256 {sha256(self.prime.local_paths[0])}" if self.prime else "zero"

    def check(self) -> None:
        """Make sure that the priming text can be read, and says something.

        Raises:
            CorpusError: It cannot, or does not.
        """
        if self.prime and (self.prime.is_stream or len(self.prime.local_paths) != 1):
            raise CorpusError(f"--prime {self.prime.name}: is read more than once, and hashed; name one file")
        if self.prime and self.prime.scan().tokens == 0:
            raise CorpusError(f"--prime {self.prime.name}: holds no tokens")


@dataclass(frozen=True)
class EmbedJob:
    """What to embed, with which model, how, and where to."""

    source: Source
    output: Output
    model: ModelFiles
    layers: str = "all"
    start: Start = field(default_factory=Start)
    batch_tokens: int = BATCH_TOKENS
    window_tokens: int = WINDOW_TOKENS
    device: str = "auto"
    threads: int | None = None
    keys: str = "number"
    forget_sentences: bool = False
    command: str = ""
    warnings: list[str] = field(default_factory=list)  # what the user ought to know when `run` has ended

    def check(self) -> Scan | None:
        """Find what would go wrong, before the model is loaded; returns the scan of a corpus that is no stream.

        Raises:
            ElmoError: The corpus, the output, the options or the device cannot be used, or the disk is too small.
        """
        self.output.check()
        prime = self.start.prime.local_paths if self.start.prime else []
        self.output.check_is_none_of([*self.source.local_paths, self.model.options, self.model.weights, *prime])
        config = self.model.config()
        select = select_layers(self.layers, config.n_output_layers)
        choose_device(self.device)
        self.start.check()
        if self.source.is_stream:
            return None
        scan = self.source.scan()
        values = select(np.empty((config.n_output_layers, 1, config.output_dim), dtype=np.float32)).size
        self.output.check_space(estimate_bytes(scan.sentences, scan.tokens, scan.text_bytes, values))
        return scan

    def run(self) -> Generator[Progress, None, None]:
        """Do the work, telling after each window how much is committed."""
        if self.threads:
            torch.set_num_threads(self.threads)
        embedder = Embedder(self.model.load(), choose_device(self.device), self._priming_sentences())
        read = Scan()
        windows_, embed = self._plan(embedder, read)
        select = select_layers(self.layers, embedder.bilm.config.n_output_layers)
        metadata = {**self.model.metadata(self.layers, self.start.describe()), "command": self.command}
        with Hdf5Store(self.output, metadata, keys=self.keys, forget_sentences=self.forget_sentences) as store:
            yield from embed_corpus(windows_, embed, select, store)
        self._warn(embedder, read, store)

    def _priming_sentences(self) -> Iterable[list[str]]:
        return (sentence.tokens for sentence in self.start.prime.read()) if self.start.prime else ()

    def _plan(self, embedder: Embedder, read: Scan) -> tuple[Iterator[Window], Callable[[Window], list[Array]]]:
        sentences = self.source.read(read)
        if self.start.stateful:
            carrying = StatefulEmbedder(embedder)
            return groups(sentences, self.start.batch_size), partial(embed_carrying_state, embedder=carrying)
        return windows(sentences, self.window_tokens), partial(embed_window, embedder=embedder, max_tokens=self.batch_tokens)

    def _warn(self, embedder: Embedder, read: Scan, store: Hdf5Store) -> None:
        if read.sentences == 0:
            self.warnings.append(f"{self.source.name}: holds no sentences; {self.output.path} is whole, and empty")
        if read.n_blank and self.source.blank_lines == "skip":
            self.warnings.append(f"skipped {read.blank_lines()}")
        if embedder.cut_example is not None:
            window, example = embedder.bilm.config.max_characters - 2, embedder.cut_example
            shown = example if len(example) <= 60 else f"{example[:60]}..."
            self.warnings.append(f"cut tokens to the model's {window} bytes: {embedder.cut_tokens:,}, such as {shown!r}")
        if store.skipped_duplicates:
            self.warnings.append(f"wrote the first of equal sentences only: left out {store.skipped_duplicates:,} (--use-sentence-keys)")

"""One run of `elmo embed`: everything that can be checked first, then the work, then what is to be said about it."""

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING

import torch

from elmo_cli.batching import BATCH_TOKENS, STATEFUL_BATCH, WINDOW_TOKENS
from elmo_cli.embedder import Embedder, StatefulEmbedder, choose_device
from elmo_cli.errors import CorpusError, UsageError
from elmo_cli.layouts import KEEPERS
from elmo_cli.models import ModelFiles, sha256
from elmo_cli.pipeline import Progress, Window, embed_carrying_state, embed_corpus, embed_window, groups, windows
from elmo_cli.pooling import Array, Selection
from elmo_cli.scan import Scan, Source
from elmo_cli.stores import Store, estimate_bytes, make_store
from elmo_cli.stores.coref import document_of
from elmo_cli.stores.description import Description, StoreOptions, name_of
from elmo_cli.stores.places import Place

if TYPE_CHECKING:
    import pyarrow


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


def now() -> str:
    """The time in UTC, to the second; that of SOURCE_DATE_EPOCH where it is set, so that a file can be made again byte for byte."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    seconds = int(epoch) if epoch.isdecimal() else int(time.time())
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat()


@dataclass(frozen=True)
class EmbedJob:
    """What to embed, with which model, how, and where to."""

    source: Source
    output: Place
    model: ModelFiles
    selection: Selection = field(default_factory=Selection)
    layout: str = "allennlp"
    store: StoreOptions = field(default_factory=StoreOptions)
    start: Start = field(default_factory=Start)
    batch_tokens: int = BATCH_TOKENS
    window_tokens: int = WINDOW_TOKENS
    device: str = "auto"
    threads: int | None = None
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
        described = self._describe()
        choose_device(self.device)
        self.start.check()
        if self.source.is_stream:
            return None
        scan = self.source.scan()
        self._check_ids()
        self.output.check_space(estimate_bytes(self.layout, described, scan.sentences, scan.tokens, scan.text_bytes))
        return scan

    def _describe(self) -> Description:
        """What will be written; the weights are not touched."""
        config, selection = self.model.config(), self.selection
        names, pooled = selection.names(config.n_output_layers), selection.pool != "none"
        return Description(names, config.output_dim, selection.dtype, pooled, kept=self._kept_fields())

    def _kept_fields(self) -> "pyarrow.Schema | None":
        fields = self.source.kept_fields()
        if fields is not None and self.layout not in KEEPERS:
            raise UsageError(
                f"--keep {fields.names[0]}: {self.layout} has no place for columns; write {', '.join(KEEPERS[:-1])} or {KEEPERS[-1]}"
            )
        return fields

    def _check_ids(self) -> None:
        first = next(iter(self.source.read()), None)
        if first and self.layout == "e2e-coref":
            document_of(first)
        elif first:
            name_of(first, self.store.keys)

    def run(self) -> Generator[Progress, None, None]:
        """Do the work, telling after each window how much is committed."""
        if self.threads:
            torch.set_num_threads(self.threads)
        embedder = Embedder(self.model.load(), choose_device(self.device), self._priming_sentences())
        read = Scan()
        windows_, embed = self._plan(embedder, read)
        select = self.selection.function(embedder.bilm.config.n_output_layers)
        told = {**self.model.metadata(self.start.describe()), **self.selection.metadata(), "command": self.command, "created": now()}
        with make_store(self.layout, self.output, replace(self._describe(), metadata=told), self.store) as store:
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

    def _warn(self, embedder: Embedder, read: Scan, store: Store) -> None:
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

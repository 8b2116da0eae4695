"""One run of `elmo embed`: everything that can be checked first, then the work, then what is to be said about it."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
import torch

from elmo_cli.batching import BATCH_TOKENS, STATEFUL_BATCH, WINDOW_TOKENS, bucket_by_length
from elmo_cli.corpus import Sentence
from elmo_cli.embedder import Embedder, StatefulEmbedder, choose_device
from elmo_cli.errors import CorpusError, ElmoError, ResumeError
from elmo_cli.journal.plan import Plan
from elmo_cli.journal.store import JournaledStore
from elmo_cli.journal.work_folder import WorkFolder
from elmo_cli.models import ModelFiles, sha256
from elmo_cli.pipeline import NOTHING, Progress, Window, embed_carrying_state, embed_corpus, embed_window, groups, windows
from elmo_cli.pooling import Array, select_layers
from elmo_cli.scan import Scan, Source
from elmo_cli.stores.files import Output
from elmo_cli.stores.hdf5 import Hdf5Store, estimate_bytes, read_metadata

DECIDING = ("layers", "window_tokens", "keys", "forget_sentences")  # fields that decide what is written; those for speed may change
FINGERPRINT = "job_sha256"  # in the metadata: by it a finished job is known again


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
        return f"primed by {self.prime.path}, sha256 {sha256(self.prime.path)}" if self.prime else "zero"

    def check(self) -> None:
        """Make sure that the priming text can be read, and says something.

        Raises:
            CorpusError: It cannot, or does not.
        """
        if self.prime and self.prime.is_stream:
            raise CorpusError(f"--prime {self.prime.path}: is read more than once; name a file")
        if self.prime and self.prime.scan().tokens == 0:
            raise CorpusError(f"--prime {self.prime.path}: holds no tokens")


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
    resume: bool = False
    fresh: bool = False
    journal: bool = True
    warnings: list[str] = field(default_factory=list)  # what the user ought to know when `run` has ended

    @property
    def work(self) -> WorkFolder:
        """Where unfinished work lies."""
        return WorkFolder(self.output, self.resume, self.fresh)

    @property
    def is_journaled(self) -> bool:
        """Whether it can be resumed. State that is carried from batch to batch is not kept."""
        return self.journal and not self.start.stateful

    def check(self) -> Scan | None:
        """Find what would go wrong, before the model is loaded; returns the scan of a corpus that is no stream.

        Raises:
            ElmoError: The corpus, the output, the options or the device cannot be used, or the disk is too small.
        """
        (replace(self.output, overwrite=True) if self.resume else self.output).check()  # what is there may be this job's
        self.work.check()
        prime = [self.start.prime.path] if self.start.prime else []
        self.output.check_is_none_of([self.source.path, self.model.options, self.model.weights, *prime])
        config = self.model.config()
        select = select_layers(self.layers, config.n_output_layers)
        choose_device(self.device)
        self.start.check()
        scan = None if self.source.is_stream else self.source.scan()
        self.work.compare(self.plan(scan))
        if self.is_whole(scan):
            self.work.drop()
            return scan
        self.output.check()
        if scan:
            values = select(np.empty((config.n_output_layers, 1, config.output_dim), dtype=np.float32)).size
            self._check_space(scan, values)
        return scan

    def _check_space(self, scan: Scan, values: int) -> None:
        n_bytes = estimate_bytes(scan.sentences, scan.tokens, scan.text_bytes, values)
        if not self.is_journaled:
            return self.output.check_space(n_bytes)
        kept = self.work.kept_bytes() if self.resume else 0
        return self.output.check_space(2 * n_bytes - kept, "write fewer --layers, or pass --no-resume to halve it")

    def is_whole(self, scan: Scan | None) -> bool:
        """Whether the output that is to be resumed is there already, made by this very job."""
        return self.resume and scan is not None and read_metadata(self.output.target).get(FINGERPRINT) == self.plan(scan).fingerprint

    def plan(self, scan: Scan | None) -> Plan:
        """What decides the output, and what it will tell of itself."""
        made = self._metadata
        job = {
            "the input": f"sha256 {scan.digest.hexdigest()}" if scan else "a stream",
            "the model": made["model_sha256"],
            "its options": made["options"],
            "where sentences start": made["start_state"],
        }
        job |= {f"--{name.replace('_', '-')}": str(value) for name, value in vars(self).items() if name in DECIDING}
        plan = Plan(job, made)
        return replace(plan, metadata={**made, FINGERPRINT: plan.fingerprint}) if scan else plan

    @cached_property
    def _metadata(self) -> dict[str, str]:
        return {**self.model.metadata(self.layers, self.start.describe()), "command": self.command}

    def run(self, scan: Scan | None = None) -> Generator[Progress, None, None]:
        """Do the work, telling after each window how much is committed; `scan` is what `check` returned.

        Raises:
            ElmoError: The corpus, the model or the disk fail; the message says if work is kept to go on with.
        """
        if self.threads:
            torch.set_num_threads(self.threads)
        embedder = Embedder(self.model.load(), choose_device(self.device), self._priming_sentences())
        read = Scan()
        sentences = self.source.read(read)
        select = select_layers(self.layers, embedder.bilm.config.n_output_layers)
        with self._saying_how_to_go_on(), self.work.claim():
            plan = self._begin(scan)
            inner = self._make_store(plan.metadata)
            journal = JournaledStore(inner, self.work) if self.is_journaled else None
            with journal or inner as store:
                done = yield from self._replay(journal, sentences, embedder)
                windows_, embed = self._steps(sentences, embedder)
                yield from embed_corpus(windows_, embed, select, store, done)
            self.work.discard()
        self._warn(embedder, read, inner)

    def how_to_go_on(self) -> str:
        """What is to be said when the run has stopped half way: nothing if nothing is kept."""
        kept = self.work.kept_sentences() if self.is_journaled else 0
        return f"{kept:,} sentence{'s are' if kept > 1 else ' is'} kept: pass --resume to go on" if kept else ""

    @contextmanager
    def _saying_how_to_go_on(self) -> Iterator[None]:
        try:
            yield
        except ResumeError:
            raise
        except ElmoError as error:
            message, *details = error.args
            raise type(error)("; ".join(filter(None, [message, self.how_to_go_on()])), *details) from None

    def _begin(self, scan: Scan | None) -> Plan:
        plan = self.plan(scan)
        if self.is_journaled:
            return self.work.begin(plan)
        self.work.discard()
        return plan

    def _make_store(self, metadata: Mapping[str, str]) -> Hdf5Store:
        return Hdf5Store(self.work.room, metadata, keys=self.keys, forget_sentences=self.forget_sentences)

    def _replay(
        self, journal: JournaledStore | None, sentences: Iterator[Sentence], embedder: Embedder
    ) -> Generator[Progress, None, Progress]:
        """Take over what an earlier run has done, and be where it was then, to the last bit and count."""
        done = NOTHING
        for window in journal.replay(sentences) if journal else ():
            for batch in bucket_by_length([len(sentence.tokens) for sentence in window], self.batch_tokens):
                embedder.recall([window[i].tokens for i in batch])
            done = done.plus(window)
            yield done
        return done

    def _priming_sentences(self) -> Iterable[list[str]]:
        return (sentence.tokens for sentence in self.start.prime.read()) if self.start.prime else ()

    def _steps(self, sentences: Iterator[Sentence], embedder: Embedder) -> tuple[Iterator[Window], Callable[[Window], list[Array]]]:
        if self.start.stateful:
            carrying = StatefulEmbedder(embedder)
            return groups(sentences, self.start.batch_size), partial(embed_carrying_state, embedder=carrying)
        return windows(sentences, self.window_tokens), partial(embed_window, embedder=embedder, max_tokens=self.batch_tokens)

    def _warn(self, embedder: Embedder, read: Scan, store: Hdf5Store) -> None:
        if read.sentences == 0:
            self.warnings.append(f"{self.source.path}: holds no sentences; {self.output.path} is whole, and empty")
        if read.n_blank and self.source.blank_lines == "skip":
            self.warnings.append(f"skipped {read.blank_lines()}")
        if embedder.cut_example is not None:
            window, example = embedder.bilm.config.max_characters - 2, embedder.cut_example
            shown = example if len(example) <= 60 else f"{example[:60]}..."
            self.warnings.append(f"cut tokens to the model's {window} bytes: {embedder.cut_tokens:,}, such as {shown!r}")
        if store.skipped_duplicates:
            self.warnings.append(f"wrote the first of equal sentences only: left out {store.skipped_duplicates:,} (--use-sentence-keys)")

"""One run of `elmo embed`: everything that can be checked first, then the work, then what is to be said about it."""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from elmo_cli.errors import ResumeError, UsageError
from elmo_cli.features.formats import check_description, check_name, estimate_bytes, open_writer, warnings_of
from elmo_cli.features.layouts import KEEPERS
from elmo_cli.features.protocols import FeatureWriter
from elmo_cli.features.resume.manifest import Manifest
from elmo_cli.features.resume.run import ResumableRun, make_manifest
from elmo_cli.features.resume.writer import ResumableWriter
from elmo_cli.features.spec import FeatureSpec, WriteOptions
from elmo_cli.inference.embedder import Embedder, StatefulEmbedder
from elmo_cli.inference.embedder_spec import EmbedderSpec, InitialState
from elmo_cli.inference.pipeline import Embed, batches, embed_carrying_state, embed_corpus, embed_window, groups, windows
from elmo_cli.inference.selection import Selection
from elmo_cli.io.output_file import OutputTarget
from elmo_cli.models.files import ModelFiles
from elmo_cli.readers.corpus import Corpus, CorpusScan
from elmo_cli.types import NOTHING, Progress, Sentence, Window

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class EmbedJob:
    """What to embed, with which model, how, and where to."""

    source: Corpus
    output: OutputTarget
    model: ModelFiles
    selection: Selection = field(default_factory=Selection)
    layout: str = "allennlp"
    store: WriteOptions = field(default_factory=WriteOptions)
    start: InitialState = field(default_factory=InitialState)
    batch_tokens: int | None = None  # None: by the device
    window_tokens: int | None = None
    device: str = "auto"
    precision: str = "fp32"
    threads: int | None = None
    command: str = ""
    resume: bool = False
    fresh: bool = False
    journal: bool = True
    warnings: list[str] = field(default_factory=list)  # what the user ought to know when `run` has ended

    @cached_property
    def spec(self) -> EmbedderSpec:
        """Description of the embedder that computes the vectors."""
        return EmbedderSpec(
            model=self.model,
            device=self.device,
            precision=self.precision,
            threads=self.threads,
            start=self.start,
            batch_tokens=self.batch_tokens,
            window_tokens=self.window_tokens,
        )

    @property
    def work(self) -> ResumableRun:
        """What is kept of it. State that is carried from batch to batch is not."""
        return ResumableRun(self.output, self.resume, self.fresh, keep=self.journal and not self.start.stateful)

    def check(self) -> CorpusScan | None:
        """Find what would go wrong, before the model is loaded; returns the scan of a corpus that is no stream.

        Raises:
            ElmoError: The corpus, the output, the options or the device cannot be used, or the disk is too small.
        """
        self.work.check()
        prime = self.start.prime.local_paths if self.start.prime else []
        self.output.check_is_none_of([*self.source.local_paths, *self.model.files.values(), *prime])
        described, _ = self._describe(), self.spec.place
        check_description(self.layout, described)
        self.start.check()
        scan = None if self.source.is_stream else self.source.scan()
        if not self.work.compare(self.plan(scan)) and scan:
            self._check_ids()
            estimated = estimate_bytes(self.layout, described, scan.sentences, scan.tokens, scan.text_bytes)
            self.work.check_space(estimated, "write fewer --layers")
        return scan

    def is_whole(self, scan: CorpusScan | None) -> bool:
        """Whether the output is there already, and this run, which was told to resume, is the very job that made it."""
        return self.work.settle(self.plan(scan))

    def plan(self, scan: CorpusScan | None) -> Manifest:
        """What decides the output, and what it will tell of itself."""
        return make_manifest(
            {"the input": f"sha256 {scan.hexdigest()}" if scan else "a stream"},
            {
                "--layout": self.layout,
                "--window-tokens": self.spec.max_window_tokens,
                "--blank-lines": self.source.blank_lines,
                "--keep": ", ".join(self.source.reading.keep),
                **vars(self.selection),
                **vars(self.store),
            },
            self._metadata,
            is_known=scan is not None,
        )

    @cached_property
    def _metadata(self) -> dict[str, str]:
        return self.spec.metadata(self.selection.metadata(), self.command)

    def _describe(self) -> FeatureSpec:
        """What will be written; the weights are not touched."""
        config, selection = self.model.config(), self.selection
        names, pooled = selection.names(config.n_output_layers), selection.pool != "none"
        dim = selection.dim(config.n_output_layers, config.output_dim)
        return FeatureSpec(names, dim, selection.dtype, pooled, kept=self._kept_fields())

    def _kept_fields(self) -> "pyarrow.Schema | None":
        fields = self.source.kept_fields()
        if fields is not None and self.layout not in KEEPERS:
            raise UsageError(
                f"--keep {fields.names[0]}: {self.layout} has no place for columns; write {', '.join(KEEPERS[:-1])} or {KEEPERS[-1]}"
            )
        return fields

    def _check_ids(self) -> None:
        first = next(iter(self.source.read()), None)
        if first:
            check_name(first, self.layout, self.store)

    def run(self, scan: CorpusScan | None = None) -> Generator[Progress, None, None]:
        """Do the work, telling after each window how much is committed; `scan` is what `check` returned.

        Raises:
            ElmoError: The corpus, the model or the disk fail; `work` tells what is kept to go on with.
        """
        config = self.model.config()
        choose, select = self.selection.steps(config.n_output_layers)
        embedder = self.spec.build(choose)
        batch_tokens = self.spec.max_batch_tokens(config)
        read = CorpusScan()
        with self.work.open_store(self.plan(scan), self._make_store, self._kept_fields()) as (store, journal):
            sentences = self.source.read(read)
            done = yield from replay(journal, sentences, embedder, batch_tokens) if journal else no_replay()
            windows_, embed = self._steps(sentences, embedder, batch_tokens)
            yield from embed_corpus(windows_, embed, select, journal or store, done)
            if scan and read.hexdigest() != scan.hexdigest():  # the metadata tell of what was scanned
                raise ResumeError(f"{self.source.name}: was changed during the run; nothing is written: run it again, with --fresh")
        self._warn(embedder, read, store)

    def _make_store(self, place: OutputTarget, metadata: Mapping[str, str]) -> FeatureWriter:
        return open_writer(self.layout, place, replace(self._describe(), metadata=metadata), self.store)

    def _steps(self, sentences: Iterator[Sentence], embedder: Embedder, batch_tokens: int) -> tuple[Iterator[Window], Embed]:
        if self.start.stateful:
            carrying = StatefulEmbedder(embedder)
            return groups(sentences, self.start.batch_size), partial(embed_carrying_state, embedder=carrying)
        return windows(sentences, self.spec.max_window_tokens), partial(embed_window, embedder=embedder, max_tokens=batch_tokens)

    def _warn(self, embedder: Embedder, read: CorpusScan, store: FeatureWriter) -> None:
        if embedder.precision != self.precision:
            self.warnings.append(f"computed in {embedder.precision}: this processor has no {self.precision} products, and would be slower")
        if read.sentences == 0:
            self.warnings.append(f"{self.source.name}: holds no sentences; {self.output.path} is whole, and empty")
        if read.n_blank and self.source.blank_lines == "skip":
            self.warnings.append(f"skipped {read.blank_lines()}")
        if embedder.truncated_example is not None:
            window, example = embedder.bilm.config.max_characters - 2, embedder.truncated_example
            shown = example if len(example) <= 60 else f"{example[:60]}..."
            self.warnings.append(
                f"cut tokens to the model's {window} {embedder.bilm.mapper.unit}: {embedder.truncated_tokens:,}, such as {shown!r}"
            )
        self.warnings.extend(warnings_of(store))
        if store.skipped_duplicates:
            self.warnings.append(f"wrote the first of equal sentences only: left out {store.skipped_duplicates:,} (--use-sentence-keys)")


def replay(
    journal: ResumableWriter, sentences: Iterator[Sentence], embedder: "Embedder", batch_tokens: int
) -> Generator[Progress, None, Progress]:
    """Take over what an earlier run has done, and be where it was then, to the last bit and count."""
    done = NOTHING
    for window in journal.replay(sentences):
        for batch in batches(window, embedder, batch_tokens):
            embedder.warm_cache([window[i].tokens for i in batch])
        done = done.plus(window)
        yield done
    return done


def no_replay() -> Generator[Progress, None, Progress]:
    """Nothing was done before."""
    yield from ()
    return NOTHING

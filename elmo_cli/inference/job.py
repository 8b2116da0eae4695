"""The job of `elmo embed`: checks (`EmbedJob.prepare`) and computation (`PreparedRun.run`)."""

from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from elmo_cli.errors import ResumeError, UsageError
from elmo_cli.features.formats import (
    FORMATS,
    check_sentence,
    check_spec,
    estimate_bytes,
    open_writer,
    warnings_of,
)
from elmo_cli.features.formats.registry import COLUMNS
from elmo_cli.features.protocols import FeatureWriter
from elmo_cli.features.resume.manifest import Manifest
from elmo_cli.features.resume.remote_shards import RemoteShards
from elmo_cli.features.resume.run import ResumableRun, make_manifest
from elmo_cli.features.resume.shard_folder import ShardFolder, check_other_work
from elmo_cli.features.resume.shard_store import ALL_SHARDS, ShardTask
from elmo_cli.features.resume.shards import ShardRun, ShardsWriter
from elmo_cli.features.resume.writer import ResumableWriter
from elmo_cli.features.spec import FeatureSpec, WriteOptions
from elmo_cli.inference.embedder_spec import EmbedderSpec, InitialState
from elmo_cli.inference.engines import Engine, EngineOptions, open_engine
from elmo_cli.inference.engines.protocol import Settled
from elmo_cli.inference.engines.shards import driver_writes, workers_write
from elmo_cli.inference.pipeline import Truncated, TruncatedCount, embed_corpus, groups, windows
from elmo_cli.inference.selection import Selection
from elmo_cli.io.output_file import OutputTarget
from elmo_cli.io.output_folder import OutputFolder
from elmo_cli.io.stdout import STDOUT
from elmo_cli.models.files import ModelFiles
from elmo_cli.readers.corpus import Corpus, CorpusScan
from elmo_cli.types import NOTHING, Progress, Sentence, Window

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class EmbedJob:
    """Settings of a run: corpus, output, model, selection, format and compute options."""

    source: Corpus
    output: OutputTarget
    model: ModelFiles
    selection: Selection = field(default_factory=Selection)
    layout: str = "allennlp"
    store: WriteOptions = field(default_factory=WriteOptions)
    start: InitialState = field(default_factory=InitialState)
    batch_tokens: int | None = None  # None: by the device
    window_tokens: int | None = None
    precision: str = "fp32"
    engine: EngineOptions = field(default_factory=EngineOptions)
    threads: int | None = None
    command: str = ""
    resume: bool = False
    fresh: bool = False
    journal: bool = True
    shard: ShardTask | None = None  # the part of a job array that this run is

    @cached_property
    def spec(self) -> EmbedderSpec:
        """Description of the embedder that computes the vectors."""
        return EmbedderSpec(
            model=self.model,
            device=self.engine.devices[0],
            precision=self.precision,
            threads=self.threads,
            start=self.start,
            batch_tokens=self.batch_tokens,
            window_tokens=self.window_tokens,
        )

    @property
    def work(self) -> ResumableRun | ShardRun:
        """The resumable part of the run. State carried from batch to batch is not stored."""
        if self.shard and isinstance(self.output, OutputFolder):
            return ShardRun(ShardFolder(self.output, self.shard), self.shard, resume=True)
        if isinstance(self.output, RemoteShards):
            return ShardRun(self.output, ALL_SHARDS, self.resume, self.fresh)
        if self.engine.write == "workers" and isinstance(self.output, OutputFolder):
            folder = ShardFolder(self.output, ALL_SHARDS, is_array=False)
            return ShardRun(folder, ALL_SHARDS, self.resume, self.fresh)
        return ResumableRun(
            self.output, self.resume, self.fresh, keep=self.journal and not self.start.stateful
        )

    def prepare(self) -> "PreparedRun":
        """Check all inputs and return the run, before the model is loaded in this process.

        Returns:
            The run, for use in a `with` block, which ends the engine's workers.

        Raises:
            ElmoError: The corpus, the output, the options or the device cannot be used, or the disk
                is too small.
        """
        self._check_places()
        described = self.describe()
        check_spec(self.layout, described)
        with ExitStack() as ending:
            engine = open_engine(self.spec, self.selection, self.engine, self.work.temporary_folder)
            ending.callback(engine.close)
            self.start.check()
            scan = None if self.source.is_stream else self.source.scan()
            manifest = self._manifest(scan, engine.settled)
            is_complete = self.work.compare(manifest)
            if is_complete:
                self.work.clear()
            elif scan:
                self._check_ids()
                estimated = estimate_bytes(
                    self.layout, described, scan.sentences, scan.tokens, scan.text_bytes
                )
                self.work.check_space(estimated, "write fewer --layers")
            return PreparedRun(self, engine, scan, manifest, is_complete, ending.pop_all())

    def _check_places(self) -> None:
        if isinstance(self.output, OutputFolder):
            check_other_work(self.output, by_shards=isinstance(self.work, ShardRun))
        self.work.check()
        prime = self.start.prime.local_paths if self.start.prime else []
        self.output.check_is_none_of([*self.source.local_paths, *self.model.files.values(), *prime])

    def _manifest(self, scan: CorpusScan | None, settled: Settled) -> Manifest:
        """Return the settings that determine the output, and its metadata."""
        return make_manifest(
            {"the input": f"sha256 {scan.hexdigest()}" if scan else "a stream"},
            {
                "--layout": self.layout,
                "--window-tokens": settled.window_tokens,
                "--blank-lines": self.source.blank_lines,
                "--keep": ", ".join(self.source.reading.keep),
                **vars(self.selection),
                **vars(self.store),
            },
            self.spec.metadata(self.selection.metadata(), self.command, settled.precision),
            is_known=scan is not None,
        )

    def describe(self) -> FeatureSpec:
        """Return the specification of the output, without reading the weights."""
        config, selection = self.model.config(), self.selection
        names, pooled = selection.names(config.n_output_layers), selection.pool != "none"
        dim = selection.dim(config.n_output_layers, config.output_dim)
        return FeatureSpec(names, dim, selection.dtype, pooled, kept=self.kept_fields())

    def kept_fields(self) -> "pyarrow.Schema | None":
        """Return the input columns that are copied to the output.

        Raises:
            UsageError: The format cannot store columns.
        """
        fields = self.source.kept_fields()
        if fields is not None and COLUMNS not in FORMATS[self.layout].keeps:
            keepers = [form.name for form in FORMATS.values() if COLUMNS in form.keeps]
            raise UsageError(
                f"--keep {fields.names[0]}: {self.layout} does not store columns; write "
                f"{', '.join(keepers[:-1])} or {keepers[-1]}"
            )
        return fields

    def _check_ids(self) -> None:
        first = next(iter(self.source.read()), None)
        if first:
            check_sentence(first, self.layout, self.store)

    def state_of_output(self) -> str:
        """Return a description of an incomplete output after the run; empty if it is complete."""
        if self.output.path == STDOUT:
            return "standard output"
        return self.work.state() if isinstance(self.work, ShardRun) else ""


@dataclass
class PreparedRun:
    """A checked job. Call `run` unless the output `is_complete`.

    Args:
        job: The job.
        engine: The engine, its workers started.
        scan: Scan of the corpus; None for a stream.
        manifest: Settings that determine the output, and its metadata.
        is_complete: Whether a resumed job finds its output complete.
        ending: Ends the engine's workers.
    """

    job: EmbedJob
    engine: Engine
    scan: CorpusScan | None
    manifest: Manifest
    is_complete: bool
    ending: ExitStack
    warnings: list[str] = field(default_factory=list)  # for the user, when `run` has ended

    def __enter__(self) -> "PreparedRun":
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.close()

    def expected_tokens(self) -> int | None:
        """Return the approximate number of tokens that the run embeds; None for a stream."""
        n_tasks = self.job.shard.count if self.job.shard else 1
        return self.scan.tokens // n_tasks if self.scan else None

    def run(self) -> Generator[Progress, None, None]:
        """Embed the corpus, and yield the committed progress after each window.

        Raises:
            ElmoError: The corpus, the model or the disk fails; `job.work` describes how to resume.
        """
        job, read = self.job, CorpusScan()
        self.engine.load()
        truncated = TruncatedCount()
        with self._open_writers() as (store, journal):
            sentences = job.source.read(read)
            if isinstance(store, ShardsWriter):
                by_workers = job.engine.write == "workers"
                write = workers_write if by_workers else driver_writes
                yield from write(self.engine, store, self._windows(sentences), truncated)
            else:
                done = yield from self._replay(journal, sentences, truncated)
                embedded = truncated.counting(self.engine.embedded(self._windows(sentences)))
                yield from embed_corpus(embedded, journal or store, done)
            # The metadata describe the scanned text
            if self.scan and read.hexdigest() != self.scan.hexdigest():
                raise ResumeError(
                    f"{job.source.name}: was changed during the run; nothing is written: start "
                    "over with --fresh"
                )
        self._warn(read, store, truncated.total)

    @contextmanager
    def _open_writers(self) -> Iterator[tuple[FeatureWriter, ResumableWriter | None]]:
        """Open the writer, and the journal around it if there is one."""
        job, work = self.job, self.job.work
        if isinstance(work, ShardRun):
            with work.open_shards(self.manifest, job.describe(), job.store) as writer:
                yield writer, None
        else:
            with work.open_store(self.manifest, self._open_writer, job.kept_fields()) as opened:
                yield opened

    def _open_writer(
        self, output: OutputTarget, metadata: Mapping[str, str]
    ) -> AbstractContextManager[FeatureWriter]:
        return open_writer(
            self.job.layout, output, replace(self.job.describe(), metadata=metadata), self.job.store
        )

    def _replay(
        self,
        journal: ResumableWriter | None,
        sentences: Iterator[Sentence],
        truncated: TruncatedCount,
    ) -> Generator[Progress, None, Progress]:
        """Read the windows that an earlier run has committed, and yield the progress."""
        done = NOTHING
        for window in journal.replay(sentences) if journal else ():
            truncated.add(self.engine.replay(window))
            done = done.plus(window)
            yield done
        return done

    def _windows(self, sentences: Iterator[Sentence]) -> Iterator[Window]:
        if self.job.start.stateful:
            return groups(sentences, self.job.start.batch_size)
        return windows(sentences, self.engine.settled.window_tokens)

    def _warn(self, read: CorpusScan, store: FeatureWriter, truncated: Truncated) -> None:
        job, precision = self.job, self.engine.settled.precision
        if precision != job.precision:
            self.warnings.append(
                f"computed in {precision}: this processor does not accelerate {job.precision} "
                "products"
            )
        if read.sentences == 0:
            self.warnings.append(
                f"{job.source.name}: contains no sentences; {job.output.path} is complete, and "
                "empty"
            )
        if read.n_blank and job.source.blank_lines == "skip":
            self.warnings.append(f"skipped {read.blank_lines()}")
        if truncated.example is not None:
            example = truncated.example
            shown = example if len(example) <= 60 else f"{example[:60]}..."
            self.warnings.append(
                f"tokens truncated to the model's {self.engine.limit}: {truncated.tokens:,}, such "
                f"as {shown!r}"
            )
        self.warnings.extend(warnings_of(store))
        if store.skipped_duplicates:
            self.warnings.append(
                f"wrote only the first of equal sentences: {store.skipped_duplicates:,} left out "
                "(--use-sentence-keys)"
            )

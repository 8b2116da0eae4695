"""The job of `elmo predict`: predictions for a corpus, window by window."""

import json
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from elmo_cli.downstream.annotated_columns import COLUMN_FORMATS, read_annotated
from elmo_cli.downstream.prediction_writers import (
    RENDERERS,
    SUFFIXES,
    ParquetWriter,
    PredictionRows,
    TextWriter,
)
from elmo_cli.downstream.predictor import Predictor
from elmo_cli.errors import UsageError
from elmo_cli.features.protocols import FeatureWriter
from elmo_cli.features.resume.manifest import Manifest
from elmo_cli.features.resume.run import ResumableRun, make_manifest
from elmo_cli.inference.engines import Engine, EngineOptions, open_engine
from elmo_cli.inference.pipeline import Embedded, Truncated, embed_corpus, windows
from elmo_cli.io.inputs import is_stream
from elmo_cli.io.output_file import OutputTarget
from elmo_cli.io.stdout import STDOUT
from elmo_cli.readers.corpus import Corpus, CorpusScan
from elmo_cli.readers.lines import read_lines
from elmo_cli.readers.options import ReadOptions, raise_error
from elmo_cli.readers.table_names import COLUMN_NAMES
from elmo_cli.types import NOTHING, Array, Progress, Sentence

if TYPE_CHECKING:
    import pyarrow as pa


def choose_format(output: OutputTarget, chosen: str | None, *, of_tokens: bool) -> str:
    """Return the format of the output.

    Args:
        output: The output.
        chosen: The option; None: by the suffix, and on standard output by the labels.
        of_tokens: Whether tokens are labelled.

    Raises:
        UsageError: The suffix is unknown, or the format does not fit the output or the labels.
    """
    if chosen is None and output.path == STDOUT:
        chosen = "conll" if of_tokens else "tsv"
    suffix = output.path.suffix.lower()
    chosen = chosen or next(
        (name for name, suffixes in SUFFIXES.items() if suffix in suffixes), None
    )
    if chosen is None:
        raise UsageError(
            f"{output.path}: the suffix {suffix!r} is of no format of predictions; pass "
            f"--output-format {'|'.join(SUFFIXES)}."
        )
    if chosen == "parquet" and output.path == STDOUT:
        remedy = "name a file, or pass --output-format jsonl or tsv"
        raise UsageError(f"-: Parquet cannot be written to standard output; {remedy}.")
    if chosen == "conll" and not of_tokens:
        raise UsageError(
            f"{output.path}: CoNLL columns are for labels of tokens; write tsv, jsonl or parquet "
            "(--output-format)."
        )
    return chosen


def keep_all_columns(corpus: Corpus) -> Corpus:
    """Return a corpus that keeps every column, or every field of the first JSON object.

    Streams are returned unchanged.
    """
    reading, (file, format_) = corpus.reading, corpus.files[0]
    if reading.keep or is_stream(file):
        return corpus
    taken = {*reading.column, *reading.field, reading.id_column, reading.id_field}
    names: Sequence[str] = ()
    if format_ in COLUMN_NAMES:
        names = COLUMN_NAMES[format_](file, reading)
    elif format_ == "jsonl":
        names = _first_fields(corpus)
    kept = tuple(dict.fromkeys(name for name in names if name not in taken))
    return (
        replace(corpus, reading=ReadOptions(**{**vars(reading), "keep": kept})) if kept else corpus
    )


def _first_fields(corpus: Corpus) -> list[str]:
    file, _ = corpus.files[0]
    for _, line in read_lines(file, corpus.reading.encoding_errors, raise_error):
        if line.strip():
            try:
                record = json.loads(line)
            except ValueError:
                return []
            return list(record) if isinstance(record, dict) else []
    return []


@dataclass(frozen=True)
class PredictJob:
    """Settings of a run: corpus, classifier, output and compute options."""

    corpus: Corpus
    output: OutputTarget
    predictor: Predictor
    format: str
    proba: bool = False
    scheme: str | None = None
    resume: bool = False
    fresh: bool = False
    journal: bool = True
    command: str = ""
    engine: EngineOptions = field(default_factory=EngineOptions)
    warnings: list[str] = field(default_factory=list)

    @property
    def work(self) -> ResumableRun:
        """The resumable part of the run."""
        return ResumableRun(self.output, self.resume, self.fresh, keep=self.journal)

    @cached_property
    def annotated(self) -> str | None:
        """The format of the column files that are written again with labels.

        None for other inputs and outputs.
        """
        formats = {name for _, name in self.corpus.files}
        return (
            formats.pop()
            if self.format == "conll" and len(formats) == 1 and formats <= set(COLUMN_FORMATS)
            else None
        )

    @cached_property
    def _kept(self) -> "pa.Schema | None":
        if self.annotated:
            import pyarrow as pa

            return pa.schema([("lines", pa.string())])
        return (
            None
            if self.corpus.is_stream and self.format != "parquet"
            else self.corpus.kept_fields()
        )

    def check(self) -> CorpusScan | None:
        """Check all inputs before the model is loaded, and return the scan of a corpus.

        The scan is None for a stream.

        Raises:
            ElmoError: The corpus, the output, the options or the device cannot be used.
        """
        self.work.check()
        self.output.check_is_none_of(
            [*self.corpus.local_paths, *self.predictor.spec.files.files.values()]
        )
        _ = self._kept, self._precision
        scan = None if self.corpus.is_stream else self.corpus.scan()
        self.work.compare(self.plan(scan))
        return scan

    @property
    def _precision(self) -> str:
        """Precision of the products on this machine's device; Ray's workers choose their own."""
        spec = self.predictor.spec
        return spec.precision if self.engine.name == "ray" else spec.place[1]

    def is_complete(self, scan: CorpusScan | None) -> bool:
        """Return whether a resumed run finds its output complete."""
        return self.work.settle(self.plan(scan))

    def plan(self, scan: CorpusScan | None) -> Manifest:
        """Return the settings that determine the output."""
        settings = self.predictor.settings
        return make_manifest(
            {"the input": f"sha256 {scan.hexdigest()}" if scan else "a stream"},
            {
                "--output-format": self.format,
                "--proba": self.proba,
                "--tag-scheme": self.scheme,
                "--keep": ", ".join(self.corpus.reading.keep),
                "the classifier": self.predictor.trained.fingerprint,
            },
            self.predictor.spec.metadata(
                {"predictor": settings.label}, self.command, self._precision
            ),
            is_known=scan is not None,
        )

    def run(self, scan: CorpusScan | None = None) -> Generator[Progress, None, None]:
        """Write predictions, and yield the committed progress after each window.

        Args:
            scan: The result of `check`.

        Raises:
            ElmoError: The corpus, the model or the disk fail.
        """
        engine = open_engine(
            self.predictor.spec,
            self.predictor.settings.selection,
            self.engine,
            self.work.temporary_folder,
        )
        if self.predictor.spec.threads:  # the classifier runs in this process under any engine
            torch.set_num_threads(self.predictor.spec.threads)
        with closing(engine):
            engine.load()
            yield from self._run(engine, scan)

    def _run(self, engine: Engine, scan: CorpusScan | None) -> Generator[Progress, None, None]:
        truncated = Truncated()
        with self.work.open_store(self.plan(scan), self._open_writer, self._kept) as (
            store,
            journal,
        ):
            sentences = self._sentences()
            done = NOTHING
            for window in journal.replay(sentences) if journal else ():
                truncated = truncated.plus(engine.replay(window))
                done = done.plus(window)
                yield done
            with closing(
                engine.embedded(windows(sentences, engine.settled.window_tokens))
            ) as embedded:
                yield from embed_corpus(self._labelled(embedded), journal or store, done)
        if truncated.tokens:
            self.warnings.append(
                f"tokens truncated to the model's {engine.limit}: {truncated.tokens:,}"
            )

    def _sentences(self) -> Iterator[Sentence]:
        if self.annotated:
            return read_annotated(self.corpus.files, self.corpus.reading)
        return self.corpus.read()

    def _labelled(self, embedded: Iterable[Embedded]) -> Generator[Embedded, None, None]:
        """Iterate over windows with results instead of vectors."""
        trained = self.predictor.trained
        empty = np.zeros((0, 2) if trained.settings.of_tokens else 0, np.float32)
        for window, arrays, truncated in embedded:
            filled = [i for i, sentence in enumerate(window) if sentence.tokens]
            found: list[Array] = [empty] * len(window)
            for i, result in zip(
                filled, trained.results([arrays[i] for i in filled], proba=self.proba), strict=True
            ):
                found[i] = result
            yield Embedded(window, found, truncated)

    def _open_writer(
        self,
        place: OutputTarget,
        metadata: Mapping[str, str],  # noqa: ARG002  # as `Make`
    ) -> AbstractContextManager[FeatureWriter]:
        kept = () if self.annotated else tuple(self.corpus.reading.keep)
        rows = PredictionRows(
            self.predictor.trained, kept, self.proba, self.scheme, self.annotated, self._text_name
        )
        writer: Any = (
            ParquetWriter(place, rows, self._kept)
            if self.format == "parquet"
            else TextWriter(place, rows, RENDERERS[self.format])
        )
        return writer  # type: ignore[no-any-return]

    @property
    def _text_name(self) -> str:
        _, format_ = self.corpus.files[0]
        reading = self.corpus.reading
        name = (
            reading.column[0]
            if format_ in COLUMN_NAMES
            else reading.field[0]
            if format_ == "jsonl"
            else "text"
        )
        return "text" if name == "tokens" else name

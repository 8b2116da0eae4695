"""Conversion of feature files between formats: streamed, with a warning for all that is left out.

A source can be read again, mostly as fast as windows kept beside the output, so windows are kept
only by a run with `--resume`. A source of HDF5, Parquet or Arrow is read twice, first in a child
process with limits, which a damaged file can crash; its checksums are compared there before
anything is written.
"""

import hashlib
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from elmo_cli.errors import FeaturesError, OutputError
from elmo_cli.features.formats import (
    FORMATS,
    Format,
    check_sentence,
    check_spec,
    estimate_bytes,
    open_writer,
    warnings_of,
)
from elmo_cli.features.formats.detection import files_of, find_format
from elmo_cli.features.formats.registry import COLUMNS, METADATA, SENTENCE, TOKENS
from elmo_cli.features.protocols import Chunk, FeatureWriter
from elmo_cli.features.reader import Features, check_content, open_features
from elmo_cli.features.resume.manifest import Manifest
from elmo_cli.features.resume.run import FINGERPRINT, ResumableRun, make_manifest
from elmo_cli.features.resume.writer import ResumableWriter
from elmo_cli.features.spec import DTYPES, LAYER, FeatureSpec, WriteOptions
from elmo_cli.features.values import cast, find_not_finite
from elmo_cli.io import sandbox as own_process
from elmo_cli.io.output_file import OutputTarget
from elmo_cli.io.remote_path import RemotePath
from elmo_cli.types import NOTHING, WINDOW_TOKENS, Array, Progress, Sentence

Change = Callable[[FeatureSpec, list[Array]], list[Array]]


@dataclass(frozen=True)
class ConvertJob:
    """One run of `elmo convert`.

    Attributes:
        source: Path of the features to convert.
        output: Where the converted features are written.
        layout: Name of the output's format.
        store: Options of the writer.
        dtype: "float32" or "float16"; None for that of the source.
        command: Command line, recorded in the metadata.
        resume: Whether to continue an unfinished run.
        fresh: Whether to discard an unfinished run.
        warnings: What was left out, after `run` has ended.
    """

    source: Path
    output: OutputTarget
    layout: str
    store: WriteOptions = field(default_factory=WriteOptions)
    dtype: str | None = None
    command: str = ""
    resume: bool = False
    fresh: bool = False
    warnings: list[str] = field(default_factory=list)

    @property
    def _format(self) -> Format:
        return FORMATS[self.layout]

    @property
    def work(self) -> ResumableRun:
        """State of the run beside the output."""
        return ResumableRun(self.output, self.resume, self.fresh, keep=self.resume)

    def check(self) -> int | None:
        """Check the source, the output and the disk before anything is written.

        Returns:
            Number of tokens; None if this job has already made the output.

        Raises:
            ElmoError: The source cannot be read, the output cannot be written, or the disk is too
                small.
        """
        self.work.check()
        sources = (
            []
            if isinstance(self.source, RemotePath)
            else list(self.source.glob("*"))
            if self.source.is_dir()
            else [self.source]
        )
        self.output.check_is_none_of(sources)
        if find_format(self.source).sandboxed and not isinstance(self.source, RemotePath):
            own_process.run_sandboxed(check_content, self.source)
        with open_features(self.source) as features:
            if not features.description.dim:
                raise OutputError(
                    f"{self.source}: does not record the dimension of its vectors; there is "
                    "nothing to convert"
                )
            if features.description.pooled and (
                self.store.rows == "token" or SENTENCE not in self._format.vectors
            ):
                raise OutputError(
                    f"{self.source}: contains one vector per sentence, and the output needs "
                    "tokens; choose another layout"
                )
            check_spec(self.layout, self._describe(features))
            plan = self.plan(features)
            if self.work.compare(plan):
                self.work.settle(plan)
                return None
            if len(features):
                self._check_names(features.sentence(0))
            tokens = sum(features.token_counts())
            text = 6 * tokens  # the mean English word
            estimated = estimate_bytes(
                self.layout, self._describe(features), len(features), tokens, text
            )
            self.work.check_space(estimated, "write --dtype float16")
        return tokens

    def _check_names(self, first: Sentence) -> None:
        check_sentence(first, self.layout, self.store)
        if self.store.keys == "sentence" and first.tokens and not first.text:
            raise OutputError(
                f"--keys sentence: {self.source} does not contain its sentences; pass --keys "
                "number or id"
            )

    def plan(self, features: Features) -> Manifest:
        """Return the facts that decide the output.

        The fingerprint depends on the source's modification time, which is not part of its content:
        it is recorded in the metadata only by a run that may be resumed.
        """
        options = {"--layout": self.layout, "--dtype": self.dtype, **vars(self.store)}
        metadata = dict(self._describe(features).metadata)
        return make_manifest(
            {"the source": _identity(features)}, options, metadata, is_known=self.resume
        )

    def run(self) -> Generator[Progress, None, None]:
        """Convert the features.

        Yields:
            After each window, how much is written.

        Raises:
            ElmoError: The source is damaged, or the output cannot be written.
        """
        with open_features(self.source) as features:
            described, kept = self._describe(features), features.description.kept

            def make(
                place: OutputTarget, metadata: Mapping[str, str]
            ) -> AbstractContextManager[FeatureWriter]:
                return open_writer(
                    self.layout, place, replace(described, metadata=metadata), self.store
                )

            done, with_words, without_words = NOTHING, 0, 0
            with self.work.open_store(self.plan(features), make, kept) as (store, journal):
                for window in _write(features, self._arrays, store, journal):
                    with_words += sum(any(s.tokens) for s in window)
                    without_words += sum(bool(s.tokens) and not any(s.tokens) for s in window)
                    done = done.plus(window)
                    yield done
            self._warn(features, with_words, without_words, store)

    def _describe(self, features: Features) -> FeatureSpec:
        source = features.description
        # The output is that of another job, so it does not keep the fingerprint
        metadata = {name: value for name, value in source.metadata.items() if name != FINGERPRINT}
        metadata |= {"converted": self.command} if self.command else {}
        kept = source.kept if COLUMNS in self._format.keeps else None
        return replace(
            source.only(self._layers(source)),
            dtype=self._dtype(source),
            metadata=metadata,
            kept=kept,
        )

    def _layers(self, source: FeatureSpec) -> list[int] | None:
        """Return the places in the source of the layers that are written; None for all."""
        default = f"{LAYER}{self._format.default_layers}"
        return (
            [source.names.index(default)]
            if len(source.names) > 1 and default in source.names
            else None
        )

    def _dtype(self, source: FeatureSpec) -> str:
        return self.dtype or (source.dtype if source.dtype in DTYPES else DTYPES[0])

    def _arrays(self, source: FeatureSpec, arrays: list[Array]) -> list[Array]:
        """Return the written layers of arrays of the source, in the written dtype."""
        layers, dtype = self._layers(source), self._dtype(source)
        return [cast(array if layers is None else array[layers], dtype) for array in arrays]

    def _warn(
        self, features: Features, with_words: int, without_words: int, store: FeatureWriter
    ) -> None:
        form = self._format
        if features.description.kept and COLUMNS not in form.keeps:
            self.warnings.append(
                f"left out the columns {', '.join(features.description.kept.names)}: {self.layout} "
                "has no place for them"
            )
        if features.metadata and METADATA not in form.keeps:
            self.warnings.append(
                f"left out the metadata (model, options, ...): {form.title or form.name} has no "
                "place for it"
            )
        if with_words and TOKENS not in form.keeps:
            self.warnings.append(
                f"left out the tokens of {with_words:,} sentences: {self.layout} has no place for "
                "them"
            )
        if without_words and TOKENS in form.keeps and not form.distinguishes_unknown_tokens:
            self.warnings.append(
                f"{features.path} does not contain the tokens of {without_words:,} sentences: they "
                "are written as empty strings"
            )
        self.warnings.extend(warnings_of(store))
        if store.skipped_duplicates:
            self.warnings.append(
                f"wrote the first of equal sentences only: left out {store.skipped_duplicates:,} "
                "(--keys sentence)"
            )


def _identity(features: Features) -> str:
    """Return a hash that identifies a source without reading its vectors.

    It covers the sizes and modification times of the files, and their metadata.
    """
    path, described = features.path, features.description
    states = [file.stat() for file in files_of(path)]
    told = [
        len(features),
        described.names,
        described.dim,
        described.dtype,
        described.pooled,
        str(described.kept),
        features.metadata,
    ]
    facts = json.dumps(
        [[(state.st_size, state.st_mtime_ns) for state in states], told], sort_keys=True
    )
    return f"sha256 {hashlib.sha256(facts.encode()).hexdigest()}"


def _write(
    features: Features, change: Change, store: FeatureWriter, journal: ResumableWriter | None
) -> Iterator[list[Sentence]]:
    """Write all windows, the kept ones first, and yield each when it is committed."""
    first = 0
    for window in journal.replay(map(features.sentence, range(len(features)))) if journal else ():
        first += len(window)
        yield window
    for window, arrays in _windows(features.windows(first)):
        if (sentence := find_not_finite(window, arrays)) is not None:
            raise FeaturesError(
                f"{features.path}: sentence {int(sentence.key) + 1}: its vectors contain NaN or "
                "infinite values; make it again"
            )
        (journal or store).write(window, change(features.description, arrays))
        yield window


def _windows(pieces: Iterable[Chunk]) -> Iterator[Chunk]:
    """Iterate over the sentences in windows of about the usual size, independent of the format."""
    sentences: list[Sentence] = []
    arrays: list[Array] = []
    size = 0
    for some, theirs in pieces:
        for sentence, array in zip(some, theirs, strict=True):
            tokens = max(1, len(sentence.tokens))
            if sentences and size + tokens > WINDOW_TOKENS:
                yield sentences, arrays
                sentences, arrays, size = [], [], 0
            sentences.append(sentence)
            arrays.append(np.asarray(array))
            size += tokens
    if sentences:
        yield sentences, arrays

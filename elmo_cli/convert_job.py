"""One run of `elmo convert`: features of one layout written in another, streamed, nothing lost but what is told."""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from elmo_cli.batching import WINDOW_TOKENS
from elmo_cli.corpus import Sentence
from elmo_cli.errors import OutputError
from elmo_cli.features import Features, open_features
from elmo_cli.layouts import KEEPERS
from elmo_cli.pipeline import Progress
from elmo_cli.pooling import Array, cast
from elmo_cli.stores import estimate_bytes, make_store
from elmo_cli.stores.description import Description, StoreOptions
from elmo_cli.stores.places import Place
from elmo_cli.stores.reading import Window


@dataclass(frozen=True)
class ConvertJob:
    """What to convert, into which layout, and how."""

    source: Path
    output: Place
    layout: str
    store: StoreOptions = field(default_factory=StoreOptions)
    dtype: str | None = None  # None: as it is
    command: str = ""
    warnings: list[str] = field(default_factory=list)  # what is lost, when `run` has ended

    def check(self) -> int:
        """Find what would go wrong before anything is written; returns the number of tokens.

        Raises:
            ElmoError: The source cannot be read, or the output not be written, or the disk is too small.
        """
        self.output.check()
        sources = list(self.source.glob("*")) if self.source.is_dir() else [self.source]
        self.output.check_is_none_of(sources)
        with open_features(self.source) as features:
            if not features.description.dim:
                raise OutputError(f"{self.source}: holds nothing that tells the vectors' dimension; there is nothing to convert")
            if features.description.pooled and (self.store.rows == "token" or self.layout == "e2e-coref"):
                raise OutputError(f"{self.source}: holds one vector a sentence, and the output is to hold tokens; choose another layout")
            tokens = sum(features.token_counts())
            text = 6 * tokens  # the mean English word
            self.output.check_space(estimate_bytes(self.layout, self._describe(features), len(features), tokens, text))
        return tokens

    def run(self) -> Generator[Progress, None, None]:
        """Do the work, telling after each window how much is written.

        Raises:
            ElmoError: The source is damaged, or the output cannot be written.
        """
        with open_features(self.source) as features:
            described, without_words = self._describe(features), 0
            with make_store(self.layout, self.output, described, self.store) as store:
                progress = Progress(0, 0)
                for sentences, arrays in _windows(features.windows()):
                    without_words += sum(bool(s.tokens) and not any(s.tokens) for s in sentences)
                    store.write(sentences, [cast(array, described.dtype) for array in arrays])
                    progress = Progress(progress.sentences + len(sentences), progress.tokens + sum(len(s.tokens) for s in sentences))
                    yield progress
            self._warn(features, without_words, store.skipped_duplicates)

    def _describe(self, features: Features) -> Description:
        source = features.description
        metadata = {**source.metadata, "converted": self.command} if self.command else source.metadata
        return replace(source, dtype=self.dtype or source.dtype, metadata=metadata, kept=source.kept if self.layout in KEEPERS else None)

    def _warn(self, features: Features, without_words: int, skipped: int) -> None:
        if features.description.kept and self.layout not in KEEPERS:
            self.warnings.append(f"left out the columns {', '.join(features.description.kept.names)}: {self.layout} has no place for them")
        if features.metadata and self.layout == "jsonl":
            self.warnings.append("left out the metadata (model, options, ...): JSON Lines has no place for it")
        if without_words and self.layout not in ("allennlp", "e2e-coref"):
            self.warnings.append(f"{features.path} does not tell the words of {without_words:,} sentences: their tokens are empty")
        if skipped:
            self.warnings.append(f"wrote the first of equal sentences only: left out {skipped:,} (--keys sentence)")


def _windows(pieces: Iterable[Window]) -> Iterator[Window]:
    """The same sentences in windows of about the usual size, whatever a layout reads at once."""
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

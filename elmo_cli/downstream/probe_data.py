"""The training and the test part of a probe."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from elmo_cli.downstream.labelled_features import Ints, LabelledFeatures, Mask, Names, check_same
from elmo_cli.downstream.labels import LabelledSentence, labels_of_features, read_labels
from elmo_cli.downstream.moments import Moments, Scales
from elmo_cli.errors import CorpusError
from elmo_cli.features.reader import Features, open_features
from elmo_cli.readers.options import PLAIN, ReadOptions
from elmo_cli.types import Progress


@dataclass(frozen=True)
class LabelledFile:
    """A feature file and its labels: a corpus, or a column of the file itself."""

    features: Path
    labels: str | None = None

    @property
    def name(self) -> str:
        """Name of the labels, for messages."""
        return self.labels or str(self.features)

    def read_labels(
        self, features: Features, label: str, reading: ReadOptions
    ) -> Iterator[LabelledSentence]:
        """Iterate over the labels of its sentences."""
        return (
            read_labels(self.labels, label, reading)
            if self.labels
            else labels_of_features(features, label)
        )


class TrainingRows:
    """Training rows: all, or those outside the default test split, up to a maximum."""

    def __init__(self, *, split: bool, max_rows: int | None) -> None:
        self._split = split
        self._left = max_rows

    def mask(self, is_test: Mask) -> Mask:
        """Return the mask of the training rows among the next rows."""
        chosen = ~is_test if self._split else np.ones(len(is_test), bool)
        if self._left is not None:
            chosen &= np.cumsum(chosen) <= self._left
            self._left -= int(chosen.sum())
        return chosen


@dataclass
class Part:
    """Some rows of a labelled feature file.

    Labels are classes: those of the training part sorted by name, then the others.
    """

    source: LabelledFeatures
    mask: Mask
    labels: Ints = field(init=False)  # (rows of the part,)

    @property
    def words(self) -> Ints:
        """Numbers of the words, (row,), or empty where sentences have labels."""
        return self.source.words[self.mask] if len(self.source.words) else self.source.words

    @property
    def sentences(self) -> Ints:
        """Numbers of the sentences, (row,): 0, 1, ... without gaps."""
        found: Ints = np.unique(self.source.sentences[self.mask], return_inverse=True)[1]
        return found


@dataclass
class ProbeData:
    """Training and test data of a probe."""

    train: Part
    test: Part
    scales: Scales
    classes: list[str]  # names
    n_classes: int  # number of these in the training part
    n_words: int

    @property
    def of_tokens(self) -> bool:
        """Whether tokens have labels, not sentences."""
        return self.train.source.of_tokens

    @property
    def unit(self) -> str:
        """Unit of a row: "token" or "sentence"."""
        return "token" if self.of_tokens else "sentence"

    @property
    def layers(self) -> list[str]:
        """Names of the layers: "layer 0", ..., or a lone "top", "average", ..."""
        return [name.replace("_", " ") for name in self.train.source.features.description.names]

    @property
    def is_new(self) -> Mask:
        """Mask of the test rows whose word is not in the training part."""
        return ~np.isin(self.test.words, self.train.words)


class DataReader:
    """Reader of the parts of a probe."""

    def __init__(
        self,
        train: LabelledFile,
        test: LabelledFile | None,
        label: str,
        reading: ReadOptions = PLAIN,
    ) -> None:
        self._files = [train] + ([test] if test else [])
        self._label = label
        self._reading = reading
        self._names = Names()
        self._moments = Moments()
        self._sources: list[LabelledFeatures] = []
        self._open = ExitStack()

    def __enter__(self) -> "DataReader":
        for file in self._files:
            self._sources.append(
                LabelledFeatures(
                    self._open.enter_context(open_features(file.features)), self._names
                )
            )
        if len(self._sources) == 2:
            check_same(self._sources[0].features, self._sources[1].features)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def read(self, max_rows: int | None = None) -> Iterator[Progress]:
        """Read all files once, and yield the progress.

        Args:
            max_rows: Maximum number of training rows, taken from the start.

        Raises:
            ElmoError: The features and the labels do not fit each other, or cannot be used.
        """
        split, done = len(self._files) == 1, Progress(0, 0)
        rows_of_training = TrainingRows(split=split, max_rows=max_rows)

        def observe(rows: torch.Tensor, is_test: Mask) -> None:
            mask = rows_of_training.mask(is_test)
            self._moments.add(rows if mask.all() else rows[:, torch.from_numpy(mask)])

        for number, (file, source) in enumerate(zip(self._files, self._sources, strict=True)):
            labelled = file.read_labels(source.features, self._label, self._reading)
            last = Progress(0, 0)
            limit = None if split or number else max_rows
            for last in source.read(
                labelled, file.name, observe if number == 0 else _ignore, limit
            ):
                yield Progress(done.sentences + last.sentences, done.tokens + last.tokens)
            done = Progress(done.sentences + last.sentences, done.tokens + last.tokens)
        self._check()

    def data(self, max_rows: int | None = None) -> ProbeData:
        """Return the data that has been read."""
        first, last = self._sources[0], self._sources[-1]
        split = first is last
        train = Part(first, TrainingRows(split=split, max_rows=max_rows).mask(first.is_test))
        test = Part(last, last.is_test if split else np.ones(len(last.labels), bool))
        if not test.mask.any():
            raise CorpusError(
                f"{self._files[0].name}: has too few sentences to test on a fifth of them; pass "
                "--test"
            )
        classes, n_classes = _number_classes(list(self._names.labels), train, test)
        if n_classes < 2:
            raise CorpusError(
                f"{self._files[0].name}: the training part has "
                f"{'one label only, ' + repr(classes[0]) if n_classes else 'no labels'}; "
                "a probe needs two"
            )
        return ProbeData(
            train, test, self._moments.scales(), classes, n_classes, len(self._names.words)
        )

    def _check(self) -> None:
        if len({source.of_tokens for source in self._sources}) > 1:
            raise CorpusError(
                f"{self._files[1].name}: labels "
                f"{'tokens' if self._sources[1].of_tokens else 'sentences'}, unlike the other "
                "file"
            )


def _ignore(rows: torch.Tensor, is_test: Mask) -> None:
    """Ignore the rows of a test file, which has no moments."""


def _number_classes(names: Sequence[str], train: Part, test: Part) -> tuple[list[str], int]:
    """Set the classes of each part; return all names, and the number in the training part."""
    seen = set(np.unique(train.source.labels[train.mask]).tolist())
    others = set(np.unique(test.source.labels[test.mask]).tolist()) - seen
    order = [*sorted(seen, key=names.__getitem__), *sorted(others, key=names.__getitem__)]
    numbers = np.zeros(len(names), np.int64)
    numbers[order] = np.arange(len(order))
    for part in (train, test):
        part.labels = numbers[part.source.labels[part.mask]]
    return [names[number] for number in order], len(seen)

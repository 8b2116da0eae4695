"""Training, held-out and test data of a classifier, with labels as integers."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from elmo_cli.downstream.examples import (
    LABEL_SETS,
    NUMBERS,
    SENTENCES,
    TAGS,
    TOKENS,
    Example,
    check_training,
    count_labels,
    find_task,
    normalise_tags,
    read_examples,
    split_examples,
)
from elmo_cli.downstream.labelled_features import Ints
from elmo_cli.downstream.tag_schemes import detect_scheme
from elmo_cli.errors import CorpusError
from elmo_cli.readers.options import PLAIN, ReadOptions

KINDS = {
    TAGS: "labels of tokens",
    TOKENS: "labels of tokens",
    SENTENCES: "a label for each sentence",
}


@dataclass(frozen=True)
class FitSources:
    """Sources and reading options of labelled sentences.

    Args:
        train: File, folder or pattern of the training part.
        label: Column or field of the labels.
        dev: Held-out part; None: a tenth of the training part.
        test: Test part, if there is one.
        reading: How the tokens are read.
        task: LABEL_SETS or NUMBERS; None: by the labels.
        repair: Whether broken tags are repaired.
        scheme: Tag scheme that the classifier predicts in; None: IOB2 for IOB1, else that of the
            training part.
        seed: Seed of the split.
    """

    train: str
    label: str
    dev: str | None = None
    test: str | None = None
    reading: ReadOptions = PLAIN
    task: str | None = None
    repair: bool = False
    scheme: str | None = None
    seed: int = 0


@dataclass
class FitData:
    """Examples of the training part and, after them, of the held-out part; and the test part."""

    task: str
    examples: list[Example]
    train: list[int]  # of `examples`
    held_out: list[int]
    test: list[Example]
    labels: tuple[str, ...]  # of the training part, in the order of their names
    own_dev: bool  # whether the held-out part is a separate file
    scheme: str | None = None
    source_scheme: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def token_labels(self) -> list[Ints]:
        """Return the label indices of the tokens of each example; `len(labels)` if unknown."""
        places = {label: i for i, label in enumerate(self.labels)}
        return [
            np.array([places.get(label, len(self.labels)) for label in example.target], np.int64)
            for example in self.examples
        ]


def read_fit_data(sources: FitSources) -> FitData:
    """Return all parts, read and checked.

    Raises:
        CorpusError: A part cannot be read or used.
    """
    train = read_examples(sources.train, sources.label, sources.reading, sources.task)
    task = sources.task or find_task(train)
    check_training(train, task, sources.train)
    others = {
        name: read_examples(name, sources.label, sources.reading, sources.task)
        for name in (sources.dev, sources.test)
        if name
    }
    for name, examples in others.items():
        _check_kind(task, examples, name)
    notes: list[str] = []
    parts = {sources.train: train, **others}
    scheme = source_scheme = None
    if task == TAGS:
        source_scheme = detect_scheme([example.target for example in train])
        scheme = sources.scheme or ("iob2" if source_scheme == "iob1" else source_scheme)
        parts = {
            name: _in_scheme(examples, str(scheme), name, notes, repair=sources.repair)
            for name, examples in parts.items()
        }
    train = parts[sources.train]
    labels = tuple(sorted(count_labels(train, task)))
    dev, test = (
        parts[sources.dev] if sources.dev else [],
        parts[sources.test] if sources.test else [],
    )
    chosen, held_out = (
        split_examples(train, task, sources.seed) if not dev else (list(range(len(train))), [])
    )
    held_out = held_out if not dev else list(range(len(train), len(train) + len(dev)))
    for source, examples in ((sources.dev, dev), (sources.test, test)):
        notes += _note_new_labels(examples, task, labels, str(source))
    return FitData(
        task,
        [*train, *dev],
        chosen,
        held_out,
        test,
        labels,
        bool(dev),
        scheme,
        source_scheme,
        notes,
    )


def _check_kind(task: str, examples: Sequence[Example], name: str) -> None:
    if task in KINDS and KINDS[find_task(examples)] != KINDS[task]:
        raise CorpusError(
            f"{name}: has {KINDS[find_task(examples)]}, and the training part {KINDS[task]}; check "
            "--label"
        )


def _in_scheme(
    examples: Sequence[Example], scheme: str, name: str, notes: list[str], *, repair: bool
) -> list[Example]:
    """Return examples with tags in a scheme; conversions are added to `notes`."""
    source = detect_scheme([example.target for example in examples]) or scheme
    if source != scheme:
        notes.append(f"{name}: tags are {source.upper()}, and are converted to {scheme.upper()}")
    return normalise_tags(examples, source, scheme, repair=repair)


def _note_new_labels(
    examples: Sequence[Example], task: str, labels: Sequence[str], name: str
) -> list[str]:
    if task == NUMBERS:
        return []
    counts = count_labels(examples, task)
    new = sorted(set(counts) - set(labels))
    if not new:
        return []
    shown = ", ".join(new[:10]) + ", ..." * (len(new) > 10)
    unit = "sentences" if task in (SENTENCES, LABEL_SETS) else "tokens"
    rows = sum(counts[label] for label in new)
    return [
        (
            f"{name}: has labels that the training part does not have ({shown}): their {rows:,} "
            f"{unit} "
            "count as wrong"
        )
    ]

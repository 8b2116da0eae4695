"""Feature files with labels for probes: one pass for labels, then random access to blocks."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from elmo_cli.downstream.labels import AlignedWindow, LabelledSentence, align
from elmo_cli.errors import CorpusError, FeaturesError
from elmo_cli.features.reader import Features
from elmo_cli.features.spec import FeatureSpec
from elmo_cli.features.values import find_not_finite
from elmo_cli.types import Array, Progress

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
BLOCK_ROWS = 2048  # at least, unless the file ends
TEST_SHARE = 5  # every fifth sentence


class Block(NamedTuple):
    """Sentences of a feature file that are read together, and their rows."""

    first: int  # sentence
    windows: int  # of the file's reader
    start: int  # row
    stop: int


class Names:
    """Numbers of labels and of words, common to the training and the test part."""

    def __init__(self) -> None:
        self.labels: dict[str, int] = {}
        self.words: dict[str, int] = {}


@dataclass
class LabelledFeatures:
    """A feature file with labelled rows: tokens, or sentences if these have labels."""

    features: Features
    names: Names
    of_tokens: bool = True
    # Number of each row's label in `names`, (rows,)
    labels: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    # Number of each row's word in `names`, (rows,); empty if the sentences have labels
    words: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    # Number of each row's sentence, (rows,): 0, 1, ..., without the blank ones
    sentences: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    # Whether a row is in the test part, a fifth of the sentences, (rows,)
    is_test: Mask = field(default_factory=lambda: np.empty(0, np.bool_))
    blank: set[int] = field(default_factory=set)  # sentences of the file without tokens
    blocks: list[Block] = field(default_factory=list)

    def read(
        self,
        labelled: Iterable[LabelledSentence],
        name: str,
        observe: Callable[[torch.Tensor, Mask], None],
        max_rows: int | None = None,
    ) -> Iterator[Progress]:
        """Read the file and its labels once, and yield the progress.

        Args:
            labelled: The labels of its sentences.
            name: Name of the labels in messages.
            observe: Called with the vectors of each window, (layer, row, dim), and the mask of the
                rows that the default split tests on.
            max_rows: Stop after the window that reaches this number of rows.

        Raises:
            CorpusError: The labels do not fit the features, or there are none.
            FeaturesError: Vectors have NaN or infinite values.
        """
        columns: list[list[Ints]] = [[], [], [], []]
        done, rows = Progress(0, 0), 0
        for window in align(self.features, labelled, name):
            self._check(window, name, is_first=rows == 0)
            numbers = self._numbers(window.labelled, done.sentences)
            for column, values in zip(columns, numbers, strict=True):
                column.append(values)
            observe(self.to_rows(window.arrays), numbers[3] == 0)
            self._add_block(window, rows, rows := rows + len(numbers[0]))
            done = done.plus(window.sentences)
            yield done
            if max_rows is not None and rows >= max_rows:
                break
        if not rows:
            raise CorpusError(f"{name}: has no labels; a probe needs some")
        self.labels, self.words, self.sentences, test = map(np.concatenate, columns)
        self.is_test = test == 0

    def read_rows(self, block: Block) -> torch.Tensor:
        """Return the vectors of a block, (layer, row, dim), in the dtype of the file."""
        arrays: list[Array] = []
        index = block.first
        for _, found in islice(self.features.windows(block.first), block.windows):
            arrays += [array for i, array in enumerate(found, start=index) if i not in self.blank]
            index += len(found)
        return self.to_rows(arrays)

    def to_rows(self, arrays: Sequence[Array]) -> torch.Tensor:
        """Return the arrays of sentences as (layer, row, dim).

        Tokens are averaged if rows are sentences.
        """
        described = self.features.description
        if not arrays:
            return torch.empty(len(described.names), 0, described.dim)
        layered = arrays if described.layered else [array[None] for array in arrays]
        if self.of_tokens:
            return torch.from_numpy(np.concatenate(layered, axis=1))
        if not described.pooled:
            layered = [array.mean(axis=1, dtype=np.float32) for array in layered]
        return torch.from_numpy(np.stack(layered, axis=1))

    def _check(self, window: AlignedWindow, name: str, *, is_first: bool) -> None:
        if is_first and window.labelled:
            self.of_tokens = window.labelled[0].of_tokens
        if self.of_tokens and self.features.description.pooled and window.labelled:
            raise CorpusError(
                f"{name}: labels tokens, and {self.features.path} has one vector a sentence; embed "
                "without --pool"
            )
        if (wrong := find_not_finite(window.sentences, window.arrays)) is not None:
            raise FeaturesError(
                f"{self.features.path}: sentence {int(wrong.key) + 1}: its vectors have NaN or "
                "infinite values; "
                "check the model, and embed the sentence again"
            )

    def _numbers(
        self, labelled: Sequence[LabelledSentence], first: int
    ) -> tuple[Ints, Ints, Ints, Ints]:
        """Return label, word, sentence, and sentence hash modulo TEST_SHARE of each row."""
        labels, words = self.names.labels, self.names.words
        counts = [len(one.tokens) if self.of_tokens else 1 for one in labelled]
        values = (
            value
            for one in labelled
            for value in (one.labels if isinstance(one.labels, list) else (one.labels,))
        )
        tokens = (token for one in labelled for token in one.tokens) if self.of_tokens else ()
        hashes = np.array(
            [
                zlib.crc32("\0".join(one.tokens).encode("utf-8", "replace")) % TEST_SHARE
                for one in labelled
            ],
            np.int64,
        )
        return (
            np.array([labels.setdefault(value, len(labels)) for value in values], np.int64),
            np.array([words.setdefault(token, len(words)) for token in tokens], np.int64),
            np.repeat(np.arange(first, first + len(labelled)), counts),
            np.repeat(hashes, counts),
        )

    def _add_block(self, window: AlignedWindow, start: int, stop: int) -> None:
        self.blank.update(
            set(range(window.first, window.first + window.n_read)).difference(window.indices)
        )
        last = self.blocks[-1] if self.blocks else None
        if last and last.stop - last.start < BLOCK_ROWS and stop - start < BLOCK_ROWS:
            self.blocks[-1] = last._replace(windows=last.windows + 1, stop=stop)
        else:
            self.blocks.append(Block(window.first, 1, start, stop))


def check_same(train: Features, test: Features) -> None:
    """Check that two feature files have the same model and layers.

    Raises:
        FeaturesError: The files differ.
    """
    for what, ours, theirs in _differences(train.description, test.description):
        raise FeaturesError(
            f"{test.path}: {what} {theirs}, and {train.path} {ours}; embed both in the same way"
        )


def _differences(ours: FeatureSpec, theirs: FeatureSpec) -> Iterator[tuple[str, str, str]]:
    told = [("has the layers", ",".join(d.names), d.dim, d.pooled) for d in (ours, theirs)]
    (_, names, dim, pooled), (_, other_names, other_dim, other_pooled) = told
    if names != other_names:
        yield "has the layers", names, other_names
    if dim != other_dim:
        yield "has vectors of width", f"{dim:,}", f"{other_dim:,}"
    if pooled != other_pooled:
        yield (
            "has one vector a",
            "sentence" if pooled else "token",
            "sentence" if other_pooled else "token",
        )
    for key in ("model_sha256", "start_state", "mix", "pool", "layers"):
        if (
            key in ours.metadata
            and key in theirs.metadata
            and ours.metadata[key] != theirs.metadata[key]
        ):
            yield f"has in its metadata the {key}", ours.metadata[key], theirs.metadata[key]

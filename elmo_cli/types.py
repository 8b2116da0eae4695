"""Common types: sentences, windows, arrays and progress."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

WINDOW_TOKENS = 16384  # tokens sorted and written together
Array = npt.NDArray[np.floating[Any]]
Select = Callable[[Array], Array]


class Sentence(NamedTuple):
    """One tokenized sentence of a corpus."""

    key: str  # its number in the input, from 0: the name of its data set in HDF5
    tokens: list[str]
    text: str  # the stripped input line: its key in AllenNLP's sentence_to_index
    id: str | None = None  # its id, if the input format has one
    kept: tuple[Any, ...] = ()  # values of the input columns copied to the output, in order
    document: str | None = None  # its document, if the format names documents apart from ids
    row: int | None = None  # line or row in its file, from 1; None if it is the number of the key
    part: str = ""  # suffix of its id, for rows of more than one sentence


Window = list[Sentence]


class Progress(NamedTuple):
    """Number of committed sentences and tokens."""

    sentences: int
    tokens: int

    def plus(self, window: Window) -> "Progress":
        """Return the progress after a further window."""
        return Progress(
            self.sentences + len(window),
            self.tokens + sum(len(sentence.tokens) for sentence in window),
        )

    def add(self, other: "Progress") -> "Progress":
        """Return the sum of both."""
        return Progress(self.sentences + other.sentences, self.tokens + other.tokens)


NOTHING = Progress(0, 0)

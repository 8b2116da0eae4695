"""A sentence: what every reader yields and every store takes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

WINDOW_TOKENS = 16384  # sorted and written together
Array = npt.NDArray[np.floating[Any]]
Select = Callable[[Array], Array]


class Sentence(NamedTuple):
    """One tokenized sentence of a corpus."""

    key: str  # its number in the input, from 0: the name of its data set
    tokens: list[str]
    text: str  # the sentence as it stands in the input, stripped: its key in AllenNLP's sentence_to_index
    id: str | None = None  # its own name, where the input's format has one
    kept: tuple[Any, ...] = ()  # values of the input's columns that are carried over to the output, in the order they were asked for
    document: str | None = None  # of which it is one of the sentences, where the input's format names documents apart from ids
    row: int | None = None  # of its file, from 1: the line or row that holds it; None where that is the key's number
    part: str = ""  # of its row, where a row holds several sentences: the end of its id


Window = list[Sentence]


class Progress(NamedTuple):
    """What has been committed so far."""

    sentences: int
    tokens: int

    def plus(self, window: Window) -> "Progress":
        """So far, and this window."""
        return Progress(self.sentences + len(window), self.tokens + sum(len(sentence.tokens) for sentence in window))


NOTHING = Progress(0, 0)

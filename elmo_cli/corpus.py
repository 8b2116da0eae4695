"""A sentence: what every reader yields and every store takes."""

from typing import Any, NamedTuple


class Sentence(NamedTuple):
    """One tokenized sentence of a corpus."""

    key: str  # its number in the input, from 0: the name of its data set
    tokens: list[str]
    text: str  # the sentence as it stands in the input, stripped: its key in AllenNLP's sentence_to_index
    id: str | None = None  # its own name, where the input's format has one
    kept: tuple[Any, ...] = ()  # values of the input's columns that are carried over to the output, in the order they were asked for

"""Layouts of features, one a file, each written and read there. A new layout is a file here and its line in STORES."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol

import numpy as np

from elmo_cli.corpus import Sentence
from elmo_cli.pooling import Array
from elmo_cli.stores.arrow import ArrowStore, open_arrow
from elmo_cli.stores.coref import CorefReader, CorefStore, document_of
from elmo_cli.stores.description import Description, StoreOptions, name_of
from elmo_cli.stores.hdf5 import Hdf5Reader, Hdf5Store
from elmo_cli.stores.jsonl import JsonLinesReader, JsonLinesStore
from elmo_cli.stores.npz import NpzReader, NpzStore
from elmo_cli.stores.packed import PackedReader, PackedStore
from elmo_cli.stores.parquet import ParquetStore, open_parquet
from elmo_cli.stores.places import Place
from elmo_cli.stores.reading import Reader


class Store(Protocol):
    """Where features go. Used in a `with` block: the output appears, whole, when the block ends well, and not at all otherwise."""

    @property
    def skipped_duplicates(self) -> int:
        """Sentences that were left out, since others are called the same."""

    def write(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        """Commit the features of a window: all of it or none."""

    def __enter__(self) -> "Store": ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class Layout(NamedTuple):
    """How a layout is written and read, and what it costs in bytes beside its values (measured)."""

    store: Callable[[Any, Description, StoreOptions], Store]
    open: Callable[[Path], Reader]
    of_sentence: int
    of_token: int
    of_text: float  # for each byte of the sentences' text
    of_value: float = 1.0  # for each byte of the values


STORES = {
    "allennlp": Layout(Hdf5Store, Hdf5Reader, 375, 0, 2),  # the map is written twice: first beside the file
    "packed": Layout(PackedStore, PackedReader, 80, 48, 1),
    "e2e-coref": Layout(CorefStore, CorefReader, 1200, 0, 1),
    "parquet": Layout(ParquetStore, open_parquet, 60, 8, 1),
    "npz": Layout(NpzStore, NpzReader, 64, 16, 2, 2.0),  # all is written twice: first beside the file
    "arrow": Layout(ArrowStore, open_arrow, 64, 24, 2),
    "jsonl": Layout(JsonLinesStore, JsonLinesReader, 120, 16, 2, 3.5),  # a number takes up to 15 characters
}


def make_store(layout: str, place: Place, description: Description, options: StoreOptions) -> Store:
    """The store of a layout, to be used in a `with` block."""
    return STORES[layout].store(place, description, options)


def check_name(sentence: Sentence, layout: str, options: StoreOptions) -> None:
    """Make sure that a layout has a name for a sentence.

    Raises:
        OutputError: It is called by its id, and has none.
    """
    if layout == "e2e-coref":
        document_of(sentence)
    else:
        name_of(sentence, options.keys)


def estimate_bytes(layout: str, description: Description, sentences: int, tokens: int, text_bytes: int) -> int:
    """Size of the output for such a corpus, at most: nothing is taken off for compression."""
    costs = STORES[layout]
    vectors = len(description.names) * (sentences if description.pooled else tokens)
    values = vectors * description.dim * np.dtype(description.dtype).itemsize
    return int(values * costs.of_value + sentences * costs.of_sentence + tokens * costs.of_token + text_bytes * costs.of_text)

"""Layouts of features, one a file, each written and read there. A new layout is a class here and its line in STORES."""

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol

from elmo_cli.corpus import Sentence
from elmo_cli.pooling import Array
from elmo_cli.stores.hdf5 import Hdf5Store


class Store(Protocol):
    """Where features go. Used in a `with` block: the output appears, whole, when the block ends well, and not at all otherwise."""

    def committed(self) -> int:
        """Sentences that need not be computed again."""

    def write(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        """Commit the features of a window: all of it or none."""

    def __enter__(self) -> "Store": ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


STORES = {"hdf5": Hdf5Store}

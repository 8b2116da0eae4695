"""Names that ought to be unique, watched in eight bytes each."""

from array import array

import numpy as np


class DuplicateIds:
    """The hashes of many names. What looks repeated is to be looked at again: two names may have one hash."""

    def __init__(self) -> None:
        self._hashes = array("q")

    def add(self, name: str) -> None:
        """Take note of a name."""
        self._hashes.append(hash(name))

    def repeated(self) -> set[int]:
        """The hashes that occur more than once."""
        hashes = np.frombuffer(self._hashes, dtype=np.int64)
        hashes.sort()
        return set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())

"""Detection of sentences that have the same id."""

from array import array

import numpy as np

from elmo_cli.errors import CorpusError
from elmo_cli.readers.corpus_scan import LocatedSentence
from elmo_cli.readers.options import OnError

NO_IDS = "--ignore-ids, or no --id-column or --id-field"


class DuplicateIds:
    """Duplicate detection over many ids in eight bytes each.

    Only hashes are stored, so two different ids may have the same hash: repeated hashes have to be
    checked against the ids themselves.
    """

    def __init__(self) -> None:
        self._hashes = array("q")

    def add(self, name: str) -> None:
        """Add an id."""
        self._hashes.append(hash(name))

    def repeated(self) -> set[int]:
        """Return the hashes that occur more than once."""
        hashes = np.frombuffer(self._hashes, dtype=np.int64)
        hashes.sort()
        return set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())


def check_is_new(found: LocatedSentence, seen: dict[str, str], report: OnError) -> None:
    """Report a sentence whose id an earlier sentence has.

    Args:
        found: The sentence.
        seen: Location of each id so far; that of the sentence is added.
        report: Called with the error.
    """
    id_ = found.sentence.id
    if id_ in seen:
        report(
            CorpusError(
                f"{found.place()} has the id {id_!r} of {seen[id_]}; make ids unique, or do not "
                f"use them ({NO_IDS})"
            )
        )
    elif id_ is not None:
        seen[id_] = found.place()

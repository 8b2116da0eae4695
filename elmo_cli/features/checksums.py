"""CRC-32 checksums of sentences, for layouts whose format has none.

There is a checksum for each window, or for several windows in a long file. Two attributes contain
them: `checksums`, and `checksum_sentences`, the number of sentences that each covers, in the order
of the file. An HDF5 attribute has at most 64 KiB, so a checksum covers at least a thousandth of
the sentences before it: 10^9 sentences need fewer than 16,000. It covers, for each sentence, the
texts that the layout stores, as UTF-8 with a NUL after each, and then the values as they are
stored.
"""

from collections.abc import Iterable, Iterator

import h5py
import numpy as np

from elmo_cli.io.crc32 import crc32
from elmo_cli.types import Array

NAMES = ("checksums", "checksum_sentences")
SHARE = 1000

Summed = tuple[Iterable[str], Array]  # the texts that are stored of a sentence, and its values


class Checksums:
    """Checksums of sentences while they are written."""

    def __init__(self) -> None:
        self._sums: list[int] = []
        self._counts: list[int] = []
        self._sum = self._count = self._total = 0

    def add(self, told: Iterable[str], array: Array) -> None:
        """Add a sentence: its texts, and its array in the stored dtype."""
        self._sum = checksum(told, array, self._sum)
        self._count += 1

    def end_window(self) -> None:
        """End a window, and its checksum if that covers enough sentences."""
        if self._count and self._count * SHARE >= self._total:
            self._close()

    def write(self, group: h5py.Group) -> None:
        """Write the attributes `checksums` and `checksum_sentences`."""
        if self._count:
            self._close()
        for name, values in zip(NAMES, (self._sums, self._counts), strict=True):
            group.attrs[name] = np.array(values, dtype=np.uint32)

    def _close(self) -> None:
        self._sums.append(self._sum)
        self._counts.append(self._count)
        self._total += self._count
        self._sum = self._count = 0


def checksum(told: Iterable[str], array: Array, before: int = 0) -> int:
    """Return the CRC-32 of a sentence.

    Args:
        told: Texts of the sentence.
        array: Its values.
        before: Checksum of the sentences before it, which this one continues.
    """
    sum_ = crc32("\0".join((*told, "")).encode("utf-8", "surrogatepass"), before)
    for part in array if array.ndim == 3 else [array]:  # a layer is often contiguous, not all
        sum_ = crc32(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data, sum_)
    return sum_


def read_checksums(group: h5py.Group) -> list[tuple[int, int]] | None:
    """Return pairs (number of sentences, checksum); None without valid attributes."""
    if not all(name in group.attrs for name in NAMES):
        return None
    sums, counts = (np.asarray(group.attrs[name]) for name in NAMES)
    if (
        sums.shape != counts.shape
        or sums.ndim != 1
        or sums.dtype.kind != "u"
        or counts.dtype.kind != "u"
    ):
        return None
    return list(zip(counts.tolist(), sums.tolist(), strict=True))


def find_wrong(
    sentences: Iterable[Summed], expected: Iterable[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """Iterate over the spans of sentences that do not match their checksum.

    Args:
        sentences: Texts and values of each sentence, in the order of the file.
        expected: Pairs (number of sentences, checksum).

    Yields:
        Pairs (first, one past the last). Surplus and missing sentences are spans as well.
    """
    iterator, first = iter(sentences), 0
    for count, right in expected:
        sum_, seen = 0, 0
        for _, (told, array) in zip(range(count), iterator, strict=False):
            sum_, seen = checksum(told, array, sum_), seen + 1
        if sum_ != right or seen < count:
            yield first, first + count
        first += count
    if more := sum(1 for _ in iterator):
        yield first, first + more

"""Shared memory in which worker processes return arrays.

A block has no name: a process receives it as a file descriptor, so the system frees it when its
processes end, however they end. On Linux it is a memfd, which the size of /dev/shm does not
limit (64 MB by default in Docker); elsewhere a deleted file in the work directory.
"""

import mmap
import os
import tempfile
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np

from elmo_cli.types import Array

MARGIN = 1.125  # size of a new block relative to the need, since the sizes of windows vary


class Layout(NamedTuple):
    """Layout of consecutive arrays.

    Args:
        dtype: Their common dtype, in numpy's notation.
        shapes: The shape of each array.
    """

    dtype: str
    shapes: list[tuple[int, ...]]

    @property
    def n_bytes(self) -> int:
        """Total size in bytes."""
        return sum(int(np.prod(shape)) for shape in self.shapes) * np.dtype(self.dtype).itemsize

    @classmethod
    def of(cls, arrays: Sequence[Array]) -> "Layout":
        """Return the layout of at least one array."""
        return cls(arrays[0].dtype.str, [array.shape for array in arrays])

    def views(self, memory: "np.ndarray[tuple[int], np.dtype[np.uint8]]") -> list[Array]:
        """Return the arrays as views of `memory`, (n_bytes,) uint8."""
        values = memory.view(self.dtype)
        ends = np.cumsum([0, *(int(np.prod(shape)) for shape in self.shapes)])
        return [
            values[begin:end].reshape(shape)
            for begin, end, shape in zip(ends, ends[1:], self.shapes, strict=False)
        ]


class Place(NamedTuple):
    """Message to a worker process about a block.

    Args:
        number: Number of the block.
        size: Its size in bytes.
        is_new: Whether the process does not have the block; its file descriptor then follows.
        live: Numbers of the blocks that may be reused.
    """

    number: int
    size: int
    is_new: bool
    live: frozenset[int]


@dataclass(frozen=True)
class Block:
    """Shared memory: its number, size in bytes, file descriptor and mapping into this process."""

    number: int
    size: int
    descriptor: int
    mapped: mmap.mmap


class BlockPool:
    """Blocks of the parent process. A block is free when no array in it is referenced.

    Args:
        folder: Returns the folder for files, used on systems without memfd.
    """

    def __init__(self, folder: Callable[[], Path]) -> None:
        self._folder = folder
        self._free: deque[Block] = deque()
        self._live: dict[int, Block] = {}
        self._numbers = count()

    @property
    def live(self) -> frozenset[int]:
        """Numbers of the blocks that may be reused."""
        return frozenset(self._live)

    def take(self, n_bytes: int) -> Block:
        """Return a block of at least `n_bytes`; smaller free blocks are closed.

        Raises:
            OSError: The system refuses the memory, or the disk is full.
        """
        while self._free:
            try:
                block = self._free.popleft()
            except IndexError:  # another thread took it
                break
            if block.size >= n_bytes:
                return block
            os.close(self._live.pop(block.number).descriptor)
        return self._new(max(int(n_bytes * MARGIN), mmap.PAGESIZE))

    def _new(self, size: int) -> Block:
        descriptor = _open(size, self._folder)
        block = Block(next(self._numbers), size, descriptor, mmap.mmap(descriptor, size))
        self._live[block.number] = block
        return block

    def arrays(self, block: Block, layout: Layout) -> list[Array]:
        """Return the arrays in a block, which is free when they are deleted."""
        memory = np.frombuffer(block.mapped, dtype=np.uint8, count=layout.n_bytes)
        weakref.finalize(memory, self._free.append, block).atexit = False
        return layout.views(memory)

    def close(self) -> None:
        """Close all descriptors; memory of arrays in use stays until they are deleted."""
        self._free.clear()
        while self._live:
            os.close(self._live.popitem()[1].descriptor)


def _open(size: int, folder: Callable[[], Path]) -> int:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("elmo")
        os.ftruncate(descriptor, size)
        return descriptor
    with tempfile.TemporaryFile(dir=folder()) as file:  # deleted already
        descriptor = os.dup(file.fileno())
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)  # a full disk is an error here, not a signal later
    else:
        os.ftruncate(descriptor, size)
    return descriptor

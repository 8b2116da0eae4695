"""Windows of training text for truncated back-propagation through time.

The corpus is divided into contiguous pieces, one per stream, and all streams are read in parallel.
A stream continues from window to window, so that its state can be carried. At a share of the
sentence starts, drawn again each time, the state is set to zero instead.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from elmo_cli.training.encoded_corpus import EncodedText
from elmo_cli.training.vocabulary import BOS_ID, EOS_ID, UNKNOWN_ID


class BpttBatch(NamedTuple):
    """The next steps of every stream; direction 1 reads each sentence from its end.

    Attributes:
        types: Rows of the corpus's table of words, (direction, step, row) int64.
        targets: Words of the vocabulary, (direction, step, row) int64.
        reset: Whether the state is set to zero before a step, (direction, step, row) bool; None:
            never.
    """

    types: Tensor
    targets: Tensor
    reset: Tensor | None

    def to(self, device: torch.device) -> "BpttBatch":
        """Return the window on a device."""
        return BpttBatch(
            self.types.to(device),
            self.targets.to(device),
            None if self.reset is None else self.reset.to(device),
        )


OPENING = ((EOS_ID, BOS_ID), (BOS_ID, EOS_ID))  # by direction: end mark, start mark


class Streams(NamedTuple):
    """Division of a corpus into streams.

    Attributes:
        n_streams: Number of streams.
        unroll: Steps of a window.
        piece: Targets of a stream.
    """

    n_streams: int
    unroll: int
    piece: int

    @property
    def windows(self) -> int:
        """Number of windows of an epoch."""
        return self.piece // self.unroll


def make_streams(n_targets: int, n_streams: int, unroll: int, n_workers: int = 1) -> Streams:
    """Divide a corpus into streams, fewer than `n_streams` if it does not fill a window of each.

    Args:
        n_targets: Words to predict in each direction.
        n_streams: Largest number of streams.
        unroll: Largest number of steps of a window.
        n_workers: Number of processes, each of which gets the same number of streams.

    Returns:
        The division.
    """
    unroll = max(1, min(unroll, n_targets // n_workers))
    n_streams = max(1, min(n_streams, n_targets // unroll) // n_workers) * n_workers
    return Streams(n_streams, unroll, n_targets // n_streams)


def read_window(
    text: EncodedText, streams: Streams, step: int, reset_share: float, seed: int, rows: slice
) -> BpttBatch:
    """Read the window of one step.

    If a piece is not a multiple of the window, successive epochs start at successive targets, so
    that all of it is read.

    Args:
        text: The corpus.
        streams: Its division.
        step: Step from 0, over all epochs.
        reset_share: Share of the sentence starts where the state is set to zero.
        seed: Seed of the draws.
        rows: Streams to read.

    Returns:
        The window.
    """
    epoch, position = divmod(step, streams.windows)
    offset = epoch % (streams.piece % streams.unroll + 1)
    starts = np.arange(streams.n_streams)[rows] * streams.piece + offset + position * streams.unroll
    positions = starts + np.arange(streams.unroll + 1)[:, None]
    # Word of each direction at each step, (direction, step + 1, row)
    targets = torch.stack(
        [torch.from_numpy(words[positions].astype(np.int64)) for words in text.words]
    )
    window = window_of(targets[:, :-1], targets[:, 1:], text.facts.vocabulary)
    if reset_share == 0 or window.reset is None:
        return window._replace(reset=None)
    if reset_share == 1:
        return window
    shape = (len(targets), streams.unroll, streams.n_streams)
    is_drawn = (
        torch.rand(shape, generator=torch.Generator().manual_seed(seed))[..., rows] < reset_share
    )
    return window._replace(reset=window.reset & is_drawn)


def window_of(before: Tensor, targets: Tensor, n_words: int) -> BpttBatch:
    """Return the window that predicts `targets` from the words before them.

    Args:
        before: Words before the targets, (direction, step, row) int64.
        targets: Words to predict, (direction, step, row) int64.
        n_words: Size of the vocabulary; words outside it become <UNK>.

    Returns:
        The window, with a reset at every sentence start.
    """
    types, reset = before.clone(), torch.empty_like(before, dtype=torch.bool)
    for direction, (closing, opening) in enumerate(OPENING):
        reset[direction] = before[direction] == closing
        types[direction].masked_fill_(reset[direction], opening)
    return BpttBatch(types, targets.masked_fill(targets >= n_words, UNKNOWN_ID), reset)

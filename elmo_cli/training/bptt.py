"""Windows of training text: the corpus cut into as many contiguous pieces as there are streams, all read side by side.

A stream goes on where it stopped, sentence after sentence, so its state can be carried from window to window (truncated
back-propagation through time). At a share of the sentence starts, drawn anew each time, the state is set to zero instead.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from elmo_cli.training.encoded_corpus import EncodedText
from elmo_cli.training.vocabulary import BOS_ID, EOS_ID, UNKNOWN_ID


class BpttBatch(NamedTuple):
    """The next steps of every stream; direction 1 reads each sentence from its end."""

    types: Tensor  # (direction, step, row) int64: rows of the text's table of words
    targets: Tensor  # (direction, step, row) int64: words of the vocabulary
    reset: Tensor | None  # (direction, step, row): where the state is set to zero

    def to(self, device: torch.device) -> "BpttBatch":
        """The window on a device."""
        return BpttBatch(self.types.to(device), self.targets.to(device), None if self.reset is None else self.reset.to(device))


OPENING = ((EOS_ID, BOS_ID), (BOS_ID, EOS_ID))  # by direction: what closes a sentence, and what the next one starts with


class Streams(NamedTuple):
    """How a corpus is cut."""

    n_streams: int
    unroll: int
    piece: int  # entries a stream holds

    @property
    def windows(self) -> int:
        """Windows in an epoch."""
        return self.piece // self.unroll


def make_streams(n_entries: int, n_streams: int, unroll: int, n_workers: int = 1) -> Streams:
    """At most that many streams, and fewer where the corpus would not fill a window of each; as many for each worker."""
    unroll = max(1, min(unroll, n_entries // n_workers))
    n_streams = max(1, min(n_streams, n_entries // unroll) // n_workers) * n_workers
    return Streams(n_streams, unroll, n_entries // n_streams)


def read_window(text: EncodedText, streams: Streams, step: int, reset_share: float, seed: int, rows: slice) -> BpttBatch:
    """The window of one step, from 0, over all epochs; `rows` chooses some of the streams.

    Where a piece is no whole number of windows, epochs start one after another at its first entries, so that all of it is read.
    """
    epoch, place = divmod(step, streams.windows)
    offset = epoch % (streams.piece % streams.unroll + 1)
    starts = np.arange(streams.n_streams)[rows] * streams.piece + offset + place * streams.unroll
    places = starts + np.arange(streams.unroll + 1)[:, None]
    entries = torch.stack([torch.from_numpy(words[places].astype(np.int64)) for words in text.words])  # (direction, step + 1, row)
    window = window_of(entries[:, :-1], entries[:, 1:], text.facts.vocabulary)
    if reset_share == 0 or window.reset is None:
        return window._replace(reset=None)
    if reset_share == 1:
        return window
    shape = (len(entries), streams.unroll, streams.n_streams)
    drawn = torch.rand(shape, generator=torch.Generator().manual_seed(seed))[..., rows] < reset_share
    return window._replace(reset=window.reset & drawn)


def window_of(before: Tensor, entries: Tensor, n_words: int) -> BpttBatch:
    """The window that predicts `entries` (direction, step, row) from those before them, set to zero at every sentence start."""
    types, reset = before.clone(), torch.empty_like(before, dtype=torch.bool)
    for direction, (closing, opening) in enumerate(OPENING):
        reset[direction] = before[direction] == closing
        types[direction].masked_fill_(reset[direction], opening)
    return BpttBatch(types, entries.masked_fill(entries >= n_words, UNKNOWN_ID), reset)

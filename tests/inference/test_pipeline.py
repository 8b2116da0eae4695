from collections.abc import Sequence
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elmo_cli.inference.embedder import Embedder
from elmo_cli.inference.pipeline import (
    StoppedError,
    embed_ahead,
    embed_corpus,
    embed_window,
    groups,
    selecting,
    windows,
)
from elmo_cli.models.resolve import find_model
from elmo_cli.nn.batching import bucket_by_length
from elmo_cli.types import Sentence

LENGTHS = st.lists(st.integers(0, 30), max_size=40)


def of_lengths(lengths: list[int]) -> list[Sentence]:
    return [Sentence(str(i), ["w"] * n, "w " * n) for i, n in enumerate(lengths)]


@given(LENGTHS, st.integers(1, 60))
def test_windows_keep_every_sentence_in_order_and_within_the_budget(
    lengths: list[int], max_tokens: int
):
    cut = list(windows(of_lengths(lengths), max_tokens))
    assert [s for window in cut for s in window] == of_lengths(lengths)
    assert all(
        len(window) == 1 or sum(len(s.tokens) for s in window) <= max_tokens for window in cut
    )
    assert all(cut)


def test_a_window_of_blank_sentences_is_bounded_too():
    assert [len(window) for window in windows(of_lengths([0] * 10), 4)] == [4, 4, 2]


@given(LENGTHS, st.integers(1, 60))
def test_buckets_hold_every_index_once_within_the_budget(lengths: list[int], max_tokens: int):
    batches = list(bucket_by_length(lengths, max_tokens))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or sum(lengths[i] for i in batch) <= max_tokens for batch in batches)
    flat = [lengths[i] for batch in batches for i in batch]
    assert flat == sorted(lengths, reverse=True)


@given(LENGTHS, st.integers(1, 9))
def test_groups_are_of_one_size_but_for_the_last(lengths: list[int], size: int):
    cut = list(groups(of_lengths(lengths), size))
    assert [s for group in cut for s in group] == of_lengths(lengths)
    assert all(len(group) == size for group in cut[:-1])


class Nowhere:
    """A store that keeps nothing."""

    def write(self, window: Sequence[Sentence], arrays: Sequence[np.ndarray]) -> None:
        """Do nothing."""


def test_a_window_in_work_is_told_when_the_run_ends():
    begun, told = Event(), list[bool]()

    def embed(window: list[Sentence], *, stop: Event) -> list[np.ndarray]:
        if window[0].key == "1":
            begun.set()
            told.append(stop.wait(60))
            raise StoppedError
        return [np.zeros((1, 1, 1))] * len(window)

    read = ([sentence] for sentence in of_lengths([1, 1]))
    run = embed_corpus(embed_ahead(read, selecting(embed, lambda layers: layers)), Nowhere())
    assert next(run).sentences == 1
    assert begun.wait(60)
    run.close()
    assert told == [True]


def test_a_window_is_given_up_between_batches(model: Path, monkeypatch: pytest.MonkeyPatch):
    embedder = Embedder(find_model(str(model)).load())
    stop, embed, computed = Event(), Embedder.embed_batch, []

    def stopping(embedder: Embedder, batch: Sequence[list[str]]) -> list[np.ndarray]:
        computed.append(batch)
        stop.set()
        return embed(embedder, batch)

    monkeypatch.setattr(Embedder, "embed_batch", stopping)
    with pytest.raises(StoppedError):
        embed_window(of_lengths([3, 3, 3]), embedder, 3, stop)
    assert len(computed) == 1

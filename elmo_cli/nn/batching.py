"""Batches of sequences of similar length, so that a step of the LSTM has many rows. Order is restored by index."""

from collections.abc import Iterator, Sequence

BATCH_TOKENS = 16384  # computed together: a window, since the more sentences, the more they share
GPU_WINDOW_TOKENS = 65536
STATEFUL_BATCH = 64  # sentences; allennlp elmo's --batch-size


def bucket_by_length(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Indices of all sequences, longest first, in batches of at most so many tokens (or one sequence)."""
    batch: list[int] = []
    tokens = 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and tokens + lengths[index] > max_tokens:
            yield batch
            batch, tokens = [], 0
        batch.append(index)
        tokens += lengths[index]
    if batch:
        yield batch

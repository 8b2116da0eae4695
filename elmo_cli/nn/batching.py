"""Batching: sentences of similar length are computed together; indices restore the order."""

from collections.abc import Iterator, Sequence

BATCH_TOKENS = 16384  # tokens per batch: a window, since the more sentences, the more they share
GPU_WINDOW_TOKENS = 65536
STATEFUL_BATCH = 64  # sentences; the default --batch-size of allennlp elmo


def bucket_by_length(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Group sequences of similar length into batches, longest first.

    Args:
        lengths: Length of each sequence in tokens.
        max_tokens: Limit of tokens per batch; a longer sequence is a batch of its own.

    Yields:
        Indices of the sequences of a batch.
    """
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

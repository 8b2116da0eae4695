"""Batching: sentences of similar length are computed together; indices restore the order."""

from collections.abc import Iterator, Sequence

BATCH_TOKENS = 8192  # tokens per batch
# Sentences per batch on a CPU: with more, the rows of an LSTM step exceed its caches, and a matrix
# product is not faster per row.
BATCH_SENTENCES = 256
GPU_WINDOW_TOKENS = 65536
STATEFUL_BATCH = 64  # sentences; the default --batch-size of allennlp elmo


def bucket_by_length(lengths: Sequence[int], max_tokens: int, max_sequences: int | None = None) -> Iterator[list[int]]:
    """Group sequences of similar length into batches, longest first.

    Args:
        lengths: Length of each sequence in tokens.
        max_tokens: Limit of tokens per batch; a longer sequence is a batch of its own.
        max_sequences: Limit of sequences per batch; None: no limit.

    Yields:
        Indices of the sequences of a batch.
    """
    batch: list[int] = []
    tokens = 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (tokens + lengths[index] > max_tokens or len(batch) == max_sequences):
            yield batch
            batch, tokens = [], 0
        batch.append(index)
        tokens += lengths[index]
    if batch:
        yield batch

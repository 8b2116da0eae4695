"""Which sentences run together: of like length, so that a step of the LSTM has many rows; order is restored by index."""

from collections.abc import Iterator, Sequence

BATCH_TOKENS = 8192  # computed together
BATCH_SENTENCES = 256  # the same, on a CPU: where a step's rows no longer stay in its caches, and a product gains nothing from more
GPU_WINDOW_TOKENS = 65536
STATEFUL_BATCH = 64  # sentences; allennlp elmo's --batch-size


def bucket_by_length(lengths: Sequence[int], max_tokens: int, max_sequences: int | None = None) -> Iterator[list[int]]:
    """Indices of all sequences, longest first, in batches of at most so many tokens (or one sequence) and sequences."""
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

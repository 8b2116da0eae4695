"""Training of probes from blocks of a feature file in random order."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from elmo_cli.downstream.labelled_features import Block, Ints, LabelledFeatures, Mask
from elmo_cli.downstream.linear import LinearProbes, Trainer, predict

EPOCHS = 6  # minimum
LEAST_STEPS = 1000  # so that a small training part is repeated more often
BATCH_ROWS = 512
GROUP_ROWS = 16_384  # shuffled together
MEMORY_BYTES = 1 << 28  # a training part up to this size is read once and shuffled as one
PREDICT_ROWS = 4096


def epochs_for(n_rows: int) -> int:
    """Return the number of epochs for `n_rows` rows."""
    steps = -(-n_rows // BATCH_ROWS)
    return max(EPOCHS, -(-LEAST_STEPS // steps))


class RandomGroups:
    """Rows of a feature file in groups of blocks, in an order that differs from epoch to epoch."""

    def __init__(self, source: LabelledFeatures, mask: Mask, seed: int) -> None:
        self._source = source
        self._mask = mask
        self._random = np.random.default_rng([seed, 1])
        described = source.features.description
        size = (
            int(mask.sum())
            * len(described.names)
            * described.dim
            * np.dtype(described.dtype).itemsize
        )
        self._kept: tuple[torch.Tensor, Ints] | None = (
            self._read(source.blocks) if size <= MEMORY_BYTES else None
        )

    def epoch(self) -> Iterator[tuple[torch.Tensor, Ints]]:
        """Iterate once over all rows: (layer, row, dim), and the numbers of the rows."""
        if self._kept:
            yield self._kept
            return
        group: list[Block] = []
        for number in self._random.permutation(len(self._source.blocks)):
            group.append(self._source.blocks[number])
            if sum(block.stop - block.start for block in group) >= GROUP_ROWS:
                yield self._read(group)
                group = []
        if group:
            yield self._read(group)

    def _read(self, blocks: Sequence[Block]) -> tuple[torch.Tensor, Ints]:
        found = [read_masked(self._source, block, self._mask) for block in blocks]
        return torch.cat([rows for rows, _ in found], dim=1), np.concatenate(
            [numbers for _, numbers in found]
        )


def read_masked(source: LabelledFeatures, block: Block, mask: Mask) -> tuple[torch.Tensor, Ints]:
    """Return the rows of a block that a mask chooses, (layer, row, dim), and their numbers."""
    chosen = np.flatnonzero(mask[block.start : block.stop])
    if not len(chosen):
        described = source.features.description
        return torch.empty(len(described.names), 0, described.dim), chosen
    rows = source.read_rows(block)
    if len(chosen) < rows.shape[1]:
        rows = rows[:, torch.from_numpy(chosen)]
    return rows, chosen + block.start


def fit(
    source: LabelledFeatures,
    mask: Mask,
    targets: torch.Tensor,
    probes: Sequence[LinearProbes],
    seed: int,
    epochs: int,
) -> Iterator[float]:
    """Train probes, each with its own order of the rows, and yield the number of epochs done.

    Args:
        source: The feature file.
        mask: (rows,) bool: the training rows.
        targets: (rows, target) int64: the labels.
        probes: Probes, trained independently.
        seed: Seed of the order; the order of the first probe does not depend on their number.
        epochs: Number of epochs.
    """
    trainers = [Trainer(one) for one in probes]
    randoms = [np.random.default_rng([seed + i, 2]) for i in range(len(probes))]
    groups = RandomGroups(source, mask, seed)
    n_rows = int(mask.sum())
    done, total = 0, epochs * n_rows
    for _ in range(epochs):
        for rows, numbers in groups.epoch():
            if not len(numbers):
                continue
            for trainer, random in zip(trainers, randoms, strict=True):
                _fit_group(trainer, rows, targets[torch.from_numpy(numbers)], random, done, total)
            done += len(numbers)
            yield done / n_rows


def _fit_group(
    trainer: Trainer,
    rows: torch.Tensor,
    labels: torch.Tensor,
    random: np.random.Generator,
    done: int,
    total: int,
) -> None:
    order = random.permutation(len(labels))
    for batch in np.array_split(order, -(-len(order) // BATCH_ROWS)):
        chosen = torch.from_numpy(batch)
        trainer.step(rows.index_select(1, chosen), labels[chosen], done / total)
        done += len(batch)


def predict_all(source: LabelledFeatures, mask: Mask, probes: Sequence[LinearProbes]) -> list[Ints]:
    """Return predicted classes of the masked rows, in order: (classifier, target, row)."""
    found: list[list[torch.Tensor]] = [[] for _ in probes]
    for block in source.blocks:
        rows, _ = read_masked(source, block, mask)
        for part in torch.split(rows, PREDICT_ROWS, dim=1):
            for predicted, one in zip(found, probes, strict=True):
                if part.shape[1]:
                    predicted.append(predict(one, part))
    return [torch.cat(predicted, dim=-1).numpy() for predicted in found]

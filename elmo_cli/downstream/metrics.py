"""Accuracy, macro F1 and strict IOB2 entity F1, as additive counts by sentence."""

import re
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from elmo_cli.downstream.labelled_features import Ints, Mask

Floats = npt.NDArray[np.float64]
BIO = re.compile(r"O|[BI]-.+")
OUTSIDE, BEGIN, INSIDE = 0, 1, 2


def is_bio(labels: Sequence[str]) -> bool:
    """Return whether labels are IOB2 tags (O, B-X, I-X) with at least one entity."""
    return all(map(BIO.fullmatch, labels)) and any(label.startswith("B-") for label in labels)


def f_scores(counts: Floats) -> Floats:
    """Return F1 averaged over classes, for counts (..., class, 3): correct, predicted, actual.

    Classes without predicted and actual rows are left out. With one class for all, and every row
    predicted, the result is the accuracy.
    """
    right, sizes = counts[..., 0], counts[..., 1] + counts[..., 2]
    scores = np.divide(2 * right, sizes, out=np.zeros_like(right), where=sizes > 0)
    found: Floats = scores.sum(axis=-1) / np.maximum((sizes > 0).sum(axis=-1), 1)
    return found


def count_right(gold: Ints, predicted: Ints, sentences: Ints, chosen: Mask | None = None) -> Floats:
    """Return counts of each sentence as one class, (sentence, 1, 3); their F1 is the accuracy."""
    n = int(sentences.max(initial=-1)) + 1
    weights = np.ones(len(gold)) if chosen is None else chosen.astype(np.float64)
    right = np.bincount(sentences, weights * (gold == predicted), n)
    rows = np.bincount(sentences, weights, n)
    return np.stack([right, rows, rows], axis=-1, dtype=np.float64)[:, None]


def count_classes(
    gold: Ints, predicted: Ints, sentences: Ints, chosen: Mask | None = None
) -> Floats:
    """Return counts of each sentence by class, (sentence, class, 3)."""
    n, n_classes = (
        int(sentences.max(initial=-1)) + 1,
        int(max(gold.max(initial=-1), predicted.max(initial=-1))) + 1,
    )
    weights = np.ones(len(gold)) if chosen is None else chosen.astype(np.float64)

    def count(classes: Ints, by: Floats) -> Floats:
        counts: Floats = np.bincount(sentences * n_classes + classes, by, n * n_classes).astype(
            np.float64
        )
        return counts.reshape(n, n_classes)

    return np.stack(
        [
            count(gold, weights * (gold == predicted)),
            count(predicted, weights),
            count(gold, weights),
        ],
        axis=-1,
    )


def entity_counter(labels: Sequence[str]) -> Callable[[Ints, Ints, Ints, Mask | None], Floats]:
    """Return the function that counts the entities of each sentence, (sentence, 1, 3).

    An entity begins with B-X and continues with I-X of the same X (Ramshaw and Marcus 1995; IOB2,
    strict as in seqeval): an I-X that does not continue an entity is outside. An entity is correct
    if its first row, its last row and X are.
    """
    types = {name: i for i, name in enumerate(sorted({label[2:] for label in labels}))}
    kinds = np.array([{"B": BEGIN, "I": INSIDE}.get(label[0], OUTSIDE) for label in labels])
    of_type = np.array([types[label[2:]] for label in labels])

    def entities(classes: Ints, sentences: Ints, chosen: Mask | None) -> Ints:
        """Return first row, last row, type and sentence of each entity, (entity, 4)."""
        kind, type_ = kinds[classes], of_type[classes]
        joined = (
            (kind[1:] == INSIDE)
            & (kind[:-1] != OUTSIDE)
            & (type_[1:] == type_[:-1])
            & (sentences[1:] == sentences[:-1])
        )
        starts = np.flatnonzero(np.concatenate([[True], ~joined])[: len(classes)])
        ends = np.append(starts[1:], len(classes)) - 1
        kept = kind[starts] == BEGIN
        if chosen is not None:  # those with a chosen row
            kept &= (
                np.diff(
                    np.concatenate([[0], np.cumsum(chosen)])[np.stack([starts, ends + 1])], axis=0
                )[0]
                > 0
            )
        starts, ends = starts[kept], ends[kept]
        return np.stack([starts, ends, type_[starts], sentences[starts]], axis=-1)

    def count(gold: Ints, predicted: Ints, sentences: Ints, chosen: Mask | None = None) -> Floats:
        there, found = entities(gold, sentences, chosen), entities(predicted, sentences, chosen)
        both = np.concatenate([there, found])
        rows, times = np.unique(both, axis=0, return_counts=True)
        n = int(sentences.max(initial=-1)) + 1
        return np.stack(
            [
                np.bincount(of, minlength=n)
                for of in (rows[times == 2, 3], found[:, 3], there[:, 3])
            ],
            axis=-1,
        )[:, None].astype(float)

    return count


def count_stray(classes: Ints, sentences: Ints, labels: Sequence[str]) -> int:
    """Return the number of rows I-X that do not continue an entity X."""
    kinds = np.array([label[0] for label in labels])[classes]
    types = np.array([label[2:] for label in labels])[classes]
    joined = (types[1:] == types[:-1]) & (kinds[:-1] != "O") & (sentences[1:] == sentences[:-1])
    return int(((kinds == "I") & ~np.concatenate([[False], joined])[: len(classes)]).sum())

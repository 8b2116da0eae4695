"""Scores without vectors: the most frequent label, and the most frequent label of each word."""

import numpy as np

from elmo_cli.downstream.labelled_features import Ints


def majority(labels: Ints, n_rows: int) -> Ints:
    """Predict the most frequent training label for all rows, (row,)."""
    return np.full(n_rows, np.bincount(labels).argmax())


def majority_by_word(labels: Ints, words: Ints, test_words: Ints) -> Ints:
    """Predict each word's most frequent training label, and the most frequent one for new words.

    Ties go to the more frequent label.
    """
    n_classes = int(labels.max()) + 1
    pairs, times = np.unique(words * n_classes + labels, return_counts=True)
    frequency = np.bincount(labels)[pairs % n_classes]
    best = np.full(
        max(int(words.max()), int(test_words.max(initial=0))) + 1, np.bincount(labels).argmax()
    )
    for index in np.lexsort((frequency, times)):  # the last entry of a word is kept
        best[pairs[index] // n_classes] = pairs[index] % n_classes
    return best[test_words]

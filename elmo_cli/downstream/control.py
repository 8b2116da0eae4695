"""Control task of Hewitt and Liang (2019): random labels that depend on the word alone."""

import numpy as np

from elmo_cli.downstream.labelled_features import Ints


def control_labels(labels: Ints, n_words: int, seed: int) -> Ints:
    """Return a label for each word, (word,), drawn from the training labels' distribution."""
    shares = np.bincount(labels) / len(labels)
    return np.random.default_rng([seed, 4]).choice(len(shares), n_words, p=shares)


def control_ceiling(control: Ints, train_words: Ints, test_words: Ints) -> float:
    """Return the accuracy of a classifier that memorizes the training words.

    Other words get the most frequent label.
    """
    seen = np.zeros(len(control), bool)
    seen[train_words] = True
    most_frequent = np.bincount(control[train_words]).argmax()
    return float((seen[test_words] | (control[test_words] == most_frequent)).mean())

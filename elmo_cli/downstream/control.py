"""The control task of Hewitt and Liang (2019): every word has a random label of its own, which only its identity predicts."""

import numpy as np

from elmo_cli.downstream.labelled_features import Ints


def control_labels(labels: Ints, n_words: int, seed: int) -> Ints:
    """Draw a label for each word from the distribution of the training labels, (word,)."""
    shares = np.bincount(labels) / len(labels)
    return np.random.default_rng([seed, 4]).choice(len(shares), n_words, p=shares)


def control_ceiling(control: Ints, train_words: Ints, test_words: Ints) -> float:
    """Accuracy of a classifier that has all training words by heart, and takes the most frequent label for the others."""
    seen = np.zeros(len(control), bool)
    seen[train_words] = True
    most_frequent = np.bincount(control[train_words]).argmax()
    return float((seen[test_words] | (control[test_words] == most_frequent)).mean())

"""Perplexity of n-grams of one text on another, the baselines of a language model's perplexity.

An n-gram is identified by the position of its end and a hash of its words, so that counting is
sorting, and takes a few numbers of memory per token.
"""

from array import array
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from elmo_cli.readers.text import read_text

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint64]

BOS, EOS, UNKNOWN = "<S>", "</S>", "<UNK>"
ORDER = 5
HASH_FACTOR = np.uint64(0x9E3779B97F4A7C17)


class Text(NamedTuple):
    """A corpus as numbers, every sentence between BOS and EOS."""

    ids: npt.NDArray[np.int32]
    place: npt.NDArray[np.int32]  # in its sentence: 0 for BOS
    file_starts: list[int]

    def predicted(self) -> Ints:
        """Positions that a language model is asked for: every token and EOS."""
        return np.flatnonzero(self.place)


def read_vocabulary(path: Path) -> dict[str, int]:
    """Numbers of the words of a vocab.txt, one a line."""
    words = path.read_text(encoding="utf-8").split("\n")
    return {
        word: i for i, word in enumerate(dict.fromkeys([BOS, EOS, UNKNOWN, *filter(None, words)]))
    }


def read_ids(paths: Sequence[Path], vocabulary: dict[str, int], limit: int | None) -> Text:
    """The sentences of text files, blank lines left out."""
    ids, file_starts = array("i"), []
    for path in paths:
        file_starts.append(len(ids))
        for sentence in islice(read_text(path), limit):
            if sentence.tokens:
                numbers = (vocabulary.get(token, vocabulary[UNKNOWN]) for token in sentence.tokens)
                ids.extend([vocabulary[BOS], *numbers, vocabulary[EOS]])
    numbered = np.frombuffer(ids, dtype=np.int32)
    positions = np.arange(len(numbered), dtype=np.int32)
    place = positions - np.maximum.accumulate(np.where(numbered == vocabulary[BOS], positions, 0))
    return Text(numbered, place.astype(np.int32), file_starts)


def perplexity(probabilities: Doubles) -> float:
    """The inverse of their geometric mean."""
    return float(np.exp(-np.log(probabilities).mean()))


def add_one_unigram(train: Text, test: Text, n_words: int) -> Doubles:
    """Probabilities of the test's tokens by training counts plus one; BOS is never predicted."""
    counts = np.bincount(train.ids[train.predicted()], minlength=n_words + 1) + 1
    return counts[test.ids[test.predicted()]] / (len(train.predicted()) + n_words)


def interpolated_kneser_ney(
    train: Text, test: Text, n_words: int
) -> tuple[Doubles, dict[str, list[float]]]:
    """Probabilities of the test's tokens by interpolated modified Kneser-Ney (Chen and Goodman,
    1998), and its discounts by order.

    Counts of the highest order are occurrences; of a lower one, the words seen before the n-gram,
    or its occurrences where it begins with BOS. So one position is kept for each distinct n-gram,
    and the next order counts those.
    """
    codes = np.random.default_rng(0).integers(1 << 63, size=n_words + 1, dtype=np.uint64)
    positions = np.flatnonzero(train.place >= ORDER - 1)
    terms, discounts = [], {}
    for order in range(ORDER, 0, -1):
        positions, counts = distinct(train.ids, positions, order, codes)
        discounts[str(order)] = estimate_discounts(counts).tolist()
        terms.append(interpolation_terms(train, test, positions, counts, order, codes))
        if order > 2:  # the unigram BOS is not predicted
            positions = np.concatenate([positions, np.flatnonzero(train.place == order - 2)])
    probabilities = np.full(len(test.predicted()), 1 / n_words)
    for direct, back_off in reversed(terms):
        probabilities = direct + back_off * probabilities
    return probabilities, discounts


def distinct(
    ids: npt.NDArray[np.int32], ends: Ints, order: int, codes: Hashes
) -> tuple[Ints, Ints]:
    """One end position of each different n-gram among those that end at `ends`, and how many of
    `ends` have it.
    """
    hashes = hash_ngrams(ids, ends, order, codes)
    ranking = hashes.argsort()
    hashes = hashes[ranking]
    firsts = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]]))
    return ends[ranking[firsts]], np.diff(firsts, append=len(hashes))


def hash_ngrams(ids: npt.NDArray[np.int32], ends: Ints, order: int, codes: Hashes) -> Hashes:
    """64 bits for the n-gram that ends at each position.

    Among 60 million, two alike are a matter of one in ten thousand.
    """
    hashes = np.zeros(len(ends), np.uint64)
    for back in range(order):
        hashes *= HASH_FACTOR
        hashes += codes[ids[ends - back]]
    return hashes


def estimate_discounts(counts: Ints) -> Doubles:
    """What is taken off a count of 1, 2, and 3 or more (index 0: nothing).

    Kenlm's stand-ins where the estimate makes no sense.
    """
    n = np.bincount(np.minimum(counts, 5), minlength=5).astype(np.float64)
    if n[1:5].all():
        ratio = n[1] / (n[1] + 2 * n[2])
        discounts = np.array([0, *(k - (k + 1) * ratio * n[k + 1] / n[k] for k in (1, 2, 3))])
        if (discounts >= 0).all():
            return discounts
    return np.array([0, 0.5, 1, 1.5])


def interpolation_terms(
    train: Text, test: Text, ends: Ints, counts: Ints, order: int, codes: Hashes
) -> tuple[Doubles, Doubles]:
    """For each token of the test: the discounted share of its n-gram, and the weight left to the
    next lower order.

    `ends` and `counts` name the distinct n-grams of the training text. An unseen context leaves all
    to the lower order.
    """
    discounts = estimate_discounts(counts)
    taken = discounts[np.minimum(counts, 3)]
    predicted = test.predicted()
    whole = test.place[predicted] >= order - 1  # the n-gram does not reach beyond BOS
    asked = predicted[whole]
    grams, contexts = (
        hash_ngrams(test.ids, *which, codes) for which in ((asked, order), (asked - 1, order - 1))
    )
    (kept,) = sums_by_key(hash_ngrams(train.ids, ends, order, codes), [counts - taken], grams)
    totals, freed = sums_by_key(
        hash_ngrams(train.ids, ends - 1, order - 1, codes), [counts, taken], contexts
    )
    direct, back_off = np.zeros(len(predicted)), np.ones(len(predicted))
    seen = totals > 0
    places = np.flatnonzero(whole)[seen]
    direct[places], back_off[places] = kept[seen] / totals[seen], freed[seen] / totals[seen]
    return direct, back_off


def sums_by_key(keys: Hashes, columns: Sequence[npt.NDArray[Any]], asked: Hashes) -> list[Doubles]:
    """Of each column of values, the sum of those whose key is asked for, for each one asked."""
    wanted, back = np.unique(asked, return_inverse=True)
    slots = np.searchsorted(wanted, keys)
    slots[slots == len(wanted)] = 0
    hits = np.flatnonzero(wanted[slots] == keys)
    sums = (
        np.bincount(slots[hits], values[hits].astype(np.float64), len(wanted)) for values in columns
    )
    return [np.asarray(column[back], np.float64) for column in sums]

"""Confidence intervals by resampling sentences (paired bootstrap, Efron 1979)."""

from typing import NamedTuple

import numpy as np

from elmo_cli.downstream.metrics import Floats, f_scores

RESAMPLES = 1000
AT_ONCE = 50  # resamples
LIMITS = (2.5, 97.5)  # percentiles


class Interval(NamedTuple):
    """An estimate with its 95 % interval."""

    score: float
    low: float
    high: float


class Resampled(NamedTuple):
    """A score and the scores of its resamples.

    The same sentences are drawn for all compared scores.
    """

    score: float
    resamples: Floats

    def interval(self) -> Interval:
        """Return the percentile interval."""
        return Interval(self.score, *map(float, np.percentile(self.resamples, LIMITS)))

    def minus(self, other: "Resampled") -> Interval:
        """Return the difference with its interval."""
        return Resampled(self.score - other.score, self.resamples - other.resamples).interval()


def resample(counts: Floats, seed: int) -> Resampled:
    """Return the score of counts by sentence, (sentence, class, 3), and of resamples."""
    n, flat = len(counts), counts.reshape(len(counts), -1)
    random = np.random.default_rng([seed, 3])
    scores = []
    for _ in range(RESAMPLES // AT_ONCE):
        drawn = random.integers(0, n, (AT_ONCE, n)) + n * np.arange(AT_ONCE)[:, None]
        times = np.bincount(drawn.ravel(), minlength=AT_ONCE * n).reshape(AT_ONCE, n)
        scores.append(f_scores((times @ flat).reshape(AT_ONCE, *counts.shape[1:])))
    return Resampled(float(f_scores(counts.sum(axis=0))), np.concatenate(scores))

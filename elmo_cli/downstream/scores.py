"""Score of a classifier with interval, by the kind of labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from elmo_cli.downstream.examples import LABEL_SETS, TAGS
from elmo_cli.downstream.labelled_features import Ints, Mask
from elmo_cli.downstream.metrics import Floats, count_right, entity_counter, f_scores
from elmo_cli.downstream.statistics import Interval, resample
from elmo_cli.downstream.tag_schemes import SAME_LETTER

F1, ACCURACY, MICRO_F1, R2 = "entity F1", "accuracy", "micro F1", "R2"
AS_IOB2 = {"S": "B", "E": "I"}
Counter = Callable[[Ints, Ints, Ints, Mask | None], Floats]


@dataclass(frozen=True)
class Scorer:
    """The score of predicted classes: strict F1 of spans, micro F1 of label sets, or accuracy.

    Args:
        task: TAGS, TOKENS, SENTENCES or LABEL_SETS.
        labels: Names of the classes; those that occur in a test part only come last.
    """

    task: str
    labels: Sequence[str]

    @property
    def metric(self) -> str:
        """Name of the score."""
        return {TAGS: F1, LABEL_SETS: MICRO_F1}.get(self.task, ACCURACY)

    @cached_property
    def _counter(self) -> Counter:
        """Function that counts by sentence, (sentence, 1, 3): correct, predicted, actual."""
        if self.task != TAGS:
            return count_right
        letters = [SAME_LETTER.get(label[0], label[0]) for label in self.labels]
        return entity_counter(
            [
                AS_IOB2.get(letter, letter) + label[1:]
                for letter, label in zip(letters, self.labels, strict=True)
            ]
        )

    def score(self, gold: Ints, predicted: Ints, sentences: Ints) -> float:
        """Return the score of classes.

        Args:
            gold: (row,), or (sentence, label) of 0 and 1 for sets of labels.
            predicted: The same.
            sentences: (row,): the number of the sentence of each row.
        """
        return float(f_scores(self._counts(gold, predicted, sentences).sum(axis=0)))

    def interval(self, gold: Ints, predicted: Ints, sentences: Ints, seed: int) -> Interval:
        """Return the score with its 95 % interval, by resampling sentences."""
        return resample(self._counts(gold, predicted, sentences), seed).interval()

    def _counts(self, gold: Ints, predicted: Ints, sentences: Ints) -> Floats:
        if self.task != LABEL_SETS:
            return self._counter(gold, predicted, sentences, None)
        counts = [(gold * predicted).sum(axis=1), predicted.sum(axis=1), gold.sum(axis=1)]
        return np.stack(counts, axis=-1)[:, None].astype(np.float64)

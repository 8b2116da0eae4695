"""Evaluation of a classifier: score with interval, table by label, confusion matrix."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from elmo_cli.downstream.examples import LABEL_SETS, NUMBERS, OF_TOKENS, SENTENCES, TAGS
from elmo_cli.downstream.labelled_features import Ints
from elmo_cli.downstream.metrics import Floats
from elmo_cli.downstream.scores import R2, Scorer
from elmo_cli.downstream.statistics import LIMITS, RESAMPLES, Interval
from elmo_cli.downstream.tag_schemes import convert_tags, parse_spans


class LabelRow(NamedTuple):
    """Scores of one label, or of one type of spans."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int  # in the test part


@dataclass(frozen=True)
class Evaluation:
    """The result of a test."""

    metric: str
    interval: Interval
    sentences: int
    rows: int  # tokens, or sentences
    by_label: list[LabelRow] = field(default_factory=list)
    names: list[str] = field(default_factory=list)  # of the confusion matrix
    confusion: list[list[int]] = field(default_factory=list)  # (true label, predicted label)
    others: dict[str, float] = field(default_factory=dict)  # scores by name

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "metric": self.metric,
            **self.interval._asdict(),
            **self.others,
            "sentences": self.sentences,
            "rows": self.rows,
            "by_label": [row._asdict() for row in self.by_label],
            "confusion": {"labels": self.names, "counts": self.confusion} if self.names else None,
        }

    def worst_confusions(self, number: int = 5) -> list[tuple[str, str, int]]:
        """Return the most frequent errors: true label, predicted label, count."""
        pairs = [
            (self.names[i], self.names[j], count)
            for i, row in enumerate(self.confusion)
            for j, count in enumerate(row)
            if i != j and count
        ]
        return sorted(pairs, key=lambda pair: -pair[2])[:number]


def evaluate(task: str, gold: Sequence[Any], predicted: Sequence[Any], seed: int) -> Evaluation:
    """Return the evaluation of predictions.

    Args:
        task: One of TASKS.
        gold: The target of each sentence.
        predicted: The prediction for each sentence, of the same form; tags in any scheme.
        seed: Seed of the resampling of sentences.
    """
    if task == NUMBERS:
        return _evaluate_numbers(np.array(gold, np.float64), np.array(predicted, np.float64), seed)
    if task == LABEL_SETS:
        return _evaluate_sets(gold, predicted, seed)
    if task == TAGS:
        gold, predicted = (
            [convert_tags(tags, "iob2") for tags in side] for side in (gold, predicted)
        )
    flat_gold, flat_predicted = (_flatten(side, task) for side in (gold, predicted))
    names = sorted({*flat_gold, *flat_predicted})
    places = {name: i for i, name in enumerate(names)}
    gold_ids, predicted_ids = (
        np.array([places[name] for name in side], np.int64) for side in (flat_gold, flat_predicted)
    )
    counts = [len(one) if task in OF_TOKENS else 1 for one in gold]
    scorer = Scorer(task, names)
    interval = scorer.interval(
        gold_ids, predicted_ids, np.repeat(np.arange(len(gold)), counts), seed
    )
    others = (
        {} if task == SENTENCES else {"token_accuracy": float((gold_ids == predicted_ids).mean())}
    )
    if task == TAGS:
        rows, names, matrix = (
            _span_rows(gold, predicted),
            *_confusion_of_types(flat_gold, flat_predicted),
        )
    else:
        matrix = _confusion(gold_ids, predicted_ids, len(names))
        rows = _label_rows(
            names, np.stack([matrix.diagonal(), matrix.sum(axis=0), matrix.sum(axis=1)], axis=-1)
        )
        others["macro_f1"] = float(np.mean([row.f1 for row in rows]))
    return Evaluation(
        scorer.metric, interval, len(gold), len(flat_gold), rows, names, matrix.tolist(), others
    )


def _flatten(side: Sequence[Any], task: str) -> list[str]:
    return [label for labels in side for label in labels] if task in OF_TOKENS else list(side)


def _confusion(gold: Ints, predicted: Ints, n_labels: int) -> Ints:
    return np.bincount(gold * n_labels + predicted, minlength=n_labels * n_labels).reshape(
        n_labels, n_labels
    )


def _confusion_of_types(gold: Sequence[str], predicted: Sequence[str]) -> tuple[list[str], Ints]:
    """Return names and confusion matrix of the types of tags; "O" is outside."""
    sides = [[tag[2:] or "O" for tag in side] for side in (gold, predicted)]
    names = sorted({*sides[0], *sides[1]})
    ids = [np.array([names.index(name) for name in side], np.int64) for side in sides]
    return names, _confusion(ids[0], ids[1], len(names))


def _span_rows(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> list[LabelRow]:
    """Return the scores of the spans of each type."""
    counts: dict[str, list[int]] = {}
    for tags, found in zip(gold, predicted, strict=True):
        there, given = set(parse_spans(tags)), set(parse_spans(found))
        for place, spans in enumerate((there & given, given, there)):
            for span in spans:
                counts.setdefault(span.type, [0, 0, 0])[place] += 1
    names = sorted(counts)
    return _label_rows(names, np.array([counts[name] for name in names]).reshape(-1, 3))


def _label_rows(names: Sequence[str], counts: Ints) -> list[LabelRow]:
    """Return the scores of labels from counts (label, 3): correct, predicted, actual."""
    rows = []
    for name, (right, given, there) in zip(names, counts.tolist(), strict=True):
        precision, recall = right / given if given else 0.0, right / there if there else 0.0
        rows.append(
            LabelRow(
                name,
                precision,
                recall,
                2 * right / (given + there) if given + there else 0.0,
                there,
            )
        )
    return rows


def _evaluate_sets(gold: Sequence[Any], predicted: Sequence[Any], seed: int) -> Evaluation:
    names = sorted({label for side in (gold, predicted) for labels in side for label in labels})
    places = {name: i for i, name in enumerate(names)}
    sides = [np.zeros((len(gold), len(names)), np.int64) for _ in range(2)]
    for matrix, side in zip(sides, (gold, predicted), strict=True):
        for row, labels in enumerate(side):
            matrix[row, [places[label] for label in labels]] = 1
    scorer = Scorer(LABEL_SETS, names)
    interval = scorer.interval(sides[0], sides[1], np.arange(len(gold)), seed)
    counts = np.stack(
        [(sides[0] * sides[1]).sum(axis=0), sides[1].sum(axis=0), sides[0].sum(axis=0)], axis=-1
    )
    others = {"exact_match": float((sides[0] == sides[1]).all(axis=1).mean())}
    return Evaluation(
        scorer.metric, interval, len(gold), len(gold), _label_rows(names, counts), others=others
    )


def _evaluate_numbers(gold: Floats, predicted: Floats, seed: int) -> Evaluation:
    random = np.random.default_rng([seed, 3])
    drawn = (random.integers(0, len(gold), len(gold)) for _ in range(RESAMPLES))
    resamples = [r2(gold[rows], predicted[rows]) for rows in drawn]
    low, high = map(float, np.percentile(resamples, LIMITS))
    others = {"mean_absolute_error": float(np.abs(gold - predicted).mean())}
    return Evaluation(
        R2, Interval(r2(gold, predicted), low, high), len(gold), len(gold), others=others
    )


def r2(gold: Floats, predicted: Floats) -> float:
    """Return the coefficient of determination, as scikit-learn's `r2_score` does.

    0 where all true numbers are equal.
    """
    spread = float(((gold - gold.mean()) ** 2).sum())
    return 1 - float(((gold - predicted) ** 2).sum()) / spread if spread else 0.0

"""Scores and intervals are compared with plain counting and with scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    mean_absolute_error,
    precision_recall_fscore_support,
    r2_score,
)

from elmo_cli.downstream.baselines import majority, majority_by_word
from elmo_cli.downstream.control import control_ceiling, control_labels
from elmo_cli.downstream.evaluation import evaluate
from elmo_cli.downstream.metrics import (
    count_classes,
    count_right,
    count_stray,
    entity_counter,
    f_scores,
    is_bio,
)
from elmo_cli.downstream.statistics import RESAMPLES, resample
from elmo_cli.downstream.tag_schemes import convert_tags

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def numbers(text: str) -> np.ndarray:
    names = {"O": 0, "Bp": 1, "Ip": 2, "Bl": 3, "Il": 4}
    return np.array([names[name] for name in text.split()])


def test_accuracy_and_macro_f1_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    gold, predicted = random.integers(0, 5, (2, 200))
    predicted[predicted == 3] = 2  # never predicted
    sentences = np.repeat(np.arange(20), 10)
    assert f_scores(count_right(gold, predicted, sentences).sum(axis=0)) == pytest.approx(
        accuracy_score(gold, predicted)
    )
    expected = f1_score(gold, predicted, average="macro", zero_division=0)
    assert f_scores(count_classes(gold, predicted, sentences).sum(axis=0)) == pytest.approx(
        expected
    )


@pytest.mark.parametrize(
    ("gold", "predicted", "counts"),
    [
        ("Bp Ip O Bl", "Bp Ip O Bl", (2, 2, 2)),
        ("Bp Ip O Bl", "Bp O O Bl", (1, 2, 2)),  # too short
        ("Bp Ip O Bl", "Bl Il O Bl", (1, 2, 2)),  # of another type
        ("Bp Ip O Bl", "O Ip O Il", (0, 0, 2)),  # nothing begins
        ("Bp Ip O Bl", "Bp Il O Bl", (1, 2, 2)),  # I-LOC does not continue PER
        ("Bp Bp Ip Ip", "Bp Bp Ip O", (1, 2, 2)),
        ("Bp Ip Ip Bp", "Bp Ip Ip Ip", (0, 1, 2)),
    ],
)
def test_entities_are_counted_in_strict_iob2(gold: str, predicted: str, counts: tuple):
    counted = entity_counter(LABELS)(numbers(gold), numbers(predicted), np.zeros(4, int), None)
    assert tuple(counted[0, 0]) == counts


def test_an_entity_ends_with_its_sentence():
    gold = numbers("O Bp Ip Ip")
    counted = entity_counter(LABELS)(gold, gold, np.array([0, 0, 1, 1]), None)
    np.testing.assert_array_equal(counted[:, 0], [[1, 1, 1], [0, 0, 0]])
    assert count_stray(gold, np.array([0, 0, 1, 1]), LABELS) == 1


def test_entities_with_a_chosen_row_alone_are_counted():
    gold, chosen = numbers("Bp Ip O Bl"), np.array([False, True, False, False])
    assert tuple(entity_counter(LABELS)(gold, gold, np.zeros(4, int), chosen)[0, 0]) == (1, 1, 1)


def test_labels_are_iob2_if_all_are():
    assert is_bio(LABELS)
    assert not is_bio([*LABELS, "S-PER"])
    assert not is_bio(["O"])


def test_the_interval_covers_the_score_and_is_that_of_the_bootstrap():
    right = np.random.default_rng(1).random(2000) < 0.8
    counted = count_right(np.ones(2000, int), right.astype(int), np.arange(2000))
    found = resample(counted, 0)
    low, high = found.interval()[1:]
    assert len(found.resamples) == RESAMPLES
    half = 1.96 * np.sqrt(0.8 * 0.2 / 2000)
    assert low == pytest.approx(right.mean() - half, abs=0.003)
    assert high == pytest.approx(right.mean() + half, abs=0.003)


def test_differences_are_paired():
    first = np.random.default_rng(2).random(500) < 0.7
    second = first.copy()
    second[np.flatnonzero(~first)[:20]] = True  # 20 more are right, in other respects the same
    a, b = (
        resample(count_right(np.ones(500, int), of.astype(int), np.arange(500)), 0)
        for of in (second, first)
    )
    difference = a.minus(b)
    assert difference.score == pytest.approx(0.04)
    assert 0.02 < difference.low < 0.04 < difference.high < 0.06
    assert (
        resample(count_right(np.ones(500, int), first.astype(int), np.arange(500)), 0).interval()
        == b.interval()
    )


def test_baselines_know_labels_alone_and_words_alone():
    labels, words = np.array([0, 0, 1, 1, 1, 0]), np.array([0, 0, 0, 1, 2, 2])
    np.testing.assert_array_equal(majority(np.array([1, 1, 0]), 2), [1, 1])
    np.testing.assert_array_equal(majority_by_word(labels, words, np.array([0, 1, 3])), [0, 1, 0])


def test_the_control_task_labels_words_at_random_by_the_labels_distribution():
    labels = np.repeat([0, 1, 2], [700, 200, 100])
    control = control_labels(labels, 10_000, 0)
    np.testing.assert_allclose(np.bincount(control) / 10_000, [0.7, 0.2, 0.1], atol=0.02)
    np.testing.assert_array_equal(control, control_labels(labels, 10_000, 0))
    assert (
        control_ceiling(np.array([0, 1, 0, 1]), np.array([0, 0, 1]), np.array([0, 1, 2, 3])) == 0.75
    )


SPANS = {"P": "PER", "L": "LOC", "O": "ORG"}
GOLD = "BP IP O BL IL O|BO IO IO O BP|O O BL|BP BP IP O|BL IL BO|O O O O|BO BL IL IL|BP IP IP O BL"
PREDICTED = (
    "BP IP O BL O O|BO IO O O BP|BL O BL|BP IP IP O|BL IL BO|O BP O O|BL IL IL IL|BP IP IP BO BO"
)


def spell(text: str, scheme: str) -> list[list[str]]:
    """Return the tags of the sentences of a text such as "BP IP O|O"."""
    sentences = [
        ["O" if tag == "O" else f"{tag[0]}-{SPANS[tag[1]]}" for tag in one.split()]
        for one in text.split("|")
    ]
    return [convert_tags(tags, scheme) for tags in sentences]


@pytest.mark.parametrize("scheme", ["iob1", "iob2", "iobes"])
def test_scores_of_spans_are_those_that_seqeval_reports_in_strict_mode(scheme: str):
    """The figures are those of seqeval 1.2.2, `classification_report(mode="strict")`, for IOB2 and
    IOBES.
    """
    found = evaluate("tags", spell(GOLD, scheme), spell(PREDICTED, scheme), 0)
    assert found.interval.score == pytest.approx(4 / 9)
    assert [row[0] for row in found.by_label] == ["LOC", "ORG", "PER"]
    np.testing.assert_allclose(
        [row[1:] for row in found.by_label],
        [[0.4, 0.4, 0.4, 5], [0.25, 1 / 3, 2 / 7, 3], [0.6, 0.6, 0.6, 5]],
    )


def test_scores_of_sets_and_numbers_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    sides = [
        [tuple(f"t{i}" for i in range(5) if random.random() < 0.4) for _ in range(60)]
        for _ in range(2)
    ]
    matrices = [[[f"t{i}" in labels for i in range(5)] for labels in side] for side in sides]
    found = evaluate("label sets", *sides, 0)
    assert found.interval.score == pytest.approx(f1_score(*matrices, average="micro"))
    assert found.others["exact_match"] == pytest.approx(accuracy_score(*matrices))
    expected = precision_recall_fscore_support(*matrices)
    np.testing.assert_allclose([row[1:] for row in found.by_label], np.transpose(expected))
    gold = random.normal(size=50)
    predicted = gold + random.normal(size=50)
    found = evaluate("numbers", list(gold), list(predicted), 0)
    assert found.interval.score == pytest.approx(r2_score(gold, predicted))
    assert found.others["mean_absolute_error"] == pytest.approx(
        mean_absolute_error(gold, predicted)
    )

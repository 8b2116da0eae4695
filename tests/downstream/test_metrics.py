"""Scores and intervals against plain counting and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from elmo_cli.downstream.baselines import majority, majority_by_word
from elmo_cli.downstream.control import control_ceiling, control_labels
from elmo_cli.downstream.metrics import (
    count_classes,
    count_right,
    count_stray,
    entity_counter,
    f_scores,
    is_bio,
)
from elmo_cli.downstream.statistics import RESAMPLES, resample

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

"""The linear classifier of sentences: soft whitening, and the search for the l2 penalty."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from elmo_cli.downstream.examples import NUMBERS, SENTENCES
from elmo_cli.downstream.penalty_search import PENALTIES, PenaltySearch
from elmo_cli.downstream.sentence_head import SentenceHead
from elmo_cli.downstream.soft_whitening import fit_soft_whitening


def standardised(n_rows: int, dim: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    rows = torch.randn(n_rows, dim, generator=random) @ torch.randn(dim, dim, generator=random)
    return (rows - rows.mean(dim=0)) / rows.std(dim=0, correction=0)


@pytest.mark.parametrize(("n_rows", "dim"), [(60, 12), (12, 60)])
def test_whitened_components_are_uncorrelated_and_unfold_to_the_same_outputs(n_rows: int, dim: int):
    rows = standardised(n_rows, dim)
    whitening = fit_soft_whitening(rows)
    components = whitening.apply_in_place(rows.clone())
    covariance = components.T @ components / n_rows
    np.testing.assert_allclose(covariance - covariance.diagonal().diag(), 0, atol=1e-4)
    assert covariance.trace() / dim == pytest.approx(1, rel=1e-3)
    weight = torch.randn(3, components.shape[1])
    np.testing.assert_allclose(rows @ whitening.unfold(weight).T, components @ weight.T, atol=1e-3)


def test_equal_vectors_are_whitened_to_zeros():
    rows = torch.zeros(5, 4)
    assert fit_soft_whitening(rows).apply_in_place(rows).abs().sum() == 0


def make_rows(n_rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return vectors, and linear functions of them."""
    random = np.random.default_rng(1)
    rows = torch.from_numpy(random.normal(size=(n_rows, 8)).astype(np.float32))
    return rows, rows @ torch.from_numpy(random.normal(size=(8, 3)).astype(np.float32))


def make_search(n_rows: int, n_train: int, task: str = SENTENCES) -> PenaltySearch:
    rows, outputs = make_rows(n_rows)
    targets = outputs[:, :1] * 7 + 1900 if task == NUMBERS else outputs.argmax(dim=1)
    held_out = targets[n_train:]

    def score(found: torch.Tensor) -> float:
        if task == NUMBERS:
            return -float((found - held_out).square().mean())
        return float((found.argmax(dim=1) == held_out).float().mean())

    head = SentenceHead(task, 8, 1 if task == NUMBERS else 3)
    return PenaltySearch(head, rows, targets, n_train, score, None, n_rows)


def test_the_search_ends_after_two_worse_penalties_and_keeps_the_best():
    search = make_search(300, 200)
    steps = list(search.run())
    best = max(range(len(steps)), key=lambda i: (steps[i].score, -i))
    assert search.penalty == PENALTIES[best]
    assert len(steps) == min(best + 3, len(PENALTIES))
    assert steps[best].score > 0.85


def test_the_model_predicts_as_well_as_scikit_learn_from_raw_vectors():
    search = make_search(300, 200)
    raw, targets = make_rows(300)[0], search.targets
    list(search.run())
    theirs = LogisticRegression(max_iter=1000).fit(raw[:200], targets[:200])
    expected = theirs.score(raw[200:], targets[200:])
    with torch.no_grad():
        found = float((search.head(raw[200:]).argmax(dim=1) == targets[200:]).float().mean())
    assert found > expected - 0.05


def test_numbers_far_from_zero_are_learned():
    search = make_search(300, 200, NUMBERS)
    rows, outputs = make_rows(300)
    list(search.run())
    with torch.no_grad():
        assert (search.head(rows) - outputs[:, :1] * 7 - 1900).abs().mean() < 0.5

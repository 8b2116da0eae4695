"""The CRF is compared with the enumeration of all label sequences."""

import itertools

import pytest
import torch

from elmo_cli.downstream.crf import LinearChainCrf
from elmo_cli.downstream.tag_schemes import allowed_tags, find_invalid

LENGTHS = [4, 1, 3]
LABELS = {"iob2": ["B-X", "I-X", "O"], "iobes": ["B-X", "E-X", "I-X", "O", "S-X"]}


def make_crf(n_labels: int, allowed=None, seed: int = 0) -> LinearChainCrf:
    random = torch.Generator().manual_seed(seed)
    crf = LinearChainCrf(n_labels, allowed)
    for parameter in crf.parameters():
        parameter.data = torch.randn(parameter.shape, generator=random)
    return crf


def make_batch(n_labels: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    emissions = 2 * torch.randn(
        len(LENGTHS), max(LENGTHS), n_labels, generator=torch.Generator().manual_seed(seed)
    )
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    return emissions, mask


def score(crf: LinearChainCrf, emissions: torch.Tensor, labels: tuple[int, ...]) -> float:
    total = crf.start[labels[0]] + crf.end[labels[-1]]
    total = total + sum(crf.transitions[a, b] for a, b in itertools.pairwise(labels))
    return float((total + sum(emissions[i, label] for i, label in enumerate(labels))).detach())


def sequences(
    n_labels: int, length: int, names: list[str] | None = None, scheme: str = ""
) -> list[tuple[int, ...]]:
    found = itertools.product(range(n_labels), repeat=length)
    return [
        one
        for one in found
        if names is None or find_invalid([names[label] for label in one], scheme) is None
    ]


@pytest.mark.parametrize("scheme", [None, *LABELS])
def test_partition_likelihood_viterbi_and_marginals_equal_enumeration(scheme: str | None):
    names = LABELS[scheme] if scheme else None
    n = len(names) if names else 3
    crf = make_crf(n, allowed_tags(names, scheme) if names else None)
    emissions, mask = make_batch(n)
    partition, decoded, marginals = (
        crf.log_partition(emissions, mask),
        crf.decode(emissions, mask),
        crf.marginals(emissions, mask),
    )
    for i, length in enumerate(LENGTHS):
        every = sequences(n, length, names, scheme or "")
        scores = torch.tensor([score(crf, emissions[i], one) for one in every])
        torch.testing.assert_close(partition[i], torch.logsumexp(scores, 0))
        assert tuple(decoded[i, :length].tolist()) == every[int(scores.argmax())]
        chances = torch.softmax(scores, 0)
        expected = torch.zeros(max(LENGTHS), n)
        for one, chance in zip(every, chances, strict=True):
            for token, label in enumerate(one):
                expected[token, label] += chance
        torch.testing.assert_close(marginals[i], expected, atol=1e-5, rtol=1e-4)
        labels = torch.zeros(len(LENGTHS), max(LENGTHS), dtype=torch.long)
        labels[i, :length] = torch.tensor(every[0])
        if len(every) > 1:
            found = crf.log_likelihood(emissions, labels, mask)[i]
            torch.testing.assert_close(found, torch.log(chances[0]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("scheme", LABELS)
def test_no_invalid_sequence_is_decoded_however_strong_the_emissions(scheme: str):
    names = LABELS[scheme]
    crf = make_crf(len(names), allowed_tags(names, scheme))
    random = torch.Generator().manual_seed(3)
    emissions = 1e6 * torch.randn(300, 7, len(names), generator=random)
    mask = torch.arange(7) < torch.randint(1, 8, (300,), generator=random)[:, None]
    for labels, length in zip(
        crf.decode(emissions, mask).tolist(), mask.sum(1).tolist(), strict=True
    ):
        assert find_invalid([names[label] for label in labels[:length]], scheme) is None


def test_forbidden_transitions_leave_gradients_finite():
    names = LABELS["iobes"]
    crf = make_crf(len(names), allowed_tags(names, "iobes"))
    emissions, mask = make_batch(len(names))
    emissions.requires_grad_()
    labels = torch.full(mask.shape, names.index("O"))
    crf.log_likelihood(emissions, labels, mask).sum().backward()
    assert all(bool(one.grad.isfinite().all()) for one in [emissions, *crf.parameters()])


def test_padding_changes_nothing():
    crf = make_crf(4)
    emissions, _ = make_batch(4)
    alone = crf.log_partition(emissions[2:, :3], torch.ones(1, 3, dtype=torch.bool))
    torch.testing.assert_close(crf.log_partition(*make_batch(4))[2:], alone)
    assert crf.decode(*make_batch(4))[2, 3] == 0

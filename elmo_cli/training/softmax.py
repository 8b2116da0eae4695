"""Cross entropy over all words or over log-uniform samples, with an explicit gradient.

Candidates are shared by a window. The logarithm of its expected count is subtracted from every
logit (Jean et al. 2015), which makes the sampled softmax an estimate of the full one; the full one
has every word as a candidate. Rows are processed in slices whose probabilities stay in the CPU's
cache.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

BLOCK_LOGITS = 1 << 20  # rows times candidates of a slice; fits the cache in bfloat16


class Softmax(nn.Module):
    """Output layer that both directions share.

    Args:
        n_words: Size of the vocabulary.
        dim: Dimension of the input.
    """

    def __init__(self, n_words: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_words, dim))
        self.bias = nn.Parameter(torch.empty(n_words))


class Candidates(NamedTuple):
    """Words that the softmax is computed over."""

    words: Tensor  # (candidate,) int64, distinct
    log_expected: Tensor  # (word,): log of the probability that a word is a candidate


def all_words(n_words: int) -> Candidates:
    """Return every word as a candidate, for the full softmax."""
    return Candidates(torch.arange(n_words), torch.zeros(n_words))


def log_uniform_words(n_words: int, tries: int, generator: torch.Generator) -> Tensor:
    """Return the distinct words of draws with P(k) = log((k + 2) / (k + 1)) / log(n_words + 1).

    Args:
        n_words: Size of the vocabulary, sorted by descending frequency.
        tries: Number of draws.
        generator: Source of the random numbers.

    Returns:
        (candidate,) int64
    """
    drawn = (
        torch.rand(tries, generator=generator, dtype=torch.float64)
        .mul_(math.log(n_words + 1))
        .exp_()
        .long()
        - 1
    )
    words: Tensor = torch.unique(drawn.clamp_(max=n_words - 1))
    return words


def log_expected_counts(n_words: int, tries: int) -> Tensor:
    """Return the log of the probability that a word is among the distinct words of the draws.

    Args:
        n_words: Size of the vocabulary.
        tries: Number of draws.

    Returns:
        (word,) float32
    """
    k = torch.arange(n_words, dtype=torch.float64)
    chance = torch.log1p(1 / (k + 1)) / math.log(n_words + 1)
    return torch.log(-torch.expm1(tries * torch.log1p(-chance))).float()


def cross_entropy(
    hidden: Tensor, targets: Tensor, softmax: Softmax, candidates: Candidates, dtype: torch.dtype
) -> Tensor:
    """Return the mean loss in nats.

    Args:
        hidden: Outputs of the network, (row, dim).
        targets: Words, (row,) int64.
        softmax: The output layer.
        candidates: Words that the softmax is computed over.
        dtype: Type of the products.
    """
    loss: Tensor = _CrossEntropy.apply(
        hidden, targets, softmax.weight, softmax.bias, candidates, dtype
    )  # type: ignore[no-untyped-call]
    return loss


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        targets: Tensor,
        weight: Tensor,
        bias: Tensor,
        candidates: Candidates,
        dtype: torch.dtype,
    ) -> Tensor:
        words, log_expected = candidates
        h, offsets = hidden.to(dtype), bias - log_expected
        w, w_true = weight[words].to(dtype), weight[targets].to(dtype)
        logits_true = (h * w_true).sum(-1) + offsets[targets]
        positions = torch.arange(len(words), device=h.device)
        hits = torch.full((len(weight),), -1, device=h.device).index_copy_(0, words, positions)[
            targets
        ]
        d_hidden, d_w = torch.empty_like(h), weight.new_zeros(w.shape)
        d_bias, p_true = weight.new_zeros(len(w)), weight.new_empty(len(h))
        n_rows = min(len(h), max(1, BLOCK_LOGITS // len(words)))
        buffer, ones = h.new_empty(n_rows, len(w) + 1), h.new_ones(1, n_rows)
        for start in range(0, len(h), n_rows):
            part = slice(start, min(start + n_rows, len(h)))
            logits = buffer[: part.stop - start]
            torch.addmm(offsets[words].to(dtype), h[part], w.T, out=logits[:, :-1])
            _mask_targets(logits, hits[part])
            logits[:, -1] = logits_true[part]
            p = logits.softmax(-1)
            p_true[part] = p[:, -1]
            d_hidden[part] = p[:, :-1] @ w
            d_w += p[:, :-1].T @ h[part]
            d_bias += (ones[:, : len(p)] @ p[:, :-1])[0]
        d_true = p_true - 1
        d_hidden += d_true[:, None] * w_true
        ctx.scale = 1 / len(h)
        ctx.save_for_backward(
            d_hidden,
            targets,
            words,
            d_w,
            d_bias,
            (d_true[:, None] * h).to(weight.dtype),
            d_true,
            weight,
        )
        return -p_true.log().mean()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        d_hidden, targets, words, d_w, d_bias, d_w_true, d_true, weight = ctx.saved_tensors
        scale = float(upstream) * ctx.scale
        d_weight = (
            torch.zeros_like(weight).index_copy_(0, words, d_w).index_add_(0, targets, d_w_true)
        )
        d_all_bias = (
            weight.new_zeros(len(weight))
            .index_copy_(0, words, d_bias)
            .index_add_(0, targets, d_true)
        )
        return d_hidden * scale, None, d_weight.mul_(scale), d_all_bias.mul_(scale), None, None


def _mask_targets(logits: Tensor, hits: Tensor) -> None:
    """Exclude candidates that are the row's own target."""
    rows = (hits >= 0).nonzero()[:, 0]
    logits[rows, hits[rows]] = -torch.inf

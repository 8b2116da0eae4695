"""Linear-chain conditional random field over padded batches (Lafferty et al. 2001).

Transitions can be forbidden.
"""

from typing import cast

import torch
from torch import Tensor, nn

from elmo_cli.downstream.tag_schemes import AllowedTags

FORBIDDEN = -1e4  # added to a score in training: exp of it is 0, and gradients stay finite


class LinearChainCrf(nn.Module):
    """Scores of label sequences: emissions, transitions, first and last labels.

    Sentences are padded at their end: `mask` (sentence, token) bool is False there, and True for
    each first token.

    Args:
        n_labels: Number of labels.
        allowed: Which labels may begin, follow one another and end; None: all of them.
        trainable: Whether scores of transitions are learned; otherwise they are 0, and only
            `allowed` counts.
    """

    def __init__(
        self, n_labels: int, allowed: AllowedTags | None = None, *, trainable: bool = True
    ) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(n_labels), requires_grad=trainable)
        # Scores of transitions, (label, next label)
        self.transitions = nn.Parameter(torch.zeros(n_labels, n_labels), requires_grad=trainable)
        self.end = nn.Parameter(torch.zeros(n_labels), requires_grad=trainable)
        masks = allowed or (True, True, True)
        for name, mask in zip(("start", "transitions", "end"), masks, strict=True):
            forbidden = ~torch.as_tensor(mask).expand_as(self.get_parameter(name))
            self.register_buffer(f"no_{name}", forbidden, persistent=False)

    def log_likelihood(self, emissions: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """Return the log-likelihood of the labels of each sentence, (sentence,).

        Args:
            emissions: (sentence, token, label) float.
            labels: (sentence, token) int64; any label where the mask is False.
            mask: (sentence, token) bool.
        """
        return self._score(emissions, labels, mask) - self.log_partition(emissions, mask)

    def log_partition(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """Return the log partition function, (sentence,).

        It is the log-sum-exp of the scores of all label sequences.
        """
        start, transitions, end = self._scores(FORBIDDEN)
        alpha = start + emissions[:, 0]  # (sentence, label)
        for step in range(1, emissions.shape[1]):
            following = torch.logsumexp(alpha[:, :, None] + transitions, dim=1) + emissions[:, step]
            alpha = torch.where(mask[:, step, None], following, alpha)
        return torch.logsumexp(alpha + end, dim=1)

    @torch.no_grad()
    def decode(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """Return the best allowed labels (Viterbi), (sentence, token) int64.

        0 where the mask is False.

        Args:
            emissions: (sentence, token, label) float.
            mask: (sentence, token) bool.
        """
        start, transitions, end = self._scores(-torch.inf)
        best, pointers = start + emissions[:, 0], []
        same = torch.arange(emissions.shape[2], device=emissions.device)
        for step in range(1, emissions.shape[1]):
            scores, previous = (best[:, :, None] + transitions).max(dim=1)
            goes_on = mask[:, step, None]
            best = torch.where(goes_on, scores + emissions[:, step], best)
            pointers.append(torch.where(goes_on, previous, same))
        labels = [(best + end).argmax(dim=1)]
        for previous in reversed(pointers):
            labels.append(previous.gather(1, labels[-1][:, None])[:, 0])
        return torch.stack(labels[::-1], dim=1) * mask

    def marginals(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """Return the probability of each label at each token, (sentence, token, label).

        0 where the mask is False.

        They are the gradient of the log-partition by the emissions.
        """
        with torch.enable_grad():
            emissions = emissions.detach().requires_grad_()
            total = self.log_partition(emissions, mask).sum()
            return torch.autograd.grad(total, emissions)[0]

    def _score(self, emissions: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        start, transitions, end = self._scores(FORBIDDEN)
        emitted = emissions.gather(2, labels[:, :, None])[:, :, 0]
        passed = transitions[labels[:, :-1], labels[:, 1:]]
        last = labels.gather(1, mask.sum(dim=1, keepdim=True) - 1)[:, 0]
        inner = (emitted * mask).sum(dim=1) + (passed * mask[:, 1:]).sum(dim=1)
        return start[labels[:, 0]] + inner + end[last]

    def _scores(self, forbidden: float) -> list[Tensor]:
        """Return the scores of starts, transitions and ends, `forbidden` where not allowed."""
        names = ("start", "transitions", "end")
        return [
            self.get_parameter(name).masked_fill(
                cast("Tensor", getattr(self, f"no_{name}")), forbidden
            )
            for name in names
        ]

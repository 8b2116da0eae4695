"""Token classifiers on the layers of a biLM: linear, CRF, and BiLSTM-CRF."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pad_sequence

from elmo_cli.downstream.crf import LinearChainCrf
from elmo_cli.downstream.tag_schemes import allowed_tags

LINEAR, CRF, LSTM_CRF = HEADS = ("linear", "crf", "lstm-crf")
LEARNED, BESIDE = MIXES = ("learned", "concat")
LSTM_DIM = 100  # of each direction
DROPOUT = 0.5  # under and above the BiLSTM


@dataclass(frozen=True)
class TokenHeadConfig:
    """Architecture of a classifier of tokens.

    Args:
        head: One of HEADS.
        mix: "learned" for a weighted sum of the layers, "concat" for their concatenation.
        n_layers: Number of layers.
        dim: Width of a layer.
        labels: The labels, in order.
        scheme: Tag scheme of the labels, whose invalid sequences are never predicted; None for
            other labels.
    """

    head: str
    mix: str
    n_layers: int
    dim: int
    labels: tuple[str, ...]
    scheme: str | None = None


class LayerInput(nn.Module):
    """Standardisation of each dimension, then mix or concatenation of the layers."""

    def __init__(self, n_layers: int, dim: int, mix: str) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_layers, dim))
        self.register_buffer("deviation", torch.ones(n_layers, dim))
        self.mix = nn.Parameter(torch.zeros(n_layers)) if mix == LEARNED else None
        self.gamma = nn.Parameter(torch.ones(1)) if mix == LEARNED else None
        self.output_dim = dim if mix == LEARNED else n_layers * dim

    def forward(self, layers: Tensor) -> Tensor:
        """(layer, token, dim) → (token, output_dim)."""
        mean, deviation = cast("Tensor", self.mean), cast("Tensor", self.deviation)
        if self.mix is None or self.gamma is None:
            rows = (layers - mean[:, None]) / deviation[:, None]
            return rows.transpose(0, 1).flatten(1)
        scales = self.gamma * torch.softmax(self.mix, 0)[:, None] / deviation  # (layer, dim)
        mixed = -(scales * mean).sum(dim=0)
        # Layer by layer, so that there is no standardised copy of all layers
        for layer, scale in zip(layers, scales, strict=True):
            mixed = torch.addcmul(mixed, layer, scale)
        return mixed


class TokenHead(nn.Module):
    """A classifier of tokens.

    Sentences are ragged: their tokens one after another, and their lengths.
    """

    def __init__(self, config: TokenHeadConfig) -> None:
        super().__init__()
        self.config = config
        n_labels = len(config.labels)
        allowed = allowed_tags(config.labels, config.scheme) if config.scheme else None
        self.input = LayerInput(config.n_layers, config.dim, config.mix)
        width = self.input.output_dim
        self.lstm = (
            nn.LSTM(width, LSTM_DIM, batch_first=True, bidirectional=True)
            if config.head == LSTM_CRF
            else None
        )
        self.emit = nn.Linear(2 * LSTM_DIM if self.lstm else width, n_labels)
        if not self.lstm:
            nn.init.normal_(self.emit.weight, std=0.01)
            nn.init.zeros_(self.emit.bias)
        has_crf = config.head != LINEAR
        self.crf = (
            LinearChainCrf(n_labels, allowed, trainable=has_crf)
            if has_crf or config.scheme
            else None
        )

    def loss(
        self, layers: Tensor, lengths: Sequence[int], labels: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Return the loss of a batch, averaged over tokens.

        It is the cross-entropy of a token, or the negative log-likelihood of a sentence.

        Args:
            layers: (layer, token, dim) float32.
            lengths: Tokens of each sentence.
            labels: (token,) int64.
            weights: (label,) float32, of a linear head's labels; None: all 1.
        """
        emissions = self.emissions(layers, lengths)
        if self.config.head == LINEAR or self.crf is None:
            return functional.cross_entropy(emissions, labels, weights)
        padded, mask = _pad(emissions, lengths)
        log_likelihood = self.crf.log_likelihood(padded, _pad(labels, lengths)[0], mask)
        return -log_likelihood.sum() / len(labels)

    def emissions(self, layers: Tensor, lengths: Sequence[int]) -> Tensor:
        """Return the scores of the labels at each token, (token, label), without those of the CRF.

        Args:
            layers: (layer, token, dim) float32.
            lengths: Tokens of each sentence.
        """
        rows: Tensor = self.input(layers)
        if self.lstm is not None:
            rows = functional.dropout(rows, DROPOUT, self.training)
            order, batch_sizes = _packed_order(lengths)
            packed = PackedSequence(rows[order], batch_sizes)
            output = self.lstm(packed)[0].data[torch.argsort(order)]
            rows = functional.dropout(output, DROPOUT, self.training)
        emissions: Tensor = self.emit(rows)
        return emissions

    @torch.no_grad()
    def decode(self, emissions: Tensor, lengths: Sequence[int]) -> Tensor:
        """Return the best labels that the tag scheme allows, (token,) int64."""
        if self.crf is None:
            return emissions.argmax(dim=-1)
        padded, mask = _pad(emissions, lengths)
        return self.crf.decode(padded, mask)[mask]

    @torch.no_grad()
    def probabilities(self, emissions: Tensor, lengths: Sequence[int]) -> Tensor:
        """Return the probability of each label at each token, (token, label)."""
        if self.crf is None:
            return torch.softmax(emissions, dim=-1)
        padded, mask = _pad(emissions, lengths)
        return self.crf.marginals(padded, mask)[mask]


def _pad(rows: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """(token, ...) → (sentence, longest, ...), padded with 0, and the mask (sentence, longest)."""
    padded = pad_sequence(list(torch.split(rows, list(lengths))), batch_first=True)
    return padded, torch.arange(padded.shape[1]) < torch.tensor(lengths)[:, None]


def _packed_order(lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the order of tokens in a PackedSequence, (token,), and its batch sizes, (step,).

    All first tokens come first, those of longer sentences before others, then all second ones.
    """
    counts = np.asarray(lengths)
    starts = np.cumsum(counts) - counts
    longest = np.argsort(-counts, kind="stable")
    step = np.arange(counts.max())[:, None]
    exists = step < counts[longest]  # (step, sentence)
    order = (starts[longest] + step)[exists]
    return torch.from_numpy(order), torch.from_numpy(exists.sum(axis=1))

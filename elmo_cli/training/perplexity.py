"""Perplexity of a language model on text, with the full softmax in float32.

Sentences start from the zero state, or from the state after the previous sentence.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from elmo_cli.nn.characters import BOS, EOS
from elmo_cli.nn.type_cache import TypeCache
from elmo_cli.training.encoded_corpus import without_boundaries
from elmo_cli.training.language_model import Dropout, LanguageModel, run_direction
from elmo_cli.training.softmax import Softmax
from elmo_cli.training.vocabulary import UNKNOWN_ID

SECTION_TOKENS = 1 << 17  # tokens per layout, which bounds the memory
STREAMS, UNROLL = 64, 32
BLOCK_LOGITS = 1 << 24
NO_TARGET = -1  # after the end of a stream

Tokens = Sequence[str]


class Perplexity(NamedTuple):
    """Losses of a text, summed over its sentences, in nats.

    Attributes:
        sentences: Number of sentences.
        tokens: Number of tokens.
        unknown: Number of tokens outside the vocabulary, predicted as <UNK>.
        forward_loss: Loss of the forward direction.
        backward_loss: Loss of the backward direction.
    """

    sentences: int = 0
    tokens: int = 0
    unknown: int = 0
    forward_loss: float = 0.0
    backward_loss: float = 0.0

    def add(self, other: "Perplexity") -> "Perplexity":
        """Return the sums of two texts."""
        return Perplexity(
            self.sentences + other.sentences,
            self.tokens + other.tokens,
            self.unknown + other.unknown,
            self.forward_loss + other.forward_loss,
            self.backward_loss + other.backward_loss,
        )

    @property
    def forward(self) -> float:
        """Perplexity of the forward direction, sentence ends included."""
        return _perplexity(self.forward_loss, self.tokens + self.sentences)

    @property
    def backward(self) -> float:
        """Perplexity of the backward direction, sentence starts included."""
        return _perplexity(self.backward_loss, self.tokens + self.sentences)

    @property
    def average(self) -> float:
        """Perplexity of the mean loss of both directions."""
        return _perplexity(
            (self.forward_loss + self.backward_loss) / 2, self.tokens + self.sentences
        )

    @property
    def unknown_rate(self) -> float:
        """Share of the tokens that are outside the vocabulary."""
        return self.unknown / max(1, self.tokens)


class _Layout(NamedTuple):
    """Sentences as streams, for one direction; axes (step, row)."""

    rows: Tensor
    targets: Tensor
    reset: Tensor


@torch.no_grad()
def score_text(
    model: LanguageModel,
    vocabulary: Mapping[str, int],
    sentences: Iterable[Tokens],
    *,
    carried: bool,
) -> Perplexity:
    """Score sentences in order; the memory does not depend on their number.

    Args:
        model: The model.
        vocabulary: Index of each word of the softmax.
        sentences: Sentences, lists of tokens.
        carried: Whether a sentence starts from the state after the previous one.

    Returns:
        Losses of the text.
    """
    types = TypeCache(model.bilm)
    total = Perplexity()
    for section in _sections(sentences):
        losses = [
            _direction_loss(
                model, direction, _lay_out(section, direction, types, vocabulary), types, carried
            )
            for direction in (0, 1)
        ]
        unknown = sum(
            vocabulary.get(token, UNKNOWN_ID) == UNKNOWN_ID
            for tokens in section
            for token in tokens
        )
        total = total.add(Perplexity(len(section), sum(map(len, section)), unknown, *losses))
    return total


def _sections(sentences: Iterable[Tokens]) -> Iterator[list[Tokens]]:
    section: list[Tokens] = []
    n_tokens = 0
    for tokens in (without_boundaries(list(sentence)) for sentence in sentences):
        if tokens:
            section.append(tokens)
            n_tokens += len(tokens)
        if n_tokens >= SECTION_TOKENS:
            yield section
            section, n_tokens = [], 0
    if section:
        yield section


def _lay_out(
    sentences: Sequence[Tokens], direction: int, types: TypeCache, vocabulary: Mapping[str, int]
) -> _Layout:
    """Distribute complete sentences, in order, over streams of similar length."""
    share = sum(map(len, sentences)) / STREAMS
    opening, closing = (BOS, EOS) if direction == 0 else (EOS, BOS)
    inputs: list[list[str]] = [[]]
    targets: list[list[str]] = [[]]
    n_tokens = 0
    for sentence in sentences:
        if n_tokens >= share * len(inputs):
            inputs.append([])
            targets.append([])
        ordered = list(sentence) if direction == 0 else list(reversed(sentence))
        inputs[-1] += [opening, *ordered]
        targets[-1] += [*ordered, closing]
        n_tokens += len(sentence)
    longest = max(map(len, inputs))
    rows = torch.zeros(longest, len(inputs), dtype=torch.long)
    wanted = torch.full((longest, len(inputs)), NO_TARGET)
    lookup = dict(
        zip(
            words := list(dict.fromkeys(word for stream in inputs for word in stream)),
            types.lookup(words),
            strict=True,
        )
    )
    for column, (stream, predicted) in enumerate(zip(inputs, targets, strict=True)):
        rows[: len(stream), column] = torch.tensor([lookup[word] for word in stream])
        wanted[: len(stream), column] = torch.tensor(
            [vocabulary.get(word, UNKNOWN_ID) for word in predicted]
        )
    return _Layout(rows, wanted, rows == lookup[opening])


def _direction_loss(
    model: LanguageModel, direction: int, layout: _Layout, types: TypeCache, carried: bool
) -> float:
    device = types.vectors.device
    state, loss = model.bilm.zero_state(layout.rows.shape[1]), 0.0
    for start in range(0, len(layout.rows), UNROLL):
        rows, targets, reset = (part[start : start + UNROLL].to(device) for part in layout)
        inputs = functional.embedding(rows, types.vectors)
        hidden, end = run_direction(
            model.bilm,
            direction,
            inputs,
            state,
            None if carried else reset,
            inputs.dtype,
            Dropout(0, 0),
        )
        state.hidden[direction], state.cell[direction] = end
        loss += _sum_loss(hidden.flatten(0, 1), targets.flatten(), model.softmax)
    return loss


def _sum_loss(hidden: Tensor, targets: Tensor, softmax: Softmax) -> float:
    size = max(1, BLOCK_LOGITS // len(softmax.weight))
    loss = 0.0
    for h, wanted in zip(torch.split(hidden, size), torch.split(targets, size), strict=True):
        logits = functional.linear(h, softmax.weight, softmax.bias)
        loss += float(
            functional.cross_entropy(logits, wanted, ignore_index=NO_TARGET, reduction="sum")
        )
    return loss


def _perplexity(loss: float, n_predicted: int) -> float:
    mean = loss / max(1, n_predicted)
    return math.exp(mean) if mean < 700 else math.inf

"""The character CNN over the distinct words of a window, for training.

All filters are one matrix product over windows of the widest filter. Words are sorted by length and cut right behind their end: from
there on every window is all padding and equals the last one kept, so the maximum is exact.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from elmo_cli.nn.bilm import CharacterEncoder

GROUPS = 8  # of words of like length
POSITION_BITS = 16  # what bfloat16 leaves free of a float


def encode_words(encoder: CharacterEncoder, characters: Tensor, lengths: Tensor, dtype: torch.dtype) -> Tensor:
    """Token vectors (word, projection_dim) of words sorted by length.

    characters (word, max_characters + widest - 1) int are `CharacterMapper` rows, padded on; lengths (word,) count both markers.
    """
    weights = [(cast("Tensor", convolution.weight), cast("Tensor", convolution.bias)) for convolution in encoder.convolutions]
    filters = [weight.permute(2, 1, 0) for weight, _ in weights]  # (width, dim, number)
    biases = torch.cat([bias for _, bias in weights])
    with torch.autocast(characters.device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        x = encoder.activation(max_over_time(characters, lengths, encoder.characters.weight, filters, dtype) + biases.to(dtype))
        for highway in encoder.highways:
            x = highway(x)
        return encoder.projection(x)  # type: ignore[no-any-return]  # nn.Module calls are untyped


def max_over_time(characters: Tensor, lengths: Tensor, embedding: Tensor, filters: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """Maximum of every convolution over time, before bias and activation: (word, all numbers)."""
    widths = [len(f) for f in filters]
    max_characters = characters.shape[1] - max(widths) + 1
    matrix, table = _joined(filters).to(dtype), embedding.to(dtype)
    outside = _outside(widths, [f.shape[-1] for f in filters], max_characters).to(characters.device)
    maxima = []
    for rows, ends in zip(characters.chunk(GROUPS), lengths.chunk(GROUPS), strict=True):
        positions = min(int(ends[-1]) + 1, max_characters)
        windows = rows[:, : positions + max(widths) - 1].unfold(1, max(widths), 1)
        products = (functional.embedding(windows, table).flatten(2).flatten(0, 1) @ matrix).view(len(rows), positions, -1)
        if positions > max_characters - max(widths) + 1:
            products = products.masked_fill(outside[:positions], torch.finfo(dtype).min)  # an infinity with a tag would be a NaN
        maxima.append(_MaxOverTime.apply(products))  # type: ignore[no-untyped-call]
    return torch.cat(maxima)


def _joined(filters: Sequence[Tensor]) -> Tensor:
    """Filters (width, dim, number) as one matrix (widest * dim, all numbers), zeros behind the narrow ones."""
    widest = max(len(f) for f in filters)
    return torch.cat([functional.pad(f, (0, 0, 0, 0, 0, widest - len(f))) for f in filters], -1).flatten(0, 1)


def _outside(widths: Sequence[int], numbers: Sequence[int], max_characters: int) -> Tensor:
    """(max_characters, all numbers): where a window would reach beyond the characters a word has."""
    last = torch.tensor([max_characters - w for w in widths]).repeat_interleave(torch.tensor(numbers))
    return torch.arange(max_characters)[:, None] > last


class _MaxOverTime(torch.autograd.Function):
    """Maximum over axis 1 of (word, position, channel); the gradient goes to one position, as torch.max's does.

    torch.max with indices is not vectorised: the position travels in the bits of a float that a bfloat16 leaves free.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.shape = values.shape
        if values.dtype != torch.bfloat16:
            maxima, ctx.where = values.max(1)
            return maxima
        tagged = values.float()
        tagged.view(torch.int32).bitwise_or_(torch.arange(values.shape[1], dtype=torch.int32, device=values.device)[:, None])
        best = tagged.amax(1).view(torch.int32)
        ctx.where = (best & ((1 << POSITION_BITS) - 1)).long()
        return best.bitwise_and_(-(1 << POSITION_BITS)).view(torch.float32).bfloat16()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.new_zeros(ctx.shape).scatter_(1, ctx.where[:, None], gradient[:, None])

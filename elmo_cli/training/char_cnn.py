"""Character CNN over the distinct words of a window, for training.

All convolutions are one matrix product over windows of the widest filter. Words are sorted by
length, and positions after their end are omitted: windows there contain only padding and equal the
last one that is computed, so that the maximum is exact.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from elmo_cli.nn.token_encoders import CharacterEncoder

GROUPS = 8  # of words of similar length
POSITION_BITS = 16  # bits of a float that are zero after a bfloat16


def encode_words(
    encoder: CharacterEncoder, characters: Tensor, lengths: Tensor, dtype: torch.dtype
) -> Tensor:
    """Encode words that are sorted by length.

    Args:
        encoder: The encoder.
        characters: `CharacterMapper` rows, padded on the right, (word, max_characters + widest - 1)
            int.
        lengths: Length of each word with both markers, (word,).
        dtype: Type of the products, float32 or bfloat16.

    Returns:
        Token vectors, (word, projection_dim).
    """
    weights = [
        (cast("Tensor", convolution.weight), cast("Tensor", convolution.bias))
        for convolution in encoder.convolutions
    ]
    filters = [weight.permute(2, 1, 0) for weight, _ in weights]  # (width, dim, number)
    biases = torch.cat([bias for _, bias in weights])
    with torch.autocast(
        characters.device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16
    ):
        x = encoder.activation(
            max_over_time(characters, lengths, encoder.characters.weight, filters, dtype)
            + biases.to(dtype)
        )
        for highway in encoder.highways:
            x = highway(x)
        return encoder.projection(x)  # type: ignore[no-any-return]  # nn.Module calls are untyped


def max_over_time(
    characters: Tensor,
    lengths: Tensor,
    embedding: Tensor,
    filters: Sequence[Tensor],
    dtype: torch.dtype,
) -> Tensor:
    """Return the maximum of every filter over time, before bias and activation.

    Args:
        characters: `CharacterMapper` rows, padded on the right, (word, max_characters + widest - 1)
            int.
        lengths: Length of each word with both markers, (word,), ascending.
        embedding: Character table, (character, dim).
        filters: Filters of each width, (width, dim, number).
        dtype: Type of the products.

    Returns:
        (word, all filters), of `dtype`.
    """
    widths = [len(f) for f in filters]
    max_characters = characters.shape[1] - max(widths) + 1
    matrix, table = _joined(filters).to(dtype), embedding.to(dtype)
    outside = _outside(widths, [f.shape[-1] for f in filters], max_characters).to(characters.device)
    maxima = []
    for rows, ends in zip(characters.chunk(GROUPS), lengths.chunk(GROUPS), strict=True):
        positions = min(int(ends[-1]) + 1, max_characters)
        windows = rows[:, : positions + max(widths) - 1].unfold(1, max(widths), 1)
        products = (functional.embedding(windows, table).flatten(2).flatten(0, 1) @ matrix).view(
            len(rows), positions, -1
        )
        if positions > max_characters - max(widths) + 1:
            # Not -inf: with position bits it would be NaN
            products = products.masked_fill(outside[:positions], torch.finfo(dtype).min)
        maxima.append(_MaxOverTime.apply(products))  # type: ignore[no-untyped-call]
    return torch.cat(maxima)


def _joined(filters: Sequence[Tensor]) -> Tensor:
    """Return all filters as one matrix (widest * dim, all filters), padded with zeros."""
    widest = max(len(f) for f in filters)
    return torch.cat(
        [functional.pad(f, (0, 0, 0, 0, 0, widest - len(f))) for f in filters], -1
    ).flatten(0, 1)


def _outside(widths: Sequence[int], numbers: Sequence[int], max_characters: int) -> Tensor:
    """Return where a window extends beyond the characters, (max_characters, all filters) bool."""
    last = torch.tensor([max_characters - w for w in widths]).repeat_interleave(
        torch.tensor(numbers)
    )
    return torch.arange(max_characters)[:, None] > last


class _MaxOverTime(torch.autograd.Function):
    """Maximum over axis 1 of (word, position, channel), with a gradient for one position.

    torch.max with indices is not vectorised: here, the position is stored in the bits of a float
    that are zero after conversion from bfloat16.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.shape = values.shape
        if values.dtype != torch.bfloat16:
            maxima, ctx.where = values.max(1)
            return maxima
        tagged = values.float()
        tagged.view(torch.int32).bitwise_or_(
            torch.arange(values.shape[1], dtype=torch.int32, device=values.device)[:, None]
        )
        best = tagged.amax(1).view(torch.int32)
        ctx.where = (best & ((1 << POSITION_BITS) - 1)).long()
        return best.bitwise_and_(-(1 << POSITION_BITS)).view(torch.float32).bfloat16()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.new_zeros(ctx.shape).scatter_(1, ctx.where[:, None], gradient[:, None])

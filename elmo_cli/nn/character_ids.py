"""Conversion of padded character ids to ragged sentences of distinct word types."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from elmo_cli.nn.bilm import BiLM
from elmo_cli.nn.characters import N_CHARACTERS


class TypedBatch(NamedTuple):
    """Sentences with their boundaries, one after another, as rows of word types.

    Attributes:
        type_ids: Character ids of the word types, (type, characters) int64, on the CPU.
        token_to_type: Row of `type_ids` of each position, (position,) int64.
        lengths: Number of positions of each sentence, with the two boundaries.
        rows: Index of each position in the flattened padded batch with boundaries, (position,)
            int64.
        is_token: Whether a position is not a boundary, (position,) bool.
    """

    type_ids: Tensor
    token_to_type: Tensor
    lengths: list[int]
    rows: Tensor
    is_token: Tensor


def find_types(bilm: BiLM, ids: Tensor) -> TypedBatch:
    """Find the distinct words of a batch.

    Args:
        bilm: Network that will read them.
        ids: Character ids, (sentence, token, characters) of integers, with rows of zeros after the
            end of a sentence.

    Returns:
        The sentences with boundaries, as rows of the distinct words.

    Raises:
        ValueError: An id is not in the character table, or a row of zeros precedes a token.
    """
    values = ids.detach().to(device="cpu").numpy()
    if values.size and not 0 <= values.min() <= values.max() <= N_CHARACTERS:
        raise ValueError(
            f"character ids lie between 0 and {N_CHARACTERS}; make them with "
            "elmo_cli.batch_to_ids(sentences)"
        )
    is_real = (values > 0).any(axis=-1)
    n_tokens = is_real.sum(axis=1)
    if not (is_real == (np.arange(ids.shape[1]) < n_tokens[:, None])).all():
        raise ValueError("a row of zeros (padding) precedes a token; pad sentences at their end")
    boundaries = bilm.mapper.tokens_to_ids([bilm.mapper.bos, bilm.mapper.eos]).numpy()
    words = np.ascontiguousarray(np.concatenate([boundaries, values[is_real]]).astype(np.int16))
    as_bytes = words.view(np.dtype((np.void, words.shape[1] * words.itemsize)))[:, 0]
    _, first, word_to_type = np.unique(as_bytes, return_index=True, return_inverse=True)
    lengths, steps = n_tokens + 2, np.arange(ids.shape[1] + 2)
    sentence, step = np.nonzero(steps < lengths[:, None])
    is_last = step == lengths[sentence] - 1
    is_token = (step > 0) & ~is_last
    token_to_type = np.where(is_last, word_to_type[1], word_to_type[0])
    token_to_type[is_token] = word_to_type[2:]
    return TypedBatch(
        torch.from_numpy(words[first].astype(np.int64)),
        torch.from_numpy(token_to_type),
        lengths.tolist(),
        torch.from_numpy(sentence * len(steps) + step),
        torch.from_numpy(is_token),
    )

"""A padded batch of character ids as ragged sentences of word types, each distinct word listed once."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from elmo_cli.nn.bilm import BiLM
from elmo_cli.nn.characters import N_CHARACTERS


class TypedBatch(NamedTuple):
    """Sentences with their boundaries, one after another, each token given by the row of its word type."""

    type_ids: Tensor  # (type, characters) int64, on the CPU
    places: Tensor  # (position,) int64, rows of `type_ids`
    lengths: list[int]  # (sentence,) positions of each, the two boundaries included
    rows: Tensor  # (position,) int64: where it lies in a padded batch with boundaries, flattened
    is_token: Tensor  # (position,) bool: False for the two boundaries


def find_types(bilm: BiLM, ids: Tensor) -> TypedBatch:
    """Find the distinct words of a batch.

    Args:
        bilm: The network that will read them.
        ids: (sentence, token, characters) of whole numbers, rows of zeros behind the end of a sentence.

    Raises:
        ValueError: An id is not one of the character table, or a row of zeros stands before a token.
    """
    values = ids.detach().to(device="cpu").numpy()
    if values.size and not 0 <= values.min() <= values.max() <= N_CHARACTERS:
        raise ValueError(f"character ids lie between 0 and {N_CHARACTERS}; make them with elmo_cli.batch_to_ids(sentences)")
    is_real = (values > 0).any(axis=-1)
    n_tokens = is_real.sum(axis=1)
    if not (is_real == (np.arange(ids.shape[1]) < n_tokens[:, None])).all():
        raise ValueError("a row of zeros (padding) stands before a token; pad sentences at their end")
    boundaries = bilm.mapper.tokens_to_ids([bilm.mapper.bos, bilm.mapper.eos]).numpy()
    words = np.ascontiguousarray(np.concatenate([boundaries, values[is_real]]).astype(np.int16))
    as_bytes = words.view(np.dtype((np.void, words.shape[1] * words.itemsize)))[:, 0]
    _, first, of_word = np.unique(as_bytes, return_index=True, return_inverse=True)
    lengths, steps = n_tokens + 2, np.arange(ids.shape[1] + 2)
    sentence, step = np.nonzero(steps < lengths[:, None])
    is_last = step == lengths[sentence] - 1
    is_token = (step > 0) & ~is_last
    places = np.where(is_last, of_word[1], of_word[0])
    places[is_token] = of_word[2:]
    return TypedBatch(
        torch.from_numpy(words[first].astype(np.int64)),
        torch.from_numpy(places),
        lengths.tolist(),
        torch.from_numpy(sentence * len(steps) + step),
        torch.from_numpy(is_token),
    )

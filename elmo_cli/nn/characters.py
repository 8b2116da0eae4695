"""Tokens as rows of character ids: UTF-8 bytes between word markers, as bilm-tf and AllenNLP encode them.

A row is [BEGIN_WORD, byte + 1, ..., END_WORD, PADDING, ...]; ids are one higher than in the weight file, so that 0 is free for
masked positions. A token longer than the window loses the bytes that do not fit, even in the middle of a code point.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

N_CHARACTERS = 261  # rows of the published table: 256 bytes and the five markers below
BEGIN_SENTENCE, END_SENTENCE, BEGIN_WORD, END_WORD, PADDING = range(257, 262)
BOS, EOS = "<S>", "</S>"  # tokens that stand for the sentence boundaries, in running text too
DEFAULT_MAX_CHARACTERS = 50  # AllenNLP hard-codes it; other models say so in max_characters_per_token


class TokenMapper(Protocol):
    """What turns tokens into the ids that a token encoder reads."""

    bos: str  # the tokens that stand for the sentence boundaries
    eos: str
    unit: str  # of what a token is cut to: "bytes" or "characters"

    def tokens_to_ids(self, tokens: Sequence[str]) -> Tensor:
        """Ids of a list of tokens, a row each, (token, ids) int64."""

    def is_truncated(self, token: str) -> bool:
        """Whether the token holds more than the encoder reads of it."""


class CharacterMapper:
    """Turns tokens into character ids for one window width, `max_characters` (word markers included)."""

    bos, eos, unit = BOS, EOS, "bytes"

    def __init__(self, max_characters: int = DEFAULT_MAX_CHARACTERS) -> None:
        self.max_characters = max_characters

    def token_ids(self, token: str) -> npt.NDArray[np.int64]:
        """Character ids of one token, (max_characters,) int64."""
        row = np.full(self.max_characters, PADDING, dtype=np.int64)
        inside = self._inside(token)
        row[0] = BEGIN_WORD
        row[1 : 1 + len(inside)] = inside
        row[1 + len(inside)] = END_WORD
        return row

    def tokens_to_ids(self, tokens: Sequence[str]) -> Tensor:
        """Character ids of a list of tokens, (token, max_characters) int64."""
        if not tokens:
            return torch.empty(0, self.max_characters, dtype=torch.long)
        return torch.from_numpy(np.stack([self.token_ids(token) for token in tokens]))

    def batch_to_ids(self, batch: Sequence[Sequence[str]]) -> Tensor:
        """Character ids of a batch of sentences, (sentence, longest, max_characters) int64; shorter sentences end in rows of 0."""
        longest = max(map(len, batch), default=0)
        ids = torch.zeros(len(batch), longest, self.max_characters, dtype=torch.long)
        for row, tokens in zip(ids, batch, strict=True):
            row[: len(tokens)] = self.tokens_to_ids(tokens)
        return ids

    def is_truncated(self, token: str) -> bool:
        """Whether the token holds more UTF-8 bytes than the window."""
        return len(_utf8(token)) > self.max_characters - 2

    def _inside(self, token: str) -> npt.NDArray[np.int64]:
        if token == BOS:
            return np.array([BEGIN_SENTENCE])
        if token == EOS:
            return np.array([END_SENTENCE])
        kept = _utf8(token)[: self.max_characters - 2]
        return np.frombuffer(kept, dtype=np.uint8).astype(np.int64) + 1


def _utf8(token: str) -> bytes:
    return token.encode("utf-8", "ignore")  # a lone surrogate has no UTF-8 form; AllenNLP leaves it out as well

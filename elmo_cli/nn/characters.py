"""Character ids of tokens: UTF-8 bytes between word markers, as in bilm-tf and AllenNLP.

A row is [BEGIN_WORD, byte + 1, ..., END_WORD, PADDING, ...]. Ids are one higher than in the weight
file, so that 0 is free for masked positions. A token with more bytes than the row is truncated,
even inside a code point.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

N_CHARACTERS = 261  # rows of the published table: 256 bytes and the five markers below
BEGIN_SENTENCE, END_SENTENCE, BEGIN_WORD, END_WORD, PADDING = range(257, 262)
BOS, EOS = "<S>", "</S>"  # the sentence boundaries, also as tokens of a text
DEFAULT_MAX_CHARACTERS = 50  # fixed in AllenNLP; other models set max_characters_per_token


class TokenMapper(Protocol):
    """Maps tokens to the ids that a token encoder reads.

    Attributes:
        bos: Token of the beginning of a sentence.
        eos: Token of the end of a sentence.
        unit: Unit in which tokens are truncated, "bytes" or "characters".
    """

    bos: str
    eos: str
    unit: str

    def tokens_to_ids(self, tokens: Sequence[str]) -> Tensor:
        """Return the ids of a list of tokens, (token, ids) int64."""

    def is_truncated(self, token: str) -> bool:
        """Return whether the token is longer than the encoder reads."""


class CharacterMapper:
    """Maps tokens to character ids.

    Args:
        max_characters: Characters per token, with the two word markers.
    """

    bos, eos, unit = BOS, EOS, "bytes"

    def __init__(self, max_characters: int = DEFAULT_MAX_CHARACTERS) -> None:
        self.max_characters = max_characters

    def token_ids(self, token: str) -> npt.NDArray[np.int64]:
        """Return the character ids of one token, (max_characters,) int64."""
        row = np.full(self.max_characters, PADDING, dtype=np.int64)
        inner = self._inner_ids(token)
        row[0] = BEGIN_WORD
        row[1 : 1 + len(inner)] = inner
        row[1 + len(inner)] = END_WORD
        return row

    def tokens_to_ids(self, tokens: Sequence[str]) -> Tensor:
        """Return the character ids of a list of tokens, (token, max_characters) int64."""
        if not tokens:
            return torch.empty(0, self.max_characters, dtype=torch.long)
        return torch.from_numpy(np.stack([self.token_ids(token) for token in tokens]))

    def batch_to_ids(self, batch: Sequence[Sequence[str]]) -> Tensor:
        """Return the character ids of a batch of sentences.

        Args:
            batch: Sentences, lists of tokens.

        Returns:
            (sentence, longest, max_characters) int64; shorter sentences are padded with rows of 0.
        """
        longest = max(map(len, batch), default=0)
        ids = torch.zeros(len(batch), longest, self.max_characters, dtype=torch.long)
        for row, tokens in zip(ids, batch, strict=True):
            row[: len(tokens)] = self.tokens_to_ids(tokens)
        return ids

    def is_truncated(self, token: str) -> bool:
        """Return whether the token has more UTF-8 bytes than the encoder reads."""
        return len(_utf8(token)) > self.max_characters - 2

    def _inner_ids(self, token: str) -> npt.NDArray[np.int64]:
        if token == BOS:
            return np.array([BEGIN_SENTENCE])
        if token == EOS:
            return np.array([END_SENTENCE])
        kept = _utf8(token)[: self.max_characters - 2]
        return np.frombuffer(kept, dtype=np.uint8).astype(np.int64) + 1


def _utf8(token: str) -> bytes:
    return token.encode("utf-8", "ignore")  # without lone surrogates, as in AllenNLP

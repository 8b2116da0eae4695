"""A bounded cache of the character encoder's output, by word type."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from elmo_cli.io.forks import Lock
from elmo_cli.nn.batching import bucket_by_length
from elmo_cli.nn.bilm import BiLMConfig
from elmo_cli.nn.characters import TokenMapper
from elmo_cli.nn.parallel import RunBoth

CNN_CHARACTERS = 8192  # characters that go through the CNN together: bounds its memory


CACHED_TYPES = 1 << 16  # token vectors kept on the device: 128 MiB for a 512-dimensional model


class EncodedTokens(NamedTuple):
    """Tokens as `BiLM.read` takes them."""

    types: Tensor  # (type, projection_dim)
    places: Tensor  # (token,) int64, rows of `types`
    cut: list[str]  # the tokens that are longer than the character window


class TokenEncoder(Protocol):
    """The part of a biLM that encodes word types: `BiLM` and `FastBiLM` both have it."""

    config: BiLMConfig
    mapper: TokenMapper

    @property
    def both(self) -> RunBoth:
        """Runs a function for both directions, or for two halves of the work."""

    @property
    def character_encoder(self) -> Callable[[Tensor], Tensor]:
        """Maps character ids (type, max_characters) int64 to vectors (type, projection_dim)."""

    def parameters(self) -> Iterator[Tensor]:
        """Return the parameters of the network."""


class TypeCache:
    """Layer-0 vectors of the word types met so far, each computed once; emptied when `capacity` is reached.

    Several threads may use it: a lock is held while rows are looked up, and while their vectors are taken.
    """

    def __init__(self, bilm: TokenEncoder, capacity: int = CACHED_TYPES) -> None:
        self.bilm = bilm
        self.mapper = bilm.mapper
        self.capacity = capacity
        self.rows: dict[str, int] = {}
        self.truncated_rows: set[int] = set()  # of types longer than the character window
        self.vectors = next(bilm.parameters()).new_empty(0, bilm.config.projection_dim)
        self.lock = Lock()

    def encode(self, tokens: Sequence[str]) -> "EncodedTokens":
        """Vectors of the distinct types of these tokens, and which of them each token is."""
        with self.lock:
            rows = self.lookup(tokens)
            distinct, places = np.unique(np.array(rows, dtype=np.int64), return_inverse=True)
            types, of_tokens = (torch.from_numpy(part).to(self.vectors.device) for part in (distinct, places))
            cut = [token for token, row in zip(tokens, rows, strict=True) if row in self.truncated_rows] if self.truncated_rows else []
            return EncodedTokens(self.vectors[types], of_tokens, cut)

    def lookup(self, tokens: Sequence[str]) -> list[int]:
        """Rows of `vectors` for these tokens. They hold until the next call, so the caller holds the lock."""
        new = [token for token in dict.fromkeys(tokens) if token not in self.rows]
        if len(self.rows) + len(new) > self.capacity:
            self.rows.clear()
            self.truncated_rows.clear()
            new = list(dict.fromkeys(tokens))
        if new:
            self._add(new)
        return [self.rows[token] for token in tokens]

    def _add(self, types: list[str]) -> None:
        first = len(self.rows)
        self._reserve(first + len(types))
        self.vectors[first : first + len(types)] = encode_types(self.bilm, types)
        for row, token in enumerate(types, start=first):
            self.rows[token] = row
            if self.mapper.is_truncated(token):
                self.truncated_rows.add(row)

    def _reserve(self, n_rows: int) -> None:
        if n_rows > len(self.vectors):  # doubled, so that copying stays linear; a batch of more types than `capacity` still fits
            grown = self.vectors.new_empty(max(n_rows, min(2 * n_rows, self.capacity)), self.vectors.shape[1])
            grown[: len(self.vectors)] = self.vectors
            self.vectors = grown


def encode_types(bilm: TokenEncoder, types: Sequence[str]) -> Tensor:
    """Layer-0 vectors (type, projection_dim), computed in batches of types of like length."""
    ids = bilm.mapper.tokens_to_ids(types)
    vectors = next(bilm.parameters()).new_empty(len(types), bilm.config.projection_dim)
    batches = list(bucket_by_length([len(token.encode("utf-8", "ignore")) for token in types], CNN_CHARACTERS))

    @torch.inference_mode()
    def encode(half: int) -> None:
        for batch in batches[half::2]:
            vectors[batch] = bilm.character_encoder(ids[batch].to(vectors.device))

    bilm.both(encode)
    return vectors

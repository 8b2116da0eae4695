"""Bounded cache of layer-0 vectors by word type."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elmo_cli.io.forks import Lock
from elmo_cli.nn.batching import bucket_by_length
from elmo_cli.nn.bilm import BiLMConfig
from elmo_cli.nn.characters import TokenMapper
from elmo_cli.nn.parallel import RunBoth

CNN_CHARACTERS = 8192  # characters in the CNN at a time, which bounds its memory
# A product of fewer rows may sum in another order: vectors would depend on the types met before
MIN_BATCH_TYPES = 16
CACHED_TYPES = 1 << 16  # token vectors on the device: 128 MiB for a 512-dimensional model


class EncodedTokens(NamedTuple):
    """Tokens in the form that `BiLM.forward_types` takes."""

    types: Tensor  # (type, projection_dim)
    token_to_type: Tensor  # (token,) int64, rows of `types`
    truncated: list[str]  # tokens longer than the encoder reads


class TokenEncoder(Protocol):
    """Part of a biLM that encodes word types, which `BiLM` and `FastBiLM` have."""

    config: BiLMConfig
    mapper: TokenMapper

    @property
    def run_both(self) -> RunBoth:
        """Function that runs both directions, or two halves of the work."""

    @property
    def character_encoder(self) -> Callable[[Tensor], Tensor]:
        """Function from ids (type, ids) int64 to vectors (type, projection_dim)."""

    def parameters(self) -> Iterator[Tensor]:
        """Return the parameters of the network."""


class TypeCache:
    """Layer-0 vectors of word types, each computed once; emptied when `capacity` is reached.

    Several threads may use it: lookups and copies hold a lock.

    Args:
        bilm: Network that encodes the types.
        capacity: Largest number of types.
    """

    def __init__(self, bilm: TokenEncoder, capacity: int = CACHED_TYPES) -> None:
        self.bilm = bilm
        self.mapper = bilm.mapper
        self.capacity = capacity
        self.rows: dict[str, int] = {}
        self.truncated_rows: set[int] = set()  # of types longer than the encoder reads
        self.vectors = next(bilm.parameters()).new_empty(0, bilm.config.projection_dim)
        self.lock = Lock()

    def encode(self, tokens: Sequence[str]) -> "EncodedTokens":
        """Return the vectors of the distinct types of tokens, and the type of each token.

        Args:
            tokens: The tokens.
        """
        with self.lock:
            rows = self.lookup(tokens)
            types, of_tokens = (
                torch.from_numpy(part).to(self.vectors.device) for part in _distinct(rows)
            )
            truncated = (
                [
                    token
                    for token, row in zip(tokens, rows, strict=True)
                    if row in self.truncated_rows
                ]
                if self.truncated_rows
                else []
            )
            return EncodedTokens(self.vectors[types], of_tokens, truncated)

    def lookup(self, tokens: Sequence[str]) -> list[int]:
        """Return the rows of `vectors` of tokens.

        Rows are valid until the next call: a caller with several threads holds the lock.

        Args:
            tokens: The tokens.
        """
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
        # The size is doubled, for a linear cost of copies; one batch may exceed `capacity`
        if n_rows > len(self.vectors):
            grown = self.vectors.new_empty(
                max(n_rows, min(2 * n_rows, self.capacity)), self.vectors.shape[1]
            )
            grown[: len(self.vectors)] = self.vectors
            self.vectors = grown


def _distinct(rows: Sequence[int]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the distinct rows by their first occurrence, and the place of each row among them.

    That order does not depend on what the cache holds, nor then does the rounding of products of
    the types' vectors.
    """
    distinct, first, places = np.unique(
        np.array(rows, dtype=np.int64), return_index=True, return_inverse=True
    )
    order = np.argsort(first)
    return distinct[order], np.argsort(order)[places]


def encode_types(bilm: TokenEncoder, types: Sequence[str]) -> Tensor:
    """Compute layer-0 vectors, in batches of types of similar length.

    Args:
        bilm: The network.
        types: Distinct tokens.

    Returns:
        (type, projection_dim)
    """
    ids = bilm.mapper.tokens_to_ids(types)
    vectors = next(bilm.parameters()).new_empty(len(types), bilm.config.projection_dim)
    batches = list(
        bucket_by_length([len(token.encode("utf-8", "ignore")) for token in types], CNN_CHARACTERS)
    )

    @torch.inference_mode()
    def encode(half: int) -> None:
        for batch in batches[half::2]:
            filled = batch + batch[:1] * (MIN_BATCH_TYPES - len(batch))
            vectors[batch] = bilm.character_encoder(ids[filled].to(vectors.device))[: len(batch)]

    bilm.run_both(encode)
    return vectors

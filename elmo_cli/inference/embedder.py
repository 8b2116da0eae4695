"""Embedder: a biLM on a device with a cache of token vectors, from token lists to arrays."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elmo_cli.errors import DeviceError
from elmo_cli.inference.memory_shortage import (
    OUT_OF_MEMORY,
    naming_out_of_memory,
    too_little_memory,
)
from elmo_cli.io.forks import Lock
from elmo_cli.nn.bilm import BiLM, BiLMState
from elmo_cli.nn.kernels.fast_bilm import compile_bilm
from elmo_cli.nn.parallel import use_one_thread_after_fork
from elmo_cli.nn.type_cache import TypeCache

Array = npt.NDArray[np.float32]
Tokens = Sequence[str]
CHUNK_TOKENS = 8192  # of one sentence that go through the LSTMs together
MIN_CHUNK_TOKENS = 16  # lower limit when chunks are reduced for lack of memory


# Called before each step of this thread's computations
_check: ContextVar[Callable[[], None] | None] = ContextVar("check", default=None)


@contextmanager
def checking(check: Callable[[], None]) -> Iterator[None]:
    """Call `check` before each step computed by this thread.

    An exception in it ends the computation.
    """
    token = _check.set(check)
    try:
        yield
    finally:
        _check.reset(token)


def all_layers(layers: Array) -> Array:
    """Return the layers unchanged."""
    return layers


class Embedder:
    """Embedder of independent sentences: every sentence starts from the same state.

    Args:
        bilm: The network. The embedder takes ownership; do not run the network separately.
        device: Torch device.
        prime: Sentences read once, in order; their final state replaces the zero start state.
        precision: Precision of the LSTMs' matrix products: "fp32", "tf32", "bf16" or "fp16".
        choose: Function applied to the layers (layer, token, dim) float32, such as the choice of a
            layer. It must act on each token and dimension separately, because long sentences are
            processed in pieces and only its result is stored.
    """

    def __init__(
        self,
        bilm: BiLM,
        device: str = "cpu",
        prime: Iterable[Tokens] = (),
        precision: str = "fp32",
        choose: Callable[[Array], Array] = all_layers,
    ) -> None:
        self.choose = choose
        self.bilm = compile_bilm(bilm, device, precision)
        self.precision = precision
        self.types = TypeCache(self.bilm)
        self._process = os.getpid()
        self.truncated_tokens = 0  # that did not fit the character window, and the first of them
        self.truncated_example: str | None = None
        self._after_boundary = self._read_boundary(prime)
        self.truncated_tokens, self.truncated_example = 0, None

    def embed_batch(self, batch: Sequence[Tokens]) -> list[Array]:
        """Return the chosen layers of each sentence, without the boundary positions.

        Sentences share the computation of common prefixes and suffixes. Memory is bounded: a
        sentence of more than CHUNK_TOKENS is read in pieces. If memory is insufficient, the batch
        is halved.

        Args:
            batch: The tokens of each sentence.

        Returns:
            The result of `choose` for each sentence; by default (layer, token, dim) float32, and
            (layer, 0, dim) for a sentence without tokens.

        Raises:
            MemoryShortageError: Memory is insufficient for one sentence.
        """
        if not batch:
            return []
        if len(batch) == 1 and len(batch[0]) > CHUNK_TOKENS:
            return [self._embed_in_pieces(batch[0], CHUNK_TOKENS)]
        try:
            return [self.choose(layers) for layers in self.run(batch, self._after_boundary)[0]]
        except OUT_OF_MEMORY as error:
            if len(batch) == 1 and len(batch[0]) < 4 * MIN_CHUNK_TOKENS:
                raise too_little_memory(error, batch[0]) from None
        if len(batch) == 1:
            return [self._embed_in_pieces(batch[0], len(batch[0]) // 4)]
        middle = len(batch) // 2
        return self.embed_batch(batch[:middle]) + self.embed_batch(batch[middle:])

    def _embed_in_pieces(self, tokens: Tokens, size: int) -> Array:
        config = self.bilm.config
        kept = self.choose(
            np.zeros((config.n_output_layers, 1, config.output_dim), dtype=np.float32)
        )
        try:
            chosen = np.empty((*kept.shape[:-2], len(tokens), config.output_dim), dtype=np.float32)
        except MemoryError as error:
            raise too_little_memory(error, tokens) from None
        while True:
            try:
                self._read_pieces(tokens, size, chosen)
            except OUT_OF_MEMORY as error:
                if size < 2 * MIN_CHUNK_TOKENS:
                    raise too_little_memory(error, tokens) from None
            else:
                return chosen
            size //= 2

    def _read_pieces(self, tokens: Tokens, size: int, chosen: Array) -> None:
        """Run one sentence in pieces: forward from the first, backward from the last, with states.

        Two pieces are read together, each for one direction. The chosen layers are written to
        `chosen`, (..., token, dim).
        """
        both = torch.zeros(2, dtype=torch.long, device=self._after_boundary.hidden.device)
        dim, state = self.bilm.config.projection_dim, self._after_boundary.select(both)
        with self._counting_once():
            for first, last in _pairs_of_pieces(len(tokens), size):
                (forward, backward), state = self.run([tokens[first], tokens[last]], state)
                chosen[..., first, :dim] = self.choose(forward[:, :, :dim])
                chosen[..., last, dim:] = self.choose(backward[:, :, dim:])

    @contextmanager
    def _counting_once(self) -> Iterator[None]:
        """Count truncated tokens once though pieces are read twice, and none if reading fails."""
        before = self.truncated_tokens
        try:
            yield
        except OUT_OF_MEMORY:
            self.truncated_tokens = before
            raise
        self.truncated_tokens = before + (self.truncated_tokens - before) // 2

    @torch.inference_mode()
    def run(self, batch: Sequence[Tokens], state: BiLMState) -> tuple[list[Array], BiLMState]:
        """Return the layers of token lists, without added boundaries, and the final state.

        Args:
            batch: The tokens of each sentence.
            state: A start state for each sentence, or one for several sentences; these share
                computations, and no final state is returned.
        """
        check = _check.get()
        forward = (
            self.bilm.forward_types
            if check is None
            else partial(self.bilm.forward_types, check=check)
        )
        lengths = [len(tokens) for tokens in batch]
        flat = [token for tokens in batch for token in tokens]
        self._check_process()
        with naming_out_of_memory():
            encoded = self.types.encode(flat)
            layers, state = forward(encoded.types, encoded.token_to_type, lengths, state)
            arrays = _to_host(layers).numpy()
        self._count_truncated(encoded.truncated)
        ends = np.cumsum(lengths, dtype=np.int64)
        return [
            arrays[:, end - length : end] for length, end in zip(lengths, ends, strict=True)
        ], state

    @torch.inference_mode()
    def warm_cache(self, batch: Sequence[Tokens]) -> None:
        """Compute the word types of a batch, so that the cache is as after `embed_batch`.

        Rounding depends on which word types are computed together.
        """
        if len(batch) > 1 or len(batch[0]) <= CHUNK_TOKENS:
            self._warm_cache(batch)
            return
        with self._counting_once():
            for first, last in _pairs_of_pieces(len(batch[0]), CHUNK_TOKENS):
                self._warm_cache([batch[0][first], batch[0][last]])

    def _warm_cache(self, batch: Sequence[Tokens]) -> None:
        self._count_truncated(
            self.types.encode([token for tokens in batch for token in tokens]).truncated
        )

    def _check_process(self) -> None:
        if os.getpid() == self._process:
            return
        if self.types.vectors.is_cuda:
            raise DeviceError(
                "CUDA cannot be used in a forked process; start it with "
                "multiprocessing.get_context('spawn')"
            )
        use_one_thread_after_fork()

    def _count_truncated(self, cut: Sequence[str]) -> None:
        with self.types.lock:
            self.truncated_tokens += len(cut)
            self.truncated_example = self.truncated_example or next(iter(cut), None)

    def _read_boundary(self, prime: Iterable[Tokens]) -> BiLMState:
        """Return the state after BOS, forward, and after EOS, backward, common to all sentences."""
        carried = StatefulEmbedder(self)
        for tokens in prime:
            carried.embed_batch([tokens])
        both = torch.zeros(2, dtype=torch.long, device=carried.state.hidden.device)
        _, state = self.run(
            [[self.bilm.mapper.bos], [self.bilm.mapper.eos]], carried.state.select(both)
        )
        return BiLMState(*(torch.stack([part[0, :, :1], part[1, :, 1:]]) for part in state))


def _pairs_of_pieces(n_tokens: int, size: int) -> Iterator[tuple[slice, slice]]:
    """Iterate over pairs of pieces of a sentence: one from its start, one from its end."""
    pieces = [slice(start, start + size) for start in range(0, n_tokens, size)]
    return zip(pieces, reversed(pieces), strict=True)


def _to_host(layers: Tensor) -> Tensor:
    """Return a copy in host memory; from a GPU into pinned memory, which is twice as fast."""
    return (
        torch.empty(layers.shape, dtype=layers.dtype, pin_memory=True).copy_(layers)
        if layers.is_cuda
        else layers.cpu()
    )


class StatefulEmbedder:
    """Embedder that carries state from batch to batch, as `allennlp elmo` 0.9.0 does.

    Sentence i of a batch starts, in both directions, from the final states of sentence i of the
    preceding batch (Peters et al.'s models were trained so). Vectors therefore depend on all
    preceding sentences.
    """

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self.state = embedder.bilm.zero_state(1)
        self._lock = Lock()

    def embed_batch(self, batch: Sequence[Tokens]) -> list[Array]:
        """Return all layers of each sentence, (layer, token, dim) float32.

        A position that no earlier batch had starts in the zero state. A batch of one sentence
        without tokens does not change the state, as in AllenNLP; in a larger batch such a
        sentence is read.
        """
        with self._lock:
            return self._embed_batch(batch)

    def _embed_batch(self, batch: Sequence[Tokens]) -> list[Array]:
        if [len(tokens) for tokens in batch] == [0]:
            config = self.embedder.bilm.config
            return [
                self.embedder.choose(
                    np.empty((config.n_output_layers, 0, config.output_dim), dtype=np.float32)
                )
            ]
        missing = len(batch) - self.state.hidden.shape[2]
        if missing > 0:
            zero = self.embedder.bilm.zero_state(missing)
            self.state = BiLMState(
                *(torch.cat(parts, dim=2) for parts in zip(self.state, zero, strict=True))
            )
        rows = torch.arange(len(batch), device=self.state.hidden.device)
        bos, eos = self.embedder.bilm.mapper.bos, self.embedder.bilm.mapper.eos
        layers, after = self.embedder.run(
            [[bos, *tokens, eos] for tokens in batch], self.state.select(rows)
        )
        for whole, part in zip(self.state, after, strict=True):
            whole[:, :, : len(batch)] = part
        return [self.embedder.choose(array[:, 1:-1]) for array in layers]

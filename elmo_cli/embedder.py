"""The engine: a biLM on a device, with a cache of token vectors. Token lists in, arrays out."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elmo_cli.batching import BATCH_SENTENCES, BATCH_TOKENS, GPU_WINDOW_TOKENS, WINDOW_TOKENS, bucket_by_length
from elmo_cli.bilm import BiLM, BiLMConfig, BiLMState
from elmo_cli.devices import PRECISIONS
from elmo_cli.errors import DeviceError
from elmo_cli.fast_bilm import FastBiLM

Array = npt.NDArray[np.float32]
Tokens = Sequence[str]
Network = BiLM | FastBiLM

CNN_CHARACTERS = 8192  # characters that go through the CNN together: bounds its memory
CACHED_TYPES = 1 << 16  # token vectors kept on the device: 128 MiB for a 512-dimensional model
CHUNK_TOKENS = 8192  # of one sentence that go through the LSTMs together
MIN_CHUNK_TOKENS = 16  # where memory does not suffice for as many
OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError)
NO_MEMORY_WORDS = re.compile(r"can't allocate memory|CUBLAS_STATUS_ALLOC_FAILED|not enough memory")  # in a plain RuntimeError of torch's


class TypeCache:
    """Layer-0 vectors of the word types met so far, each computed once; emptied when `capacity` is reached."""

    def __init__(self, bilm: Network, capacity: int = CACHED_TYPES) -> None:
        self.bilm = bilm
        self.mapper = bilm.mapper
        self.capacity = capacity
        self.rows: dict[str, int] = {}
        self.cut_rows: set[int] = set()  # of types longer than the character window
        self.vectors = next(bilm.parameters()).new_empty(0, bilm.config.projection_dim)

    def lookup(self, tokens: Sequence[str]) -> list[int]:
        """Rows of `vectors` for these tokens. They hold until the next call."""
        new = [token for token in dict.fromkeys(tokens) if token not in self.rows]
        if len(self.rows) + len(new) > self.capacity:
            self.rows.clear()
            self.cut_rows.clear()
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
            if self.mapper.is_cut(token):
                self.cut_rows.add(row)

    def _reserve(self, n_rows: int) -> None:
        if n_rows > len(self.vectors):  # doubled, so that copying stays linear; a batch of more types than `capacity` still fits
            grown = self.vectors.new_empty(max(n_rows, min(2 * n_rows, self.capacity)), self.vectors.shape[1])
            grown[: len(self.vectors)] = self.vectors
            self.vectors = grown


def encode_types(bilm: Network, types: Sequence[str]) -> Tensor:
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


def make_network(bilm: BiLM, device: str, precision: str = "fp32") -> Network:
    """The network on a device: the fast one, which takes `bilm` over, for float32 weights on a CPU or a CUDA GPU; else `bilm` itself."""
    bilm = bilm.to(device)
    if device == "mps" or next(bilm.parameters()).dtype != torch.float32:
        return bilm
    if precision == "tf32":  # for all of the process, as PyTorch has it; off unless asked for
        torch.backends.cuda.matmul.allow_tf32 = True
    return FastBiLM(bilm, PRECISIONS[precision])


def batch_tokens_for(config: BiLMConfig, device: str) -> int:
    """Tokens computed together: on a GPU as many as a half of its free memory holds."""
    if not device.startswith("cuda"):
        return BATCH_TOKENS
    free, _ = torch.cuda.mem_get_info(device)
    gates, layers = 4 * config.lstm_dim, config.n_output_layers * config.output_dim
    of_token = 4 * (2 * gates + 2 * config.lstm_dim + 4 * layers)  # float32; at most, every token being a type of its own
    return max(BATCH_TOKENS, min(GPU_WINDOW_TOKENS, free // (2 * of_token)))


def window_tokens_for(device: str) -> int:
    """Tokens sorted and written together: more on a GPU, for which a batch is a step of many rows."""
    return GPU_WINDOW_TOKENS if device.startswith("cuda") else WINDOW_TOKENS


class Embedder:
    """Computes all layers of sentences, each from the same start: its vectors depend on the sentence alone.

    Args:
        bilm: The network; it is taken over, and may not run by itself afterwards.
        device: Where to run it.
        prime: Sentences read once, in order; every sentence then starts from the state they leave, instead of zero.
        precision: Of the LSTMs' matrix products: "fp32", "tf32", "bf16" or "fp16".
    """

    def __init__(self, bilm: BiLM, device: str = "cpu", prime: Iterable[Tokens] = (), precision: str = "fp32") -> None:
        self.bilm = make_network(bilm, device, precision)
        self.precision = precision
        self.max_sentences = BATCH_SENTENCES if device == "cpu" else None  # of a batch
        self.types = TypeCache(self.bilm)
        self.cut_tokens = 0  # that did not fit the character window, and the first of them
        self.cut_example: str | None = None
        self._after_boundary = self._read_boundary(prime)
        self.cut_tokens, self.cut_example = 0, None

    def embed_batch(self, batch: Sequence[Tokens]) -> list[Array]:
        """Every layer of each sentence, (layer, token, dim) float32, without the boundary positions; no tokens give (layer, 0, dim).

        Memory is bounded: a sentence of more than CHUNK_TOKENS is read in pieces. Where it does not suffice, the batch is halved.
        """
        if len(batch) == 1 and len(batch[0]) > CHUNK_TOKENS:
            return [self._embed_in_pieces(batch[0], CHUNK_TOKENS)]
        try:
            return self.run(batch, self._start(len(batch)))[0]
        except OUT_OF_MEMORY as error:
            if len(batch) == 1 and len(batch[0]) < 4 * MIN_CHUNK_TOKENS:
                raise _too_little_memory(error) from None
        if len(batch) == 1:
            return [self._embed_in_pieces(batch[0], len(batch[0]) // 4)]
        middle = len(batch) // 2
        return self.embed_batch(batch[:middle]) + self.embed_batch(batch[middle:])

    def _embed_in_pieces(self, tokens: Tokens, size: int) -> Array:
        try:
            return self._read_pieces(tokens, size)
        except OUT_OF_MEMORY as error:
            if size < 2 * MIN_CHUNK_TOKENS:
                raise _too_little_memory(error) from None
        return self._embed_in_pieces(tokens, size // 2)

    def _read_pieces(self, tokens: Tokens, size: int) -> Array:
        """As `run`, of one sentence: the forward direction from its first piece on, the backward one from its last, states carried.

        Two pieces are read side by side, for the sake of one direction each.
        """
        config, dim = self.bilm.config, self.bilm.config.projection_dim
        layers = np.empty((config.n_output_layers, len(tokens), config.output_dim), dtype=np.float32)
        state = self._start(2)
        with self._counting_once():
            for first, last in _pairs_of_pieces(len(tokens), size):
                (forward, backward), state = self.run([tokens[first], tokens[last]], state)
                layers[:, first, :dim] = forward[:, :, :dim]
                layers[:, last, dim:] = backward[:, :, dim:]
        return layers

    @contextmanager
    def _counting_once(self) -> Iterator[None]:
        """Each piece is read twice; of reading that fails nothing counts."""
        before = self.cut_tokens
        try:
            yield
        except OUT_OF_MEMORY:
            self.cut_tokens = before
            raise
        self.cut_tokens = before + (self.cut_tokens - before) // 2

    def _start(self, n_sentences: int) -> BiLMState:
        return self._after_boundary.select(torch.zeros(n_sentences, dtype=torch.long, device=self._after_boundary.hidden.device))

    @torch.inference_mode()
    def run(self, batch: Sequence[Tokens], state: BiLMState) -> tuple[list[Array], BiLMState]:
        """Read token lists just as they are, from `state`: their layers and the state after them."""
        lengths = [len(tokens) for tokens in batch]
        flat = [token for tokens in batch for token in tokens]
        rows = self.types.lookup(flat)
        distinct, places = np.unique(np.array(rows, dtype=np.int64), return_inverse=True)
        types, of_tokens = (torch.from_numpy(part).to(self.types.vectors.device) for part in (distinct, places))
        with _telling_out_of_memory():
            layers, state = self.bilm.read(self.types.vectors[types], of_tokens, lengths, state)
            arrays = _to_host(layers).numpy()
        self._count_cut(flat, rows)
        ends = np.cumsum(lengths, dtype=np.int64)
        return [arrays[:, end - length : end] for length, end in zip(lengths, ends, strict=True)], state

    @torch.inference_mode()
    def recall(self, batch: Sequence[Tokens]) -> None:
        """Be as after `embed_batch`, without computing more than the word types: rounding depends on which ones are computed together."""
        if len(batch) > 1 or len(batch[0]) <= CHUNK_TOKENS:
            self._recall(batch)
            return
        with self._counting_once():
            for first, last in _pairs_of_pieces(len(batch[0]), CHUNK_TOKENS):
                self._recall([batch[0][first], batch[0][last]])

    def _recall(self, batch: Sequence[Tokens]) -> None:
        flat = [token for tokens in batch for token in tokens]
        self._count_cut(flat, self.types.lookup(flat))

    def _count_cut(self, tokens: Sequence[str], rows: Sequence[int]) -> None:
        if self.types.cut_rows:
            cut = [token for token, row in zip(tokens, rows, strict=True) if row in self.types.cut_rows]
            self.cut_tokens += len(cut)
            self.cut_example = self.cut_example or next(iter(cut), None)

    def _read_boundary(self, prime: Iterable[Tokens]) -> BiLMState:
        """The state after BOS, forward, and after EOS, backward: the same for every sentence, so computed once."""
        carried = StatefulEmbedder(self)
        for tokens in prime:
            carried.embed_batch([tokens])
        both = torch.zeros(2, dtype=torch.long, device=carried.state.hidden.device)
        _, state = self.run([[self.bilm.mapper.bos], [self.bilm.mapper.eos]], carried.state.select(both))
        return BiLMState(*(torch.stack([part[0, :, :1], part[1, :, 1:]]) for part in state))


@contextmanager
def _telling_out_of_memory() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if NO_MEMORY_WORDS.search(str(error)) and not isinstance(error, OUT_OF_MEMORY):
            raise MemoryError(str(error)) from None
        raise


def _too_little_memory(error: BaseException) -> DeviceError:
    fact = (str(error).splitlines() or ["out of memory"])[0]
    return DeviceError(f"memory does not suffice for the smallest batch ({fact}); free some, or use a smaller model")


def _pairs_of_pieces(n_tokens: int, size: int) -> Iterator[tuple[slice, slice]]:
    """The pieces of a sentence from its beginning on, beside those from its end on."""
    pieces = [slice(start, start + size) for start in range(0, n_tokens, size)]
    return zip(pieces, reversed(pieces), strict=True)


def _to_host(layers: Tensor) -> Tensor:
    """A copy in the host's memory; from a GPU into pages that do not move, which is twice as fast."""
    return torch.empty(layers.shape, dtype=layers.dtype, pin_memory=True).copy_(layers) if layers.is_cuda else layers.cpu()


class StatefulEmbedder:
    """Computes layers as `allennlp elmo` 0.9.0 does: state is carried from batch to batch.

    Sentence i of a batch starts, in both directions, from the final states of sentence i of the batch before (Peters et al.'s models
    were trained so), which makes vectors depend on all that was read before.
    """

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self.state = embedder.bilm.zero_state(1)

    def embed_batch(self, batch: Sequence[Tokens]) -> list[Array]:
        """Every layer of each sentence, (layer, token, dim) float32. A place that no batch has filled yet is at zero.

        A batch of one sentence without tokens leaves the state alone, as AllenNLP does; beside others such a sentence is read.
        """
        if [len(tokens) for tokens in batch] == [0]:
            config = self.embedder.bilm.config
            return [np.empty((config.n_output_layers, 0, config.output_dim), dtype=np.float32)]
        missing = len(batch) - self.state.hidden.shape[2]
        if missing > 0:
            zero = self.embedder.bilm.zero_state(missing)
            self.state = BiLMState(*(torch.cat(parts, dim=2) for parts in zip(self.state, zero, strict=True)))
        rows = torch.arange(len(batch), device=self.state.hidden.device)
        bos, eos = self.embedder.bilm.mapper.bos, self.embedder.bilm.mapper.eos
        layers, after = self.embedder.run([[bos, *tokens, eos] for tokens in batch], self.state.select(rows))
        for whole, part in zip(self.state, after, strict=True):
            whole[:, :, : len(batch)] = part
        return [array[:, 1:-1] for array in layers]

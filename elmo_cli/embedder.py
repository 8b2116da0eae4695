"""The engine: a biLM on a device, with a cache of token vectors. Token lists in, arrays out."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elmo_cli.batching import bucket_by_length
from elmo_cli.bilm import BiLM, BiLMState
from elmo_cli.characters import BOS, EOS, CharacterMapper
from elmo_cli.errors import DeviceError

Array = npt.NDArray[np.float32]
Tokens = Sequence[str]

CNN_CHARACTERS = 8192  # characters that go through the CNN together: bounds its memory
CACHED_TYPES = 1 << 16  # token vectors kept on the device: 128 MiB for a 512-dimensional model


class TypeCache:
    """Layer-0 vectors of the word types met so far, each computed once; emptied when `capacity` is reached."""

    def __init__(self, bilm: BiLM, capacity: int = CACHED_TYPES) -> None:
        self.bilm = bilm
        self.mapper = CharacterMapper(bilm.config.max_characters)
        self.capacity = capacity
        self.rows: dict[str, int] = {}
        self.cut_rows: set[int] = set()  # of types longer than the character window
        self.vectors = bilm.character_encoder.characters.weight.new_empty(0, bilm.config.projection_dim)

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
        self.vectors[first : first + len(types)] = encode_types(self.bilm, self.mapper, types)
        for row, token in enumerate(types, start=first):
            self.rows[token] = row
            if self.mapper.is_cut(token):
                self.cut_rows.add(row)

    def _reserve(self, n_rows: int) -> None:
        if n_rows > len(self.vectors):  # doubled, so that copying stays linear; a batch of more types than `capacity` still fits
            grown = self.vectors.new_empty(max(n_rows, min(2 * n_rows, self.capacity)), self.vectors.shape[1])
            grown[: len(self.vectors)] = self.vectors
            self.vectors = grown


def encode_types(bilm: BiLM, mapper: CharacterMapper, types: Sequence[str]) -> Tensor:
    """Layer-0 vectors (type, projection_dim), computed in batches of types of like length."""
    ids = mapper.tokens_to_ids(types)
    device = bilm.character_encoder.characters.weight.device
    vectors = torch.empty(len(types), bilm.config.projection_dim, dtype=bilm.character_encoder.characters.weight.dtype, device=device)
    for batch in bucket_by_length([len(token.encode("utf-8", "ignore")) for token in types], CNN_CHARACTERS):
        vectors[batch] = bilm.character_encoder(ids[batch].to(device))
    return vectors


class Embedder:
    """Computes all layers of sentences, each from the same start: its vectors depend on the sentence alone.

    `prime`: sentences read once, in order; every sentence then starts from the state they leave, instead of zero.
    """

    def __init__(self, bilm: BiLM, device: str = "cpu", prime: Iterable[Tokens] = ()) -> None:
        self.bilm = bilm.to(device)
        self.types = TypeCache(self.bilm)
        self.cut_tokens = 0  # that did not fit the character window, and the first of them
        self.cut_example: str | None = None
        self._after_boundary = self._read_boundary(prime)
        self.cut_tokens, self.cut_example = 0, None

    def embed_batch(self, batch: Sequence[Tokens]) -> list[Array]:
        """Every layer of each sentence, (layer, token, dim) float32, without the boundary positions; no tokens give (layer, 0, dim)."""
        rows = torch.zeros(len(batch), dtype=torch.long, device=self._after_boundary.hidden.device)
        layers, _ = self.run(batch, self._after_boundary.select(rows))
        return layers

    @torch.inference_mode()
    def run(self, batch: Sequence[Tokens], state: BiLMState) -> tuple[list[Array], BiLMState]:
        """Read token lists just as they are, from `state`: their layers and the state after them."""
        lengths = [len(tokens) for tokens in batch]
        flat = [token for tokens in batch for token in tokens]
        rows = self.types.lookup(flat)
        self._count_cut(flat, rows)
        vectors = self.types.vectors[torch.tensor(rows, dtype=torch.long, device=self.types.vectors.device)]
        layers, state = self.bilm(vectors, lengths, state)
        ends = np.cumsum(lengths, dtype=np.int64)
        arrays = layers.cpu().numpy()
        return [arrays[:, end - length : end] for length, end in zip(lengths, ends, strict=True)], state

    @torch.inference_mode()
    def recall(self, batch: Sequence[Tokens]) -> None:
        """Be as after `embed_batch`, without computing more than the word types: rounding depends on which ones are computed together."""
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
        _, state = self.run([[BOS], [EOS]], carried.state.select(both))
        return BiLMState(*(torch.stack([part[0, :, :1], part[1, :, 1:]]) for part in state))


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
        layers, after = self.embedder.run([[BOS, *tokens, EOS] for tokens in batch], self.state.select(rows))
        for whole, part in zip(self.state, after, strict=True):
            whole[:, :, : len(batch)] = part
        return [array[:, 1:-1] for array in layers]


def choose_device(name: str) -> str:
    """The torch device for "auto", "cpu", "cuda", "cuda:N" or "mps"; "auto" is a CUDA GPU where there is one, else the CPU.

    Raises:
        DeviceError: The device is not there, or the name is none of these.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise DeviceError(f"--device {name}: not available here ({str(error).splitlines()[0]}); pass --device cpu") from None
    return name

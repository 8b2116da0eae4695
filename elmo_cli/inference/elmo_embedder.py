"""`ElmoEmbedder`: the interface and array shapes of AllenNLP's class of that name."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from threading import Event
from typing import IO

import numpy as np
import torch
from torch import Tensor

from elmo_cli.errors import CorpusError
from elmo_cli.features.formats import open_writer
from elmo_cli.features.spec import FeatureSpec, WriteOptions
from elmo_cli.inference.arguments import (
    check_count,
    check_cuda_device,
    check_model,
    errors_name_arguments,
    naming_arguments,
    sentences_of,
    tokens_of,
)
from elmo_cli.inference.embedder import StatefulEmbedder
from elmo_cli.inference.embedder_spec import EmbedderSpec, InitialState
from elmo_cli.inference.pipeline import (
    embed_ahead,
    embed_carrying_state,
    embed_corpus,
    embed_window,
    groups,
    selecting,
    windows,
)
from elmo_cli.inference.selection import Selection
from elmo_cli.io.output_file import OutputFile
from elmo_cli.nn.batching import STATEFUL_BATCH
from elmo_cli.types import Array, Sentence

A_TEXT_FILE = "it takes an open text file, such as open('corpus.txt', encoding='utf-8')"
Tokens = Iterable[object]  # of str, or of objects whose `text` is one


class ElmoEmbedder:
    """ELMo vectors from Python, as `allennlp.commands.elmo.ElmoEmbedder` returns them.

    By default every sentence starts in the zero state, so the same sentence always has the same
    vectors. `stateful=True` carries the state from call to call and batch to batch as AllenNLP
    does, and returns the same values.

    A sentence is an iterable of strings, or of objects whose `text` is one (spaCy's tokens).
    Several threads may use one embedder. A pickle carries its description (`spec`) and not its
    weights, nor carried state: the model is loaded where it is unpickled.

    Args:
        options_file: A published model's options.json, or its URL.
        weight_file: Its HDF5 file of weights, or its URL.
        cuda_device: The GPU's number, or -1 for the CPU.
        model: In place of the two files: a name that `elmo models` lists, a folder, an archive or a
            URL.
        stateful: Whether to carry state.

    Raises:
        ElmoError: No model is named, or it cannot be loaded, or the GPU is not available.
        TypeError: An argument is of another type.
    """

    @errors_name_arguments
    def __init__(
        self,
        options_file: str | Path | None = None,
        weight_file: str | Path | None = None,
        cuda_device: int = -1,
        *,
        model: str | Path | None = None,
        stateful: bool = False,
    ) -> None:
        check_model(model, options_file, weight_file)
        device = check_cuda_device(cuda_device)
        self._build(
            EmbedderSpec(model, options_file, weight_file, device, start=InitialState(stateful))
        )

    def _build(self, spec: EmbedderSpec) -> None:
        self.spec = spec
        self.embedder = spec.build()
        self._batch_tokens = spec.max_batch_tokens(self.embedder.bilm.config)
        self._stateful = StatefulEmbedder(self.embedder) if spec.start.stateful else None

    def __getstate__(self) -> EmbedderSpec:
        return self.spec

    def __setstate__(self, spec: EmbedderSpec) -> None:
        with naming_arguments():
            self._build(spec)

    @errors_name_arguments
    def embed_sentence(self, sentence: Tokens) -> Array:
        """Return all layers of one sentence.

        Args:
            sentence: Its tokens.

        Returns:
            (layer, token, dim) float32; (layer, 0, dim) for a sentence without tokens.

        Raises:
            TypeError: It is not a sequence of tokens.
            ElmoError: A token is empty, or memory is insufficient.
        """
        return self._embed_batch([tokens_of(sentence)])[0]

    @errors_name_arguments
    def embed_batch(self, batch: Iterable[Tokens]) -> list[Array]:
        """Return all layers of each sentence of a batch.

        Args:
            batch: Sentences.

        Returns:
            An array (layer, token, dim) float32 for each sentence, in order. None of them keeps the
            others in memory.

        Raises:
            TypeError: A sentence is not a sequence of tokens.
            ElmoError: A token is empty, or memory is insufficient.
        """
        return list(map(_own_array, self._embed_batch(list(sentences_of(batch)))))

    @errors_name_arguments
    def batch_to_embeddings(self, batch: Iterable[Tokens]) -> tuple[Tensor, Tensor]:
        """Return all layers of a batch as one padded tensor, on the embedder's device.

        Args:
            batch: Sentences.

        Returns:
            The layers (sentence, layer, token, dim) float32, 0 behind the end of a sentence, and
            the mask (sentence, token) bool.

        Raises:
            TypeError: A sentence is not a sequence of tokens.
            ElmoError: A token is empty, or memory is insufficient.
        """
        sentences = list(sentences_of(batch))
        config, longest = self.embedder.bilm.config, max(map(len, sentences), default=0)
        layers = torch.zeros(len(sentences), config.n_output_layers, longest, config.output_dim)
        mask = torch.zeros(len(sentences), longest, dtype=torch.bool)
        for i, array in enumerate(self._embed_batch(sentences)):
            layers[i, :, : array.shape[1]] = torch.from_numpy(np.asarray(array))
            mask[i, : array.shape[1]] = True
        device = self.spec.place[0]
        return layers.to(device), mask.to(device)

    def embed_sentences(
        self, sentences: Iterable[Tokens], batch_size: int = STATEFUL_BATCH
    ) -> Iterator[Array]:
        """Iterate over all layers of each sentence of a stream, in input order.

        Args:
            sentences: Sentences; the iterable is consumed lazily.
            batch_size: Sentences of a batch with `stateful`; otherwise batches are formed by
                length.

        Returns:
            An iterator over arrays (layer, token, dim) float32. None of them keeps others in
            memory.

        Raises:
            TypeError: `batch_size` is not an integer, or a sentence is not a sequence of tokens.
            ValueError: `batch_size` is less than 1.
            ElmoError: A token is empty, or memory is insufficient.
        """
        check_count("batch_size", batch_size)
        read = sentences_of(sentences)
        numbered = (Sentence(str(i), tokens, " ".join(tokens)) for i, tokens in enumerate(read))
        found = chain.from_iterable(map(self._embed, self._windows(numbered, batch_size)))
        return _iterate_naming_arguments(map(_own_array, found))

    @errors_name_arguments
    def embed_file(
        self,
        input_file: IO[str],
        output_file_path: str | Path,
        output_format: str = "all",
        batch_size: int = STATEFUL_BATCH,
        forget_sentences: bool = False,
        use_sentence_keys: bool = False,
    ) -> None:
        """Write the vectors of an open text file, one tokenized sentence a line, to an HDF5 file.

        An existing HDF5 file is replaced.

        Args:
            input_file: An open text file, or an iterable of lines.
            output_file_path: Path of the HDF5 file.
            output_format: "all", "top" or "average".
            batch_size: Sentences of a batch with `stateful`.
            forget_sentences: Whether to leave `sentence_to_index` out.
            use_sentence_keys: Whether data sets are named after the sentence instead of its number.

        Raises:
            TypeError: `input_file` is not an open text file, for example a file name.
            ValueError: `output_format` or `batch_size` has an invalid value.
            ElmoError: A line is blank, or the file cannot be written.
        """
        check_count("batch_size", batch_size)
        if output_format not in ("all", "top", "average"):
            raise ValueError(
                f"output_format is {output_format!r}; it takes 'all', 'top' or 'average'"
            )
        lines = _lines_of(input_file)
        config, selection = self.embedder.bilm.config, Selection(output_format)
        options = WriteOptions(
            "sentence" if use_sentence_keys else "number", forget_sentences=forget_sentences
        )
        output = OutputFile(Path(output_file_path), overwrite=True)
        output.check()
        metadata = self._spec_of(batch_size).metadata(
            selection.metadata(), "ElmoEmbedder.embed_file"
        )
        description = FeatureSpec(
            selection.names(config.n_output_layers), config.output_dim, metadata=metadata
        )
        read = self._windows(_sentences(lines), batch_size)
        with open_writer("allennlp", output, description, options) as store:
            embedded = embed_ahead(
                read, selecting(self._embed, selection.function(config.n_output_layers))
            )
            for _ in embed_corpus(embedded, store):
                pass

    def _spec_of(self, batch_size: int) -> EmbedderSpec:
        """Return the specification with the batch size of this call, used with `stateful`."""
        return replace(
            self.spec,
            model=self.spec.files,
            options=None,
            weights=None,
            start=InitialState(self.spec.start.stateful, batch_size),
        )

    def _windows(self, sentences: Iterable[Sentence], batch_size: int) -> Iterator[list[Sentence]]:
        return (
            groups(sentences, batch_size)
            if self._stateful
            else windows(sentences, self.spec.max_window_tokens)
        )

    def _embed_batch(self, batch: Sequence[list[str]]) -> list[Array]:
        return (self._stateful or self.embedder).embed_batch(batch)

    def _embed(self, window: Sequence[Sentence], *, stop: Event | None = None) -> list[Array]:
        if self._stateful:
            return embed_carrying_state(window, self._stateful)
        return embed_window(window, self.embedder, self._batch_tokens, stop)


def _own_array(array: Array) -> Array:
    """Return the array, copied if it is a view that would keep other arrays in memory."""
    return array if array.base is None or array.base.nbytes <= array.nbytes else array.copy()


def _iterate_naming_arguments(arrays: Iterator[Array]) -> Iterator[Array]:
    with naming_arguments():
        yield from arrays


def _lines_of(input_file: object) -> Iterable[str]:
    if isinstance(input_file, (str, bytes, Path)) or not isinstance(input_file, Iterable):
        raise TypeError(f"input_file is {input_file!r:.60}; {A_TEXT_FILE}")
    return input_file


def _sentences(lines: Iterable[str]) -> Iterator[Sentence]:
    for i, line in enumerate(lines):
        if not isinstance(line, str):
            raise TypeError(
                f"input_file gives {type(line).__name__}; it takes a file opened as text, such as "
                "open('corpus.txt', encoding='utf-8')"
            )
        text = (line.removeprefix("\ufeff") if i == 0 else line).strip()
        if not text:
            raise CorpusError(f"line {i + 1} is blank; remove it")
        yield Sentence(str(i), text.split(), text)

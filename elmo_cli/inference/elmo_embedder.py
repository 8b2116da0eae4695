"""AllenNLP's `ElmoEmbedder`, by this engine: the same names and array shapes, for programs that were written for it."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from threading import Event
from typing import IO

from elmo_cli.errors import CorpusError
from elmo_cli.features.formats import open_writer
from elmo_cli.features.spec import FeatureSpec, WriteOptions
from elmo_cli.inference.embedder import Embedder, StatefulEmbedder
from elmo_cli.inference.pipeline import embed_carrying_state, embed_corpus, embed_window, groups, windows
from elmo_cli.inference.selection import Selection
from elmo_cli.io.output_file import OutputFile
from elmo_cli.models.resolve import find_model
from elmo_cli.nn.batching import BATCH_TOKENS, STATEFUL_BATCH
from elmo_cli.nn.devices import choose_device
from elmo_cli.types import WINDOW_TOKENS, Array, Sentence


class ElmoEmbedder:
    """ELMo vectors from Python, as `allennlp.commands.elmo.ElmoEmbedder` gives them.

    By default every sentence starts at the zero state, so the same sentence always has the same vectors. `stateful=True` carries the
    state from call to call and batch to batch as AllenNLP does, for its numbers to the digit.

    Args:
        options_file: A published model's options.json, or its URL.
        weight_file: Its HDF5 file of weights, or its URL.
        cuda_device: The GPU's number, or -1 for the CPU.
        model: In place of the two files: what `elmo embed --model` takes.
        stateful: Whether to carry state.

    Raises:
        ElmoError: The model cannot be loaded, or the GPU is not there.
    """

    def __init__(
        self,
        options_file: str | Path | None = None,
        weight_file: str | Path | None = None,
        cuda_device: int = -1,
        *,
        model: str | Path | None = None,
        stateful: bool = False,
    ) -> None:
        self._files = find_model(None if model is None else str(model), options_file, weight_file)
        device = "cpu" if cuda_device < 0 else choose_device(f"cuda:{cuda_device}")
        self.embedder = Embedder(self._files.load(), device)
        self._stateful = StatefulEmbedder(self.embedder) if stateful else None

    def embed_sentence(self, sentence: Sequence[str]) -> Array:
        """All layers of one sentence, (layer, token, dim) float32."""
        return self.embed_batch([sentence])[0]

    def embed_batch(self, batch: Sequence[Sequence[str]]) -> list[Array]:
        """All layers of each sentence of a batch, (layer, token, dim) float32; a sentence without tokens gives (layer, 0, dim)."""
        return (self._stateful or self.embedder).embed_batch(batch)

    def embed_sentences(self, sentences: Iterable[Sequence[str]], batch_size: int = STATEFUL_BATCH) -> Iterator[Array]:
        """All layers of each sentence of a stream, in its order. `batch_size` counts with `stateful` alone."""
        numbered = (Sentence(str(i), list(tokens), " ".join(tokens)) for i, tokens in enumerate(sentences))
        return chain.from_iterable(map(self._embed, self._windows(numbered, batch_size)))

    def embed_file(
        self,
        input_file: IO[str],
        output_file_path: str | Path,
        output_format: str = "all",
        batch_size: int = STATEFUL_BATCH,
        forget_sentences: bool = False,
        use_sentence_keys: bool = False,
    ) -> None:
        """Embed an open text file, one tokenized sentence a line, into an HDF5 file, which is replaced if it exists.

        `output_format` is "all", "top" or "average".

        Raises:
            ElmoError: A line is blank, or the file cannot be written.
        """
        config, selection = self.embedder.bilm.config, Selection(output_format)
        options = WriteOptions("sentence" if use_sentence_keys else "number", forget_sentences=forget_sentences)
        windows_ = self._windows(_sentences(input_file), batch_size)
        output = OutputFile(Path(output_file_path), overwrite=True)
        output.check()
        start = f"carried between batches of {batch_size}" if self._stateful else "zero"
        metadata = {**self._files.metadata(start), **selection.metadata()}
        description = FeatureSpec(selection.names(config.n_output_layers), config.output_dim, metadata=metadata)
        with open_writer("allennlp", output, description, options) as store:
            for _ in embed_corpus(windows_, self._embed, selection.function(config.n_output_layers), store):
                pass

    def _windows(self, sentences: Iterable[Sentence], batch_size: int) -> Iterator[list[Sentence]]:
        return groups(sentences, batch_size) if self._stateful else windows(sentences, WINDOW_TOKENS)

    def _embed(self, window: Sequence[Sentence], *, stop: Event | None = None) -> list[Array]:
        if self._stateful:
            return embed_carrying_state(window, self._stateful)
        return embed_window(window, self.embedder, BATCH_TOKENS, stop)


def _sentences(lines: Iterable[str]) -> Iterator[Sentence]:
    for i, line in enumerate(lines):
        text = (line.removeprefix("\ufeff") if i == 0 else line).strip()
        if not text:
            raise CorpusError(f"line {i + 1} is blank; remove it")
        yield Sentence(str(i), text.split(), text)

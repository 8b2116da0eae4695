"""Features of a model: sentences from the zero state, a primed one, or that of the last batch."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import click

from elmo_cli.inference.embedder import Embedder, StatefulEmbedder
from elmo_cli.inference.pipeline import embed_carrying_state, embed_window, groups, windows
from elmo_cli.models.resolve import find_model
from elmo_cli.nn.batching import BATCH_TOKENS, STATEFUL_BATCH
from elmo_cli.nn.devices import choose_device
from elmo_cli.readers.text import read_text
from elmo_cli.types import WINDOW_TOKENS, Sentence
from tests.manual.figures.figure import Embed, Floats


def load_embedder(
    model: Path, device: str, start: str, prime: Path | None, prime_sentences: int
) -> Embedder:
    """The model, its sentences starting where they shall."""
    if (start == "primed") != (prime is not None):
        raise click.UsageError("--start primed and --prime FILE go together")
    sentences = (
        []
        if prime is None
        else [sentence.tokens for sentence in islice(read_text(prime), prime_sentences)]
    )
    return Embedder(find_model(str(model)).load(), choose_device(device), sentences)


def make_embed(embedder: Embedder, start: str) -> Embed:
    """The function that embeds a set of sentences, stateful or each from the embedder's start."""

    def embed(sentences: Iterable[list[str]]) -> Iterator[Floats]:
        corpus = (Sentence(str(i), tokens, "") for i, tokens in enumerate(sentences))
        if start == "stateful":
            carried = StatefulEmbedder(embedder)
            for window in groups(corpus, STATEFUL_BATCH):
                yield from embed_carrying_state(window, carried)
        else:
            for window in windows(corpus, WINDOW_TOKENS):
                yield from embed_window(window, embedder, BATCH_TOKENS)

    return embed

"""Stages of the embedding of a corpus: windows, batches of sentences of similar length, vectors, input order, output.

The window is the unit of work: sentences are sorted inside it, returned to input order inside it, and committed together.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from threading import Event
from typing import TYPE_CHECKING, NamedTuple, Protocol

from elmo_cli.errors import DeviceError, MemoryShortageError
from elmo_cli.features.values import check_finite
from elmo_cli.inference.prefetch import PATIENCE, Prefetch
from elmo_cli.nn.batching import bucket_by_length
from elmo_cli.nn.kernels.malloc import trim_malloc
from elmo_cli.types import NOTHING, Array, Progress, Select, Sentence, Window

if TYPE_CHECKING:  # imports torch: a second of a conversion's time, which has no need of it
    from elmo_cli.inference.embedder import Embedder, StatefulEmbedder

TRIM_WINDOWS = 16  # after so many, memory that lies between used pieces is given back


class Writer(Protocol):
    """Takes the features of one window after another: a `FeatureWriter`, or something around one."""

    def write(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        """Commit the features of a window: all of it or none."""


class Embed(Protocol):
    """Computes the layers of the sentences of a window."""

    def __call__(self, window: Window, *, stop: Event) -> list[Array]:
        """Return them in order; computation ends with StoppedError once `stop` is set."""


class Truncated(NamedTuple):
    """Tokens that are longer than the model reads.

    Args:
        tokens: How many there are.
        example: The first of them.
    """

    tokens: int = 0
    example: str | None = None

    def plus(self, other: "Truncated") -> "Truncated":
        """Return the sum of both counts, with the first example."""
        return Truncated(self.tokens + other.tokens, self.example if self.example is not None else other.example)


class Embedded(NamedTuple):
    """A window and what is written of it.

    Args:
        window: The sentences.
        arrays: An array for each of them, as selected.
        truncated: Its tokens that are longer than the model reads.
    """

    window: Window
    arrays: list[Array]
    truncated: Truncated = Truncated()


class EmbedAndSelect(Protocol):
    """Computes what is written of a window."""

    def __call__(self, window: Window, *, stop: Event) -> Embedded:
        """Return it; computation ends with StoppedError once `stop` is set."""


class StoppedError(Exception):
    """Computation of a window was abandoned; never reported to the user."""


def windows(sentences: Iterable[Sentence], max_tokens: int) -> Iterator[Window]:
    """Cut a stream of sentences into runs of at most `max_tokens` tokens (or one sentence), blank sentences counted as one."""
    window: Window = []
    tokens = 0
    for sentence in sentences:
        size = max(1, len(sentence.tokens))
        if window and tokens + size > max_tokens:
            yield window
            window, tokens = [], 0
        window.append(sentence)
        tokens += size
    if window:
        yield window


def groups(sentences: Iterable[Sentence], size: int) -> Iterator[Window]:
    """Cut a stream into runs of `size` sentences, the last one shorter."""
    iterator = iter(sentences)
    while window := list(islice(iterator, size)):
        yield window


def batches(window: Sequence[Sentence], max_tokens: int) -> Iterator[list[int]]:
    """Which sentences of a window are computed together, by their places in it."""
    return bucket_by_length([len(sentence.tokens) for sentence in window], max_tokens)


def embed_window(window: Sequence[Sentence], embedder: "Embedder", max_tokens: int, stop: Event | None = None) -> list[Array]:
    """Every layer of each sentence of a window, in its order, computed in batches of sentences of like length.

    Raises:
        StoppedError: `stop` was set; a window may take seconds, a step of the network does not.
    """
    embedded: dict[int, Array] = {}

    from elmo_cli.inference.embedder import checking

    def check() -> None:
        if stop and stop.is_set():
            raise StoppedError

    for batch in batches(window, max_tokens):
        check()
        with _naming_the_sentence(window), checking(check):
            embedded.update(zip(batch, embedder.embed_batch([window[i].tokens for i in batch]), strict=True))
    return [embedded[i] for i in range(len(window))]


@contextmanager
def _naming_the_sentence(window: Sequence[Sentence]) -> Iterator[None]:
    """Say which sentence of a window it is that memory does not suffice for."""
    try:
        yield
    except MemoryShortageError as error:
        number = next((int(sentence.key) + 1 for sentence in window if sentence.tokens is error.tokens), None)
        remedy = "free some, use a smaller model, write fewer --layers, or leave such sentences out (--max-sentence-tokens finds them)"
        raise DeviceError(f"sentence {number or ''}: {error}; {remedy}") from None


def select_each(window: Window, arrays: list[Array], select: Select) -> list[Array]:
    """What is written of each sentence."""
    with _naming_the_sentence(window):
        return [_select(sentence.tokens, array, select) for sentence, array in zip(window, arrays, strict=True)]


def _select(tokens: Sequence[str], array: Array, select: Select) -> Array:
    try:
        return select(array)
    except MemoryError as error:
        raise MemoryShortageError(f"memory does not suffice for one sentence of {len(tokens):,} tokens ({error})", tokens) from None


def embed_carrying_state(
    window: Sequence[Sentence],
    embedder: "StatefulEmbedder",
    stop: Event | None = None,  # noqa: ARG001  # looked at between batches, and this is one
) -> list[Array]:
    """Every layer of each sentence of a window run as one batch, after all windows before it."""
    return embedder.embed_batch([sentence.tokens for sentence in window])


def selecting(embed: Embed, select: Select) -> EmbedAndSelect:
    """Return a function that computes the layers of a window and selects what is written of them.

    Args:
        embed: Computes the layers of a window.
        select: Function from what `embed` returns of a sentence to what is written.
    """
    return lambda window, *, stop: Embedded(window, select_each(window, embed(window, stop=stop), select))


def embed_ahead(windows_: Iterable[Window], embed: EmbedAndSelect) -> Generator[Embedded, None, None]:
    """Iterate over embedded windows, in order, computed in this process ahead of the reader.

    Reading, computing and what the caller does overlap: one window is read and one computed while the caller has a third.

    Args:
        windows_: Windows in input order.
        embed: Computes what is written of a window.
    """
    stop = Event()
    read = Prefetch(windows_)
    embedded = Prefetch(embed(window, stop=stop) for window in read)
    try:
        yield from embedded
    finally:
        stop.set()
        for stage in (read, embedded):  # the one may be waiting for the other
            stage.stop()
        embedded.join()
        read.join(PATIENCE)


def embed_corpus(embedded: Generator[Embedded, None, None], writer: Writer, done: Progress = NOTHING) -> Generator[Progress, None, None]:
    """Write embedded windows, and yield after each how much is committed.

    Args:
        embedded: Embedded windows in input order; it is closed at the end, however that comes.
        writer: Where they go.
        done: What had been committed before.

    Raises:
        ModelError: A vector is not finite; nothing of its window is written.
    """
    with closing(embedded):
        for number, (window, arrays, _) in enumerate(embedded, start=1):
            check_finite(window, arrays)
            writer.write(window, arrays)
            if number % TRIM_WINDOWS == 0:
                trim_malloc()
            done = done.plus(window)
            yield done

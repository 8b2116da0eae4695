"""Pipeline stages of embedding: windows, batches of similar length, vectors, input order, output.

The window is the unit of work: its sentences are sorted by length, returned to input order and
committed together.
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

if TYPE_CHECKING:  # imports torch: a second of a conversion, which does not need it
    from elmo_cli.inference.embedder import Embedder, StatefulEmbedder

TRIM_WINDOWS = 16  # number of windows after which freed memory is returned to the system


class Writer(Protocol):
    """Writer of the features of successive windows: a `FeatureWriter`, or a wrapper of one."""

    def write(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        """Write the features of a window atomically."""


class Embed(Protocol):
    """Function that computes the layers of the sentences of a window."""

    def __call__(self, window: Window, *, stop: Event) -> list[Array]:
        """Return the layers in order; raise StoppedError once `stop` is set."""


class Truncated(NamedTuple):
    """Tokens that are longer than the model's limit.

    Args:
        tokens: Number of such tokens.
        example: The first such token.
    """

    tokens: int = 0
    example: str | None = None

    def plus(self, other: "Truncated") -> "Truncated":
        """Return the sum of both counts, with the first example."""
        return Truncated(
            self.tokens + other.tokens, self.example if self.example is not None else other.example
        )


class Embedded(NamedTuple):
    """A window and its selected vectors.

    Args:
        window: The sentences.
        arrays: The selected vectors of each sentence.
        truncated: Tokens that are longer than the model's limit.
    """

    window: Window
    arrays: list[Array]
    truncated: Truncated = Truncated()


class TruncatedCount:
    """Number of truncated tokens in the windows so far."""

    def __init__(self) -> None:
        self.total = Truncated()

    def add(self, more: Truncated) -> None:
        """Add the truncated tokens of a window."""
        self.total = self.total.plus(more)

    def counting(
        self, embedded: Generator[Embedded, None, None]
    ) -> Generator[Embedded, None, None]:
        """Iterate over `embedded` and count; closing the generator closes `embedded`."""
        with closing(embedded):
            for item in embedded:
                self.add(item.truncated)
                yield item


class EmbedAndSelect(Protocol):
    """Function that computes the selected vectors of a window."""

    def __call__(self, window: Window, *, stop: Event) -> Embedded:
        """Return the embedded window; raise StoppedError once `stop` is set."""


class StoppedError(Exception):
    """Computation of a window was stopped; never reported to the user."""


def windows(sentences: Iterable[Sentence], max_tokens: int) -> Iterator[Window]:
    """Iterate over windows of at most `max_tokens` tokens.

    A longer sentence is a window of its own. A blank sentence counts as one token.
    """
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
    """Iterate over windows of `size` sentences; the last one may be shorter."""
    iterator = iter(sentences)
    while window := list(islice(iterator, size)):
        yield window


def batches(window: Sequence[Sentence], max_tokens: int) -> Iterator[list[int]]:
    """Iterate over batches of a window: lists of the indices of sentences computed together."""
    return bucket_by_length([len(sentence.tokens) for sentence in window], max_tokens)


def embed_window(
    window: Sequence[Sentence], embedder: "Embedder", max_tokens: int, stop: Event | None = None
) -> list[Array]:
    """Return the layers of each sentence of a window, computed in batches of similar length.

    Args:
        window: The sentences.
        embedder: Computes the layers of a batch.
        max_tokens: Tokens of a batch.
        stop: Event that ends the computation.

    Returns:
        The result of the embedder for each sentence, in input order.

    Raises:
        StoppedError: `stop` was set; it is checked at each step of the network, since a window
            may take seconds.
        MemoryShortageError: Memory is insufficient for one sentence.
    """
    embedded: dict[int, Array] = {}

    from elmo_cli.inference.embedder import checking

    def check() -> None:
        if stop and stop.is_set():
            raise StoppedError

    for batch in batches(window, max_tokens):
        check()
        with _naming_the_sentence(window), checking(check):
            embedded.update(
                zip(batch, embedder.embed_batch([window[i].tokens for i in batch]), strict=True)
            )
    return [embedded[i] for i in range(len(window))]


@contextmanager
def _naming_the_sentence(window: Sequence[Sentence]) -> Iterator[None]:
    """Add the name of the sentence to an error about insufficient memory."""
    try:
        yield
    except MemoryShortageError as error:
        number = next(
            (int(sentence.key) + 1 for sentence in window if sentence.tokens is error.tokens), None
        )
        remedy = (
            "free some, use a smaller model, write fewer --layers, or leave such sentences out "
            "(--max-sentence-tokens finds them)"
        )
        raise DeviceError(f"sentence {number or ''}: {error}; {remedy}") from None


def select_each(window: Window, arrays: list[Array], select: Select) -> list[Array]:
    """Return the selected vectors of each sentence."""
    with _naming_the_sentence(window):
        return [
            _select(sentence.tokens, array, select)
            for sentence, array in zip(window, arrays, strict=True)
        ]


def _select(tokens: Sequence[str], array: Array, select: Select) -> Array:
    try:
        return select(array)
    except MemoryError as error:
        raise MemoryShortageError(
            f"memory is insufficient for one sentence of {len(tokens):,} tokens ({error})", tokens
        ) from None


def embed_carrying_state(
    window: Sequence[Sentence],
    embedder: "StatefulEmbedder",
    stop: Event | None = None,  # noqa: ARG001  # checked between batches, and this is one batch
) -> list[Array]:
    """Return the layers of each sentence of a window, one batch after all earlier windows."""
    return embedder.embed_batch([sentence.tokens for sentence in window])


def selecting(embed: Embed, select: Select) -> EmbedAndSelect:
    """Return a function that computes the layers of a window and selects what is written of them.

    Args:
        embed: Computes the layers of a window.
        select: Function from the layers of a sentence to the vectors that are written.
    """
    return lambda window, *, stop: Embedded(
        window, select_each(window, embed(window, stop=stop), select)
    )


def embed_ahead(
    windows_: Iterable[Window], embed: EmbedAndSelect
) -> Generator[Embedded, None, None]:
    """Iterate over embedded windows, in order, computed in this process ahead of the caller.

    Reading, computing and the caller's work overlap: one window is read and one computed while the
    caller processes a third.

    Args:
        windows_: Windows in input order.
        embed: Computes the selected vectors of a window.
    """
    stop = Event()
    read = Prefetch(windows_)
    embedded = Prefetch(embed(window, stop=stop) for window in read)
    try:
        yield from embedded
    finally:
        stop.set()
        for stage in (read, embedded):  # either may be waiting for the other
            stage.stop()
        embedded.join()
        read.join(PATIENCE)


def embed_corpus(
    embedded: Generator[Embedded, None, None], writer: Writer, done: Progress = NOTHING
) -> Generator[Progress, None, None]:
    """Write embedded windows, and yield the committed progress after each.

    Args:
        embedded: Embedded windows in input order; always closed at the end.
        writer: Writer of the windows.
        done: Progress committed before.

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

"""word2vec's text format: one line per word type with one vector, as gensim and fastText read it.

The first line is the number of types and of dimensions. Each other line is a word and its values,
separated by spaces, the most frequent type first and equally frequent ones in the order of their
first occurrence. Layer 0 does not depend on the context: the vector is that of the first
occurrence. For any other layer, the average or a mix, it is the mean over all occurrences.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from elmo_cli.errors import FeaturesError, OutputError, reason_of, refuse_limit
from elmo_cli.features.formats.jsonl import DIGITS, find_line_starts
from elmo_cli.features.protocols import NO_CHECKS, Checks, Chunk
from elmo_cli.features.spec import LAYER, FeatureSpec, WriteOptions
from elmo_cli.io.output_file import OutputFile, open_output
from elmo_cli.io.partial_file import PartialFile
from elmo_cli.types import Array, Sentence

FIRST_LINE = re.compile(rb"(\d{1,12}) (\d{1,5})\r?\n")
WHITE_SPACE = re.compile(r"\s")
# Replaces white space in a token, which would separate words: as in word2vec's own phrases
JOINER = "_"
VALUE_BYTES, WORD_BYTES = 32, 1 << 16  # at most, in a line that is read
WRITE_LINES = 1 << 10


def detect(path: Path, start: bytes) -> str | None:  # noqa: ARG001  # every format's
    """Return "word2vec" for a file whose first line has the numbers of words and dimensions."""
    return "word2vec" if FIRST_LINE.match(start) else None


@contextmanager
def open_writer(
    output: OutputFile,
    description: FeatureSpec,
    options: WriteOptions,  # noqa: ARG001  # every format's
) -> Iterator["Word2VecWriter"]:
    """Open a writer of a file."""
    with open_output(output) as file:
        writer = Word2VecWriter(file, output.path, description)
        yield writer
        writer.finish()


class Word2VecWriter:
    """Writer of the file, at the end.

    A vector of each word type is in memory: 4 bytes per value for layer 0, else 8.
    """

    def __init__(self, file: PartialFile, path: Path, description: FeatureSpec) -> None:
        self.path = path
        self.description = description
        self.skipped_duplicates = 0
        self.warnings: list[str] = []
        self._is_static = description.names == (f"{LAYER}0",)
        self._counts: dict[str, int] = {}
        self._sums: dict[str, npt.NDArray[np.floating]] = {}
        # Tokens with white space, and the words that are written for them
        self._joined: dict[str, str] = {}
        self._file = file

    def write(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        """Add the tokens of a window to their types.

        Raises:
            OutputError: A token is empty: the source does not contain its text.
        """
        for sentence, array in zip(window, arrays, strict=True):
            for token, vector in zip(
                sentence.tokens, array.reshape(-1, self.description.dim), strict=True
            ):
                if not token:
                    raise OutputError(
                        f"{self.path}: sentence {sentence.key} has a token without text, and "
                        "word2vec needs words"
                    )
                self._add(self._word(token), vector)

    def _word(self, token: str) -> str:
        if token in self._counts:
            return token
        word = WHITE_SPACE.sub(JOINER, token)
        if word != token:
            self._joined[token] = word
        return word

    def _add(self, word: str, vector: Array) -> None:
        self._counts[word] = self._counts.get(word, 0) + 1
        if word not in self._sums:
            self._sums[word] = vector.astype(np.float32 if self._is_static else np.float64)
        elif not self._is_static:
            self._sums[word] += vector

    def finish(self) -> None:
        """Write the file."""
        lines = self._lines()
        while block := b"".join(line for _, line in zip(range(WRITE_LINES), lines, strict=False)):
            self._file.write(block)
        self._warn()

    def _lines(self) -> Iterator[bytes]:
        dim, dtype = self.description.dim, self.description.dtype
        yield f"{len(self._counts)} {dim}\n".encode()
        values = " ".join([DIGITS[dtype]] * dim)
        # Sorting keeps the order of equal ones
        for word in sorted(self._counts, key=lambda word: -self._counts[word]):
            mean = self._sums[word] if self._is_static else self._sums[word] / self._counts[word]
            yield f"{word} {values % tuple(mean.astype(dtype).tolist())}\n".encode(
                "utf-8", "backslashreplace"
            )

    def _warn(self) -> None:
        if self._joined:
            token, word = next(iter(self._joined.items()))
            self.warnings.append(
                f"wrote {JOINER!r} for white space, which would end a word, in "
                f"{len(self._joined):,} word types, such as {word[:60]!r}"
                f" for {token[:60]!r}"
            )


class Word2VecReader:
    """Reader of a file of any program: each word type is a sentence of one token.

    8 bytes per word are in memory.
    """

    layout = "word2vec"

    def __init__(self, path: Path) -> None:
        self.path = path
        with ExitStack() as opening:
            try:
                self._file = opening.enter_context(path.open("rb"))
                first = FIRST_LINE.match(self._file.readline(64))
                self._file.seek(0)
                self._starts = find_line_starts(self._file, path)[1:]
            except OSError as error:
                refuse_limit(error, path)
                raise FeaturesError(f"{path}: cannot be read ({reason_of(error)})") from None
            count, dim = map(int, first.groups()) if first else (0, 0)
            if not dim or count != len(self):
                raise FeaturesError(
                    f"{path}: has {len(self):,} of {count:,} declared words; the file is damaged"
                )
            self.description = FeatureSpec(("vectors",), dim)
            opening.pop_all()

    def __len__(self) -> int:
        return len(self._starts) - 1

    def keys(self) -> list[str]:
        """Return the words."""
        return [self._line(index)[0] for index in range(len(self))]

    def sentence(self, index: int) -> Sentence:
        """Return a word as a sentence."""
        word = self._line(index)[0]
        return Sentence(str(index), [word], word)

    def read(self, index: int, layers: Sequence[int] | None = None) -> Array:  # noqa: ARG002  # there are none
        """Return the vector of a word, (1, dim)."""
        return self._vector(index, self._line(index))

    def token_counts(self) -> Iterable[int]:
        """Iterate over the number of tokens of each sentence, which is 1."""
        return (1 for _ in range(len(self)))

    def windows(self, first: int = 0) -> Iterator[Chunk]:
        """Iterate over the words, one at a time."""
        for index in range(first, len(self)):
            line = self._line(index)
            yield [Sentence(str(index), line[:1], line[0])], [self._vector(index, line)]

    def checks(self) -> Checks:
        """Return NO_CHECKS."""
        return NO_CHECKS

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _line(self, index: int) -> list[str]:
        """Return the word and the values of a line."""
        begin, end = map(int, self._starts[index : index + 2])
        if end - begin > VALUE_BYTES * self.description.dim + WORD_BYTES:
            raise FeaturesError(
                f"{self.path}:{index + 2}: has {end - begin:,} bytes; the file is damaged"
            )
        self._file.seek(begin)
        line = self._file.read(end - begin).decode("utf-8", "replace").rstrip().split(" ")
        if len(line) != 1 + self.description.dim:
            raise FeaturesError(
                f"{self.path}:{index + 2}: has {len(line) - 1} of {self.description.dim} values; "
                "the file is damaged"
            )
        return line

    def _vector(self, index: int, line: list[str]) -> Array:
        try:
            return np.array([list(map(float, line[1:]))], dtype=np.float32)
        except (ValueError, OverflowError) as error:
            raise FeaturesError(
                f"{self.path}:{index + 2}: contains values that are not numbers ({error}); the "
                "file is damaged"
            ) from None

"""JSON Lines: one object per sentence, for pipes; metadata are not stored.

{"key": "0", "number": 0, "tokens": ["A", "cat"], "layer_0": [[0.1, ...], [...]], "layer_1": ...,
"crc32": 123}, with the columns that are carried over before the layers. `crc32` is the checksum of
the bytes of the line before `, "crc32"`.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from elmo_cli.errors import FeaturesError, OutputError, refuse_limit
from elmo_cli.features.formats.registry import FORMATS
from elmo_cli.features.protocols import NO_CHECKS, Checks, Chunk
from elmo_cli.features.spec import LAYER, UNLAYERED, FeatureSpec, WriteOptions, name_of, sentence_of
from elmo_cli.io.crc32 import crc32
from elmo_cli.io.limits import DICT_BYTES, JSON_MEMORY, ResourceLimitError, load_json, parsed_bytes
from elmo_cli.io.output_file import OutputFile, open_stream
from elmo_cli.io.partial_file import PartialFile
from elmo_cli.io.stdout import Pipe, Stdout
from elmo_cli.types import Array, Sentence

DIGITS = {"float32": "%.9g", "float16": "%.5g"}  # enough to restore the same bits
BLOCK_BYTES = 1 << 20
LEAST_BYTES = 32  # of a line with its key, number and tokens
TOO_LONG = "more than a line may have; write such long sentences to another layout"
UNREADABLE = (
    "more vectors than a line may have to be read back; write fewer --layers, or such long "
    "sentences to another layout"
)
SPARE = 1 << 10  # bytes that the checksum adds
CHECKSUM = "crc32"
OWN = ("key", "number", "tokens", CHECKSUM)


def detect(path: Path, start: bytes) -> str | None:
    """Return "jsonl" for a file of objects, or for an empty file with its suffix."""
    is_empty = not start and path.suffix.lower() in FORMATS["jsonl"].suffixes
    return "jsonl" if is_empty or start.startswith(b"{") else None


@contextmanager
def open_writer(
    output: OutputFile | Stdout, description: FeatureSpec, options: WriteOptions
) -> Iterator["JsonLinesWriter"]:
    """Open a writer of a file, or of standard output."""
    with open_stream(output) as file:
        yield JsonLinesWriter(file, output.path, description, options)


class JsonLinesWriter:
    """Writer of a file or standard output; the lines of a window are sent when computed."""

    def __init__(
        self, file: PartialFile | Pipe, path: Path, description: FeatureSpec, options: WriteOptions
    ) -> None:
        self.path = path
        self.description = description
        self.options = options
        self.skipped_duplicates = 0
        self._kept = description.kept.names if description.kept else []
        taken = [name for name in self._kept if name in (*OWN, *description.names)]
        if taken:
            raise OutputError(
                f"--keep {taken[0]}: the output has a column of its own by that name; rename the "
                "input's"
            )
        self._vector = f"[{','.join([DIGITS[description.dtype]] * description.dim)}]"
        self._file = file

    def write(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        """Write the lines of a window.

        Raises:
            OutputError: The disk is full or gone, or a line could not be read back.
            ReaderGone: Standard output has been closed by its reader.
        """
        for sentence, array in zip(self._with_floats(window), arrays, strict=True):
            line = self._line(sentence, array)
            if len(line) * DICT_BYTES > JSON_MEMORY and parsed_bytes(line) > JSON_MEMORY - SPARE:
                raise OutputError(
                    f"{self.path}: sentence {sentence.key} of {len(sentence.tokens):,} tokens has "
                    f"{UNREADABLE}"
                )
            self._file.write(b'%b, "%b": %d}\n' % (line, CHECKSUM.encode(), crc32(line)))

    def _with_floats(self, window: Sequence[Sentence]) -> Iterator[Sentence]:
        """Convert integers in a kept column of floats to floats, as resuming a run does."""
        places = [
            i for i, kept in enumerate(self.description.kept or ()) if str(kept.type) == "double"
        ]
        for sentence in window:
            kept = (
                float(value) if i in places and isinstance(value, int) else value
                for i, value in enumerate(sentence.kept)
            )
            yield sentence._replace(kept=tuple(kept)) if places else sentence

    def _line(self, sentence: Sentence, array: Array) -> bytes:
        told = {
            "key": name_of(sentence, self.options.keys),
            "number": int(sentence.key),
            "tokens": sentence.tokens,
        }
        told.update(zip(self._kept, sentence.kept, strict=True))
        layers = array if self.description.layered else [array]
        values = ", ".join(
            f'"{name}": {self._json(layer)}'
            for name, layer in zip(self.description.names, layers, strict=True)
        )
        return f"{json.dumps(told, default=_plain)[:-1]}, {values}".encode()

    def _json(self, layer: Array) -> str:
        if layer.ndim == 2:
            return f"[{','.join(map(self._json, layer))}]"
        text = self._vector % tuple(layer.tolist())
        # NaN and infinity are written as by Python's json
        return (
            text
            if np.isfinite(layer).all()
            else text.replace("nan", "NaN").replace("inf", "Infinity")
        )


def _plain(value: object) -> object:
    """Return a value of a carried-over column for which JSON has no type, as text."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


class JsonLinesReader:
    """Reader of the format, as float32: 8 bytes per sentence in memory."""

    layout = "jsonl"

    def __init__(self, path: Path) -> None:
        self.path = path
        with ExitStack() as opening:
            try:
                self._file = opening.enter_context(path.open("rb"))
                self._starts = find_line_starts(self._file, path)
            except OSError as error:
                refuse_limit(error, path)
                raise FeaturesError(f"{path}: cannot be read ({error.strerror})") from None
            self._check_lengths()
            self.description = self._describe()
            opening.pop_all()

    def _describe(self) -> FeatureSpec:
        """Return the description, from the first sentence that has tokens or a vector."""
        names: tuple[str, ...] = (f"{LAYER}0",)
        for index in range(len(self)):
            told = self._object(index)
            names = _layer_names(told)
            if not names:
                raise FeaturesError(
                    f"{self.path}:{index + 1}: contains no layers; this is not a file of features"
                )
            array = self._matrices(index, told, names)[0]
            if array.size and array.ndim <= 2:
                return FeatureSpec(names, array.shape[-1], pooled=array.ndim == 1)
        return FeatureSpec(names, 0)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def keys(self) -> list[str]:
        """Return the names of the sentences."""
        return [str(self._object(index).get("key")) for index in range(len(self))]

    def sentence(self, index: int) -> Sentence:
        """Return a sentence."""
        return self._sentence(index, self._object(index))

    def read(self, index: int, layers: Sequence[int] | None = None) -> Array:
        """Return the array of a sentence."""
        names = (
            self.description.names
            if layers is None
            else [self.description.names[layer] for layer in layers]
        )
        return self._array(index, self._object(index), names)

    def token_counts(self) -> Iterable[int]:
        """Iterate over the number of tokens of each sentence."""
        return (len(self.sentence(index).tokens) for index in range(len(self)))

    def windows(self, first: int = 0) -> Iterator[Chunk]:
        """Iterate over the sentences, one line at a time."""
        for index in range(first, len(self)):
            told = self._object(index)
            yield [self._sentence(index, told)], [self._array(index, told, self.description.names)]

    def checks(self) -> Checks:
        """Return the checksums of the lines."""
        return (
            Checks("CRC-32 of each line")
            if len(self) and CHECKSUM in self._object(0)
            else NO_CHECKS
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _check_lengths(self) -> None:
        lengths = np.diff(self._starts)
        for index in np.flatnonzero(2 * lengths > JSON_MEMORY)[:1]:
            raise FeaturesError(
                f"{self.path}:{index + 1}: has {lengths[index]:,} bytes, {TOO_LONG}"
            )

    def _object(self, index: int) -> dict[str, Any]:
        try:
            line = self._read(int(self._starts[index]), int(self._starts[index + 1]))
            told = load_json(line)
        except ResourceLimitError as problem:
            raise FeaturesError(f"{self.path}:{index + 1}: {problem}, {TOO_LONG}") from None
        except (ValueError, RecursionError) as error:
            raise FeaturesError(f"{self.path}:{index + 1}: is not JSON ({error})") from None
        if not isinstance(told, dict):
            raise FeaturesError(
                f"{self.path}:{index + 1}: is not an object; this is not a file of features"
            )
        if CHECKSUM in told and not _fits(line):
            raise FeaturesError(
                f"{self.path}:{index + 1}: does not match its checksum; the file is damaged"
            )
        return told

    def _read(self, start: int, end: int) -> bytes:
        """Return bytes of the file without moving its position, which threads and forks share."""
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), end - start, start)
        self._file.seek(start)
        return self._file.read(end - start)

    def _sentence(self, index: int, told: dict[str, Any]) -> Sentence:
        number, key, tokens = (told.get(name) for name in ("number", "key", "tokens"))
        if not (
            isinstance(number, int)
            and isinstance(key, str)
            and isinstance(tokens, list)
            and all(isinstance(t, str) for t in tokens)
        ):
            raise FeaturesError(
                f"{self.path}:{index + 1}: needs a key, a number and tokens; this is not a file of "
                "features"
            )
        return sentence_of(str(number), key, tokens, None)

    def _array(self, index: int, told: dict[str, Any], names: Sequence[str]) -> Array:
        matrices = self._matrices(index, told, names)
        shape = replace(self.description, names=tuple(names)).shape(0)
        if all(matrix.size == 0 for matrix in matrices) and not self.description.pooled:
            return np.empty(shape, dtype=np.float32)
        if any(
            matrix.ndim != 2 - self.description.pooled or matrix.shape[-1] != self.description.dim
            for matrix in matrices
        ):
            raise FeaturesError(
                f"{self.path}:{index + 1}: its layers have another shape than those of the first "
                "line; the file is damaged"
            )
        return np.stack(matrices) if self.description.layered else matrices[0]

    def _matrices(self, index: int, told: dict[str, Any], names: Sequence[str]) -> list[Array]:
        try:
            matrices: list[Array] = [np.array(told[name], dtype=np.float32) for name in names]
        except (KeyError, ValueError, TypeError, OverflowError) as error:
            raise FeaturesError(
                f"{self.path}:{index + 1}: its layers are not matrices of numbers ({error})"
            ) from None
        if len({matrix.shape for matrix in matrices}) > 1:
            raise FeaturesError(
                f"{self.path}:{index + 1}: its layers have different shapes; the file is damaged"
            )
        return matrices


def _fits(line: bytes) -> bool:
    before, _, sum_ = line.rpartition(b', "%b": ' % CHECKSUM.encode())
    return sum_.rstrip() == b"%d}" % crc32(before)


def find_line_starts(file: IO[bytes], path: Path) -> npt.NDArray[np.int64]:
    """Return the start of each line, and the end of the last one.

    Args:
        file: The file, open for reading at its start.
        path: Its path, for the message.

    Returns:
        Positions in bytes, (lines + 1,).

    Raises:
        FeaturesError: There are more lines than a feature file of that size can have.
    """
    starts, at, n = [np.zeros(1, dtype=np.int64)], 0, 0
    while block := file.read(BLOCK_BYTES):
        starts.append(np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == ord("\n")) + (at + 1))
        at, n = at + len(block), n + len(starts[-1])
        if n * LEAST_BYTES > at + BLOCK_BYTES:
            raise FeaturesError(
                f"{path}: has {n:,} lines in its first {at:,} bytes; this is not a file of features"
            )
    found = np.concatenate(starts)
    return found if found[-1] == at else np.append(found, at)


def _layer_names(told: dict[str, Any]) -> tuple[str, ...]:
    layers = tuple(name for name in told if name.startswith(LAYER))
    return layers or tuple(name for name in UNLAYERED if name in told)[:1]

"""NumPy's .npz, for small jobs: the arrays of the packed layout, and the tokens as JSON.

`layers` and `offsets` are as in packed.py: np.load("out.npz")["layers"] of a pooled run is a matrix
with one row per sentence. np.load returns the members tokens.json, keys.json (with numbers) and
metadata.json as bytes: json.loads(np.load("out.npz")["tokens.json"]).
"""

import json
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np

from elmo_cli.errors import FeaturesError
from elmo_cli.features.formats._hdf5 import describe
from elmo_cli.features.formats._npz_members import (
    COPY_BYTES,
    check_sizes,
    load_array,
    load_json_list,
    map_member,
)
from elmo_cli.features.protocols import Checks, Chunk, refusal
from elmo_cli.features.spec import FeatureSpec, WriteOptions, name_of, sentence_of, token_count
from elmo_cli.io.limits import ResourceLimitError, ZipSource, load_json
from elmo_cli.io.output_file import OutputFile, open_output
from elmo_cli.io.partial_file import PartialFile
from elmo_cli.types import Array, Sentence

MAX_SENTENCES = 1 << 25  # of which four numbers each are held in memory
EPOCH = (1980, 1, 1, 0, 0, 0)  # no time stamps: the same job writes the same bytes


@contextmanager
def open_writer(
    output: OutputFile, description: FeatureSpec, options: WriteOptions
) -> Iterator["NpzWriter"]:
    """Open a writer of a file, with a temporary file for each layer, the tokens and the keys."""
    with open_output(output) as file, ExitStack() as opened:
        spills = [
            opened.enter_context(tempfile.TemporaryFile(dir=output.folder))
            for _ in range(len(description.names) + 2)
        ]
        writer = NpzWriter(file, spills, description, options)
        yield writer
        writer.finish()


def find_damaged_members(path: Path) -> Iterator[str]:
    """Iterate over descriptions of the members that do not match their checksums."""
    with zipfile.ZipFile(path) as archive:
        if (damaged := archive.testzip()) is not None:
            yield f"its member {damaged} does not match its checksum"


class NpzWriter:
    """Writer of the file, at the end, from one temporary file per layer.

    The array of all layers starts with its shape, and so with the number of tokens.
    """

    def __init__(
        self,
        file: PartialFile,
        spills: Sequence[IO[bytes]],
        description: FeatureSpec,
        options: WriteOptions,
    ) -> None:
        self.description = description
        self.options = options
        self.skipped_duplicates = 0
        self._offsets, self._rows = [0], 0
        self._file = file
        *self._spills, self._tokens, self._keys = spills

    def write(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        """Write a window to the temporary files.

        Raises:
            OutputError: The disk is full or gone.
        """
        for sentence, array in zip(window, arrays, strict=True):
            layers = (array if self.description.layered else array[None]).astype(
                self.description.dtype, copy=False
            )
            for spill, layer in zip(self._spills, layers, strict=True):
                spill.write(np.ascontiguousarray(layer).data)
            self._offsets.append(
                self._offsets[-1]
                + token_count(array.shape, sentence, pooled=self.description.pooled)
            )
            first = len(self._offsets) == 2
            _add_json(self._tokens, sentence.tokens, first=first)
            _add_json(
                self._keys, [name_of(sentence, self.options.keys), int(sentence.key)], first=first
            )

    def finish(self) -> None:
        """Write the file from the temporary ones."""
        method = zipfile.ZIP_DEFLATED if self.options.compression == "gzip" else zipfile.ZIP_STORED
        d, offsets = self.description, np.array(self._offsets, dtype=np.int64)
        shape = (len(d.names),) * d.layered + (
            len(offsets) - 1 if d.pooled else self._offsets[-1],
            d.dim,
        )
        told = json.dumps(d.text("npz", self.options.keys or "auto"), ensure_ascii=False).encode()
        with zipfile.ZipFile(self._file, "w", method) as archive:
            with _member(archive, "layers.npy", method) as member:
                _write_header(member, shape, np.dtype(d.dtype))
                for spill in self._spills:
                    _copy(spill, member)
            with _member(archive, "offsets.npy", method) as member:
                np.lib.format.write_array(member, offsets, version=(1, 0))
            for name, words in (("tokens.json", self._tokens), ("keys.json", self._keys)):
                words.write(b"]" if words.tell() else b"[]")
                with _member(archive, name, method) as member:
                    _copy(words, member)
            with _member(archive, "metadata.json", method) as member:
                member.write(told)


def _member(archive: zipfile.ZipFile, name: str, method: int) -> IO[bytes]:
    info = zipfile.ZipInfo(name, EPOCH)
    info.compress_type = method
    return archive.open(info, "w", force_zip64=True)


def _write_header(member: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(member, header)


def _copy(spill: IO[bytes], member: IO[bytes]) -> None:
    spill.seek(0)
    shutil.copyfileobj(spill, member, COPY_BYTES)


def _add_json(file: IO[bytes], value: object, *, first: bool) -> None:
    file.write(("[" if first else ",\n").encode() + json.dumps(value).encode())


class NpzReader:
    """Reader of the format, mapped into memory; unpacks compressed members to temporary files."""

    layout = "npz"

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with ZipSource(path) as source, zipfile.ZipFile(source) as archive:
                check_sizes(archive, path)
                told = load_json(map_member(archive, path, "metadata.json"))
                self._offsets = load_array(archive, path, "offsets.npy")
                if len(self) > MAX_SENTENCES:
                    raise ResourceLimitError(
                        f"has {len(self):,} sentences, of which {MAX_SENTENCES:,} fit in memory"
                    )
                self._tokens: Sequence[list[str]] = load_json_list(
                    archive, path, "tokens.json", len(self)
                )
                self._keys: Sequence[tuple[str, int]] = load_json_list(
                    archive, path, "keys.json", len(self)
                )
                self._layers: Array = load_array(archive, path, "layers.npy", check=False)
            self.description = describe(told, self._layers.shape, self._layers.dtype.name)
            self._by = told.get("keys")
            self._check()
        except ResourceLimitError as problem:
            raise FeaturesError(f"{path}: {problem}; make it again, in another layout") from None
        except (
            TokenError,  # raised by NumPy for a header with unbalanced brackets
            OSError,
            MemoryError,
            zipfile.BadZipFile,
            KeyError,
            ValueError,
            TypeError,
            AttributeError,
            RuntimeError,
            EOFError,
            zlib.error,
        ) as error:
            if refused := refusal(path, error):
                raise refused from None
            raise FeaturesError(
                f"{path}: is not an .npz of features, or is damaged ({error})"
            ) from None

    def _check(self) -> None:
        rows = len(self) if self.description.pooled else int(self._offsets[-1])
        shape = (len(self.description.names),) * self.description.layered + (
            rows,
            self.description.dim,
        )
        steps = np.diff(self._offsets)
        if (
            self._layers.shape != shape
            or self._layers.dtype.kind != "f"
            or not len(self._keys) == len(self._tokens) == len(self)
            or self._offsets[0] != 0
            or any(
                int(step) != len(tokens) for step, tokens in zip(steps, self._tokens, strict=True)
            )
            or any(len(key) != 2 for key in self._keys)
        ):
            raise ValueError("its members do not match each other")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def keys(self) -> list[str]:
        """Return the names of the sentences."""
        return [key for key, _ in self._keys]

    def sentence(self, index: int) -> Sentence:
        """Return a sentence."""
        key, number = self._keys[index]
        return sentence_of(str(number), key, self._tokens[index], self._by)

    def read(self, index: int, layers: Sequence[int] | None = None) -> Array:
        """Return the array of a sentence."""
        rows = (
            index if self.description.pooled else slice(*map(int, self._offsets[index : index + 2]))
        )
        part = self._layers[..., rows, :]
        return np.array(part if layers is None else part[list(layers)])

    def token_counts(self) -> Iterable[int]:
        """Iterate over the number of tokens of each sentence, from the offsets."""
        return map(int, np.diff(self._offsets))

    def windows(self, first: int = 0) -> Iterator[Chunk]:
        """Iterate over the sentences, one at a time."""
        for index in range(first, len(self)):
            yield [self.sentence(index)], [self.read(index)]

    def checks(self) -> Checks:
        """Return the checksums of the zip archive."""
        return Checks("CRC-32 of each member")

    def close(self) -> None:
        """Release the file."""
        self._layers = np.empty((0, 0), dtype=np.float32)

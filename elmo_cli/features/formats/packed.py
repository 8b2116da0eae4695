"""Packed HDF5 layout: all sentences in one array, for corpora of millions of sentences.

`layers` is (layer, total tokens, dim), without the layer axis for one layer or the mean, and with
sentences instead of tokens if pooled. Sentence i has the rows `offsets[i]` to `offsets[i + 1]` of
`layers` and of `tokens`. `keys` are the names of the sentences, `numbers` their numbers in the
input. A string of HDF5 ends at NUL: `nul_tokens` and `nul_keys`, present only if needed, are the
indices of strings that are written escaped.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from elmo_cli.errors import FeaturesError
from elmo_cli.features.checksums import Checksums
from elmo_cli.features.formats._hdf5 import (
    CHUNK_BYTES,
    attributes,
    checks_of,
    compression_of,
    describe,
    escape,
    find_dataset,
    open_file,
    open_hdf5,
    reading,
    unescape,
    write_attributes,
)
from elmo_cli.features.protocols import READ_BYTES, Checks, Chunk
from elmo_cli.features.spec import FeatureSpec, WriteOptions, name_of, sentence_of, token_count
from elmo_cli.io.output_file import OutputFile
from elmo_cli.io.partial_file import PartialFile
from elmo_cli.io.sizes import is_oversize
from elmo_cli.types import Array, Sentence

CHUNK_ITEMS = 4096  # of the datasets other than `layers`
READ_TOKENS = 1 << 16
CACHE_BYTES = 1 << 24
TOKEN_BYTES = 64  # of a short text as a Python object, and its place in a list
TEXT = h5py.string_dtype("utf-8")
WITH_NUL = {"tokens": "nul_tokens", "keys": "nul_keys"}


@contextmanager
def open_writer(
    output: OutputFile, description: FeatureSpec, options: WriteOptions
) -> Iterator["PackedWriter"]:
    """Open a writer of the layout."""
    with open_hdf5(output, rdcc_nbytes=CACHE_BYTES) as (partial, file):
        writer = PackedWriter(partial, file, description, options)
        yield writer
        writer.finish()


class PackedWriter:
    """Writer of the layout, which appends each window."""

    def __init__(
        self, partial: PartialFile, file: h5py.File, description: FeatureSpec, options: WriteOptions
    ) -> None:
        self.description = description
        self.options = options
        self.skipped_duplicates = 0
        self._nul: dict[str, list[int]] = {name: [] for name in WITH_NUL}
        self._checksums = Checksums()
        self._partial, self._file = partial, file
        self._begin()

    def write(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        """Append a window.

        Raises:
            OutputError: The disk is full or gone, or sentences are named by id and one has none.
        """
        if not window:
            return
        pooled = self.description.pooled
        counts = [
            token_count(array.shape, sentence, pooled=pooled)
            for sentence, array in zip(window, arrays, strict=True)
        ]
        tokens = [token for sentence in window for token in sentence.tokens]
        keys = [name_of(sentence, self.options.keys) for sentence in window]
        with self._partial.raising_failures():
            before = self._file["tokens"].shape[0]
            _append(
                self._file["layers"],
                (np.stack if pooled else np.concatenate)(arrays, axis=-2),
                axis=-2,
            )
            self._append_texts("tokens", tokens)
            self._append_texts("keys", keys)
            _append(
                self._file["numbers"],
                np.array([int(sentence.key) for sentence in window], dtype=np.int64),
            )
            _append(
                self._file["offsets"],
                np.array(list(accumulate(counts, initial=before))[1:], dtype=np.int64),
            )
        for sentence, key, array in zip(window, keys, arrays, strict=True):
            self._checksums.add(
                (sentence.key, key, *sentence.tokens),
                array.astype(self.description.dtype, copy=False),
            )
        self._checksums.end_window()

    def _append_texts(self, name: str, texts: list[str]) -> None:
        before = self._file[name].shape[0]
        self._nul[name] += [before + i for i, text in enumerate(texts) if "\0" in text]
        _append(
            self._file[name],
            np.array([escape(text) if "\0" in text else text for text in texts], dtype=object),
        )

    def _begin(self) -> None:
        write_attributes(self._file, self.description.text("packed", self.options.keys or "auto"))
        empty = np.zeros(
            self.description.shape(0)
            if not self.description.pooled
            else _pooled_shape(self.description, 0)
        )
        chunk = max(
            1,
            min(
                CHUNK_ITEMS,
                CHUNK_BYTES // (self.description.dim * np.dtype(self.description.dtype).itemsize),
            ),
        )
        self._file.create_dataset(
            "layers",
            data=empty.astype(self.description.dtype),
            maxshape=(*empty.shape[:-2], None, empty.shape[-1]),
            chunks=(*[1] * (empty.ndim - 2), chunk, empty.shape[-1]),
            fletcher32=True,
            **compression_of(self.options.compression),
        )
        for name, dtype, size in [
            ("offsets", np.int64, 1),
            ("numbers", np.int64, 0),
            ("tokens", TEXT, 0),
            ("keys", TEXT, 0),
        ]:
            summed = dtype is not TEXT  # of a string the chunk contains only the address
            self._file.create_dataset(
                name,
                shape=(size,),
                maxshape=(None,),
                chunks=(CHUNK_ITEMS,),
                dtype=dtype,
                fletcher32=summed,
            )
        self._file["offsets"][0] = 0

    def finish(self) -> None:
        """Write the data that are known only at the end."""
        with self._partial.raising_failures():
            for name, indices in self._nul.items():
                if indices:
                    self._file.create_dataset(
                        WITH_NUL[name], data=np.array(indices, dtype=np.int64), fletcher32=True
                    )
            self._checksums.write(self._file)


class PackedReader:
    """Reader of the layout. Offsets are in memory, 8 bytes per sentence."""

    layout = "packed"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_file(path)
        with reading(path):
            told = attributes(self._file)
            self._layers = find_dataset(self._file, "layers", path, whole=False)
            self._strings = {
                name: find_dataset(self._file, name, path, "O", whole=False) for name in WITH_NUL
            }
            self._offsets: npt.NDArray[np.int64] = find_dataset(self._file, "offsets", path, "iu")[
                ()
            ]
            self._numbers = find_dataset(self._file, "numbers", path, "iu")
            self._nul = {name: self._find_nul(listed) for name, listed in WITH_NUL.items()}
            self._by = told.get("keys")
            self.description = describe(told, self._layers.shape, self._layers.dtype.name)
            self._check()

    def _find_nul(self, name: str) -> frozenset[int]:
        return frozenset(
            find_dataset(self._file, name, self.path, "iu")[()].tolist()
            if name in self._file
            else ()
        )

    def _check(self) -> None:
        pooled, n = self.description.pooled, len(self)
        n_tokens = self._strings["tokens"].shape[0]
        rows = n if pooled else n_tokens
        whole = self._layers.shape == (
            _pooled_shape(self.description, rows) if pooled else self.description.shape(rows)
        )
        steps = np.diff(self._offsets)
        if not (
            whole
            and self._strings["keys"].shape == self._numbers.shape == (n,)
            and n >= 0
            and self._offsets[0] == 0
            and self._offsets[-1] == n_tokens
            and (steps >= 0).all()
        ):
            raise FeaturesError(
                f"{self.path}: its datasets do not match each other; the file is damaged"
            )
        values = (
            1
            if pooled
            else len(self.description.names) * self.description.dim * self._layers.dtype.itemsize
        )
        longest, stored = int(steps.max(initial=0)), self.path.stat().st_size
        if is_oversize(longest * max(values, TOKEN_BYTES), stored):  # a sentence is read at once
            raise FeaturesError(
                f"{self.path}: has a sentence of {longest:,} tokens in a file of {stored:,} bytes; "
                "write it again by sentences"
            )

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def keys(self) -> list[str]:
        """Return the names of the sentences."""
        return self._texts("keys", 0, len(self))

    def sentence(self, index: int) -> Sentence:
        """Return a sentence."""
        return self._sentences(index, index + 1)[0]

    def read(self, index: int, layers: Sequence[int] | None = None) -> Array:
        """Return the array of a sentence; only the given layers are read."""
        rows = (
            index if self.description.pooled else slice(*map(int, self._offsets[index : index + 2]))
        )
        with reading(self.path):
            array: Array = (
                self._layers[..., rows, :]
                if layers is None
                else np.stack([self._layers[layer, rows] for layer in layers])
            )
        return array

    def token_counts(self) -> Iterable[int]:
        """Iterate over the number of tokens of each sentence, from the offsets."""
        return map(int, np.diff(self._offsets))

    def windows(self, first: int = 0) -> Iterator[Chunk]:
        """Iterate over the sentences, those of one read at a time."""
        d = self.description
        tokens = max(
            1,
            READ_BYTES
            // max(READ_BYTES // READ_TOKENS, len(d.names) * d.dim * np.dtype(d.dtype).itemsize),
        )
        while first < len(self):
            limit = min(
                first + tokens,
                int(np.searchsorted(self._offsets, self._offsets[first] + tokens, side="right"))
                - 1,
            )
            last = min(len(self), max(first + 1, limit))
            yield self._sentences(first, last), self._arrays(first, last)
            first = last

    def _arrays(self, first: int, last: int) -> list[Array]:
        offsets = self._offsets[first : last + 1]
        rows = (
            slice(first, last)
            if self.description.pooled
            else slice(int(offsets[0]), int(offsets[-1]))
        )
        with reading(self.path):
            block = self._layers[..., rows, :]
        if self.description.pooled:
            return [block[..., i, :] for i in range(last - first)]
        return np.split(block, offsets[1:-1] - offsets[0], axis=-2)

    def _sentences(self, first: int, last: int) -> list[Sentence]:
        offsets = self._offsets[first : last + 1].tolist()
        with reading(self.path):
            numbers = self._numbers[first:last].tolist()
        tokens, keys = (
            self._texts("tokens", offsets[0], offsets[-1]),
            self._texts("keys", first, last),
        )
        return [
            sentence_of(
                str(numbers[i]),
                keys[i],
                tokens[offsets[i] - offsets[0] : offsets[i + 1] - offsets[0]],
                self._by,
            )
            for i in range(last - first)
        ]

    def _texts(self, name: str, first: int, last: int) -> list[str]:
        with reading(self.path):
            texts = [
                value.decode("utf-8", "replace")
                for value in self._strings[name][first:last].tolist()
            ]
        for i in self._nul[name] and self._nul[name].intersection(range(first, last)):
            texts[i - first] = unescape(texts[i - first])
        return texts

    def checks(self) -> Checks:
        """Return the CRC-32 checksums of windows."""
        return checks_of(
            self._file, self.path, lambda _, found: (found.key, self._key(found), *found.tokens)
        )

    def _key(self, sentence: Sentence) -> str:
        own = sentence.text if self._by == "sentence" else sentence.id
        return sentence.key if own is None else own

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _pooled_shape(description: FeatureSpec, sentences: int) -> tuple[int, ...]:
    return (*description.shape(0)[:-1], sentences, description.dim)


def _append(dataset: h5py.Dataset, values: npt.NDArray[np.generic], axis: int = 0) -> None:
    axis %= dataset.ndim
    before = dataset.shape[axis]
    dataset.resize(before + values.shape[axis], axis=axis)
    if values.shape[axis]:
        dataset[(slice(None),) * axis + (slice(before, None),)] = values

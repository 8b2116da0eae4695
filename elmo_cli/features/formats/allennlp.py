"""AllenNLP's HDF5 layout: one dataset per sentence, and a JSON map from sentences to datasets.

Datasets "0", "1", ... are (layer, token, dim), or (token, dim) for one layer or the average;
`sentence_to_index`, shape (1,), is a variable-length string of JSON. Readers of the layout fail on
any other dataset, so the metadata are attributes of the file.

The JSON repeats the key of a sentence that occurs more than once. Python's `json` keeps the last
value at the first place, exactly as AllenNLP's own map does, so the map is collected as a stream in
a temporary file. At the end it is in memory two or three times: the HDF5 library takes a string at
once (3.3 million tokens, a map of 21 MiB: peak memory 486 MiB instead of 448).
"""

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import IO

import h5py
import numpy as np

from elmo_cli.errors import FeaturesError, OutputError
from elmo_cli.features.checksums import Checksums
from elmo_cli.features.formats._hdf5 import (
    attributes,
    checks_of,
    create_dataset,
    describe,
    escape,
    find_dataset,
    names_in_order,
    open_file,
    open_hdf5,
    reading,
    unescape,
    write_attributes,
)
from elmo_cli.features.protocols import Checks, Chunk, guess_tokens
from elmo_cli.features.spec import EQUAL_SENTENCES, FeatureSpec, WriteOptions, name_of
from elmo_cli.io.output_file import OutputFile
from elmo_cli.io.partial_file import PartialFile
from elmo_cli.types import Array, Sentence

SENTENCE_MAP = "sentence_to_index"
MAX_BYTES = (1 << 32) - 1  # of a string in HDF5, whose length has 32 bits
# Names that HDF5 does not allow, or that have another use here
_NAMES = {"": "\\e", ".": "\\.", SENTENCE_MAP: "\\i"}
_CALLED = {name: text for text, name in _NAMES.items()}


@contextmanager
def open_writer(
    output: OutputFile, description: FeatureSpec, options: WriteOptions
) -> Iterator["AllennlpWriter"]:
    """Open a writer of the layout.

    Links are tracked in the order of creation: sentences are listed in the order of the input, and
    the root group needs no memory that grows with their number. The map is in a temporary file
    until the end.
    """
    has_map = not (options.forget_sentences or options.keys == "sentence")
    with (
        open_hdf5(output, track_order=True) as (partial, file),
        tempfile.TemporaryFile(dir=output.folder) if has_map else nullcontext() as sentence_map,
    ):
        writer = AllennlpWriter(partial, file, sentence_map, output, description, options)
        yield writer
        writer.finish()


class AllennlpWriter:
    """Writer of the layout.

    Datasets are named by number (in the input, from 0), by id, or by sentence (see
    `sentence_name`). The attribute "id" of a dataset is the sentence's own id; "tokens", in JSON,
    contains tokens that are not separated by white space.
    """

    def __init__(
        self,
        partial: PartialFile,
        file: h5py.File,
        sentence_map: IO[bytes] | None,
        output: OutputFile,
        description: FeatureSpec,
        options: WriteOptions,
    ) -> None:
        self.output = output
        self.description = description
        self.keys = options.keys or "number"
        self.compression = options.compression
        self.tells_text = sentence_map is not None or self.keys == "sentence"
        self.skipped_duplicates = 0
        self._partial, self._file, self._map = partial, file, sentence_map
        self._checksums = Checksums()
        write_attributes(file, _described(description, self.keys).text("allennlp", self.keys))

    def write(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        """Write the datasets of a window.

        Raises:
            OutputError: The disk is full or gone; or datasets are named by id, and a sentence has
                no id or that of another one.
        """
        with self._partial.raising_failures():
            for sentence, array in zip(window, arrays, strict=True):
                self._add(sentence, array)
            self._checksums.end_window()

    def _add(self, sentence: Sentence, array: Array) -> None:
        called = name_of(sentence, self.keys)
        name = called if self.keys == "number" else sentence_name(called)
        if self.keys != "number" and name in self._file:
            self._skip_duplicate(called)
            return
        values = np.ascontiguousarray(array, dtype=self.description.dtype)
        try:
            dataset = create_dataset(self._file, name, values, self.compression)
        except ValueError:  # raised by the library for a name that exists
            raise OutputError(
                f"{self.output.path}: two sentences have the number {name}; pass --keys id or "
                "sentence"
            ) from None
        own = (
            sentence.id
            if sentence.id is None or self.keys == "id"
            else sentence.id.replace("\0", "\\0")
        )
        if own is not None and self.keys != "id":
            h5py.Dataset(dataset).attrs["id"] = own
        if self.tells_text and sentence.text.split() != sentence.tokens:
            h5py.Dataset(dataset).attrs["tokens"] = json.dumps(sentence.tokens)
        self._checksums.add(
            _told(name, own, *((sentence.text, sentence.tokens) if self.tells_text else ("", []))),
            values,
        )
        if self._map is not None:
            before = "{" if self._map.tell() == 0 else ", "
            self._map.write(f"{before}{json.dumps(sentence.text)}: {json.dumps(name)}".encode())
            if self._map.tell() >= MAX_BYTES:
                raise OutputError(
                    f"{self.output.path}: the sentences exceed {SENTENCE_MAP}'s 4 GiB; pass "
                    "--forget-sentences to leave it out"
                )

    def _skip_duplicate(self, called: str) -> None:
        if self.keys == "id":
            raise OutputError(
                f"--keys id: two sentences have the id {called!r}; pass --keys number"
            )
        self.skipped_duplicates += 1  # AllenNLP keeps the first one too

    def finish(self) -> None:
        """Write the checksums and the map."""
        with self._partial.raising_failures():
            self._checksums.write(self._file)
            if self._map is not None:
                self._map.write(b"}" if self._map.tell() else b"{}")
                self._map.seek(0)
                self._file.create_dataset(
                    SENTENCE_MAP, data=[self._map.read()], dtype=h5py.string_dtype("utf-8")
                )


def _described(spec: FeatureSpec, keys: str) -> FeatureSpec:
    return (
        replace(spec, metadata={**spec.metadata, EQUAL_SENTENCES: "first"})
        if keys == "sentence"
        else spec
    )


class AllennlpReader:
    """Reader of the layout, also of AllenNLP's own files.

    Those contain only the arrays and the map, and their sentences are ordered by number.
    """

    layout = "allennlp"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_file(path)
        with reading(path):
            told = attributes(self._file)
            names = [name for name in names_in_order(self._file) if name != SENTENCE_MAP]
            self._by = told.get(
                "keys", "number" if all(name.isdecimal() for name in names) else "name"
            )
            self._names = sorted(names, key=int) if self._by == "number" else names
            first = find_dataset(self._file, names[0], path) if names else None
            self.description = describe(
                told,
                first and first.shape,
                first.dtype.name if first else told.get("dtype", "float32"),
            )
            self.description = replace(self.description, numbered=self._by == "number")
        self._texts: dict[str, str] | None = None

    def __len__(self) -> int:
        return len(self._names)

    def keys(self) -> list[str]:
        """Return the names of the datasets, without their escapes."""
        return list(map(self._called, self._names))

    def _called(self, name: str) -> str:
        return sentence_text(name) if self._by in ("id", "sentence") else name

    def sentence(self, index: int) -> Sentence:
        """Return the sentence of a dataset, with the text of the map."""
        name = self._names[index]
        with reading(self.path):
            dataset = self._dataset(name)
            own, split = dataset.attrs.get("id"), dataset.attrs.get("tokens")
        count = None if self.description.pooled else dataset.shape[-2]
        called = self._called(name)
        text = called if self._by == "sentence" else self._map().get(name)
        number = name if self._by == "number" else str(index)
        tokens = (
            [""] * (count or 0)
            if text is None
            else _parse_tokens(split) or guess_tokens(text, count, self.path)
        )
        own = called if self._by in ("id", "name") else own
        return Sentence(number, tokens, text or "", own if isinstance(own, str) else None)

    def read(self, index: int, layers: Sequence[int] | None = None) -> Array:
        """Return the array of a dataset; only the given layers are read."""
        with reading(self.path):
            dataset = self._dataset(self._names[index])
            array: Array = (
                dataset[()] if layers is None else np.stack([dataset[layer] for layer in layers])
            )
        return array

    def token_counts(self) -> Iterable[int]:
        """Iterate over the number of tokens, from the arrays' shapes, or the text if pooled."""
        if self.description.pooled:
            return (len(self.sentence(index).tokens) for index in range(len(self)))
        return (self._dataset(name).shape[-2] for name in self._names)

    def windows(self, first: int = 0) -> Iterator[Chunk]:
        """Iterate over the sentences, one at a time."""
        for index in range(first, len(self)):
            yield [self.sentence(index)], [self.read(index)]

    def checks(self) -> Checks:
        """Return the CRC-32 checksums of windows, if this package wrote the file."""
        return checks_of(
            self._file,
            self.path,
            lambda index, found: _told(self._names[index], found.id, found.text, found.tokens),
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _dataset(self, name: str) -> h5py.Dataset:
        dataset = find_dataset(self._file, name, self.path)
        expected = self.description.shape(dataset.shape[-2] if dataset.ndim > 1 else 0)
        if dataset.shape != expected:
            raise FeaturesError(
                f"{self.path}: {name!r} has the shape {dataset.shape}, unlike that of the first "
                "sentence; the file is damaged"
            )
        return dataset

    def _map(self) -> dict[str, str]:
        """Return the map from the names of datasets to sentences.

        A map of this package repeats the key of equal sentences, so that each dataset has an entry.
        """
        if self._texts is None:
            with reading(self.path):
                found = (
                    find_dataset(self._file, SENTENCE_MAP, self.path, "O")[0]
                    if SENTENCE_MAP in self._file
                    else "{}"
                )
                self._texts = {
                    name: text for text, name in json.loads(found, object_pairs_hook=list)
                }
        return self._texts


def sentence_name(text: str) -> str:
    r"""Return the name of the dataset of a sentence.

    "\", "/" and NUL become "\\", "\s" and "\0"; "", "." and the name of the map become "\e", "\."
    and "\i". Nearly all sentences are unchanged; `sentence_text` is the inverse.
    """
    return _NAMES.get(text) or escape(text)


def sentence_text(name: str) -> str:
    """Return the sentence of a dataset's name: the inverse of `sentence_name`."""
    return _CALLED[name] if name in _CALLED else unescape(name)


def _told(name: str, id_: str | None, text: str, tokens: list[str]) -> tuple[str, ...]:
    """Return the stored texts of a sentence; tokens that are not stored are read as empty."""
    return (name, id_ or "", text, *(tokens if any(tokens) else ()))


def _parse_tokens(told: object) -> list[str] | None:
    try:
        tokens = json.loads(told) if isinstance(told, str) else None
    except ValueError:
        return None
    return (
        tokens
        if isinstance(tokens, list) and all(isinstance(token, str) for token in tokens)
        else None
    )

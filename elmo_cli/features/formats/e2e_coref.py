"""HDF5 layout of e2e-coref (Lee et al. 2018) and its successors: a group per document, layers last.

The name of a group is the key of the document with ":" for "/"; it contains the datasets "0", "1",
... of the sentences, (token, dim, layer). The document of a sentence is the one that the input
names separately (CoNLL-U's `# newdoc id`, CoNLL-2012's `#begin document`), else its id up to the
last "/" (bc/cctv/00/cctv_0000_0/12), or the complete id. The attributes of a dataset are the
number of the sentence in the input and its id (or the document and its number there). Tokens are
not stored.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from elmo_cli.errors import FeaturesError, OutputError
from elmo_cli.features.checksums import Checksums
from elmo_cli.features.formats._hdf5 import (
    attributes,
    checks_of,
    compression_of,
    describe,
    find_dataset,
    names_in_order,
    open_file,
    open_hdf5,
    reading,
    write_attributes,
)
from elmo_cli.features.protocols import Checks, Chunk
from elmo_cli.features.spec import FeatureSpec, WriteOptions
from elmo_cli.io.output_file import OutputFile
from elmo_cli.io.partial_file import PartialFile
from elmo_cli.types import Array, Sentence


@contextmanager
def open_writer(
    output: OutputFile, description: FeatureSpec, options: WriteOptions
) -> Iterator["CorefWriter"]:
    """Open a writer of the layout."""
    with open_hdf5(output, track_order=True) as (partial, file):
        writer = CorefWriter(partial, file, description, options)
        yield writer
        writer.finish()


class CorefWriter:
    """Writer of the layout. A single layer is written as (token, dim, 1)."""

    def __init__(
        self, partial: PartialFile, file: h5py.File, description: FeatureSpec, options: WriteOptions
    ) -> None:
        self.description = description
        self.options = options
        self.skipped_duplicates = 0
        self._sizes: Counter[str] = Counter()
        self._checksums = Checksums()
        self._partial, self._file = partial, file
        write_attributes(file, description.text("e2e-coref", "id"))

    def write(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        """Write the sentences of a window to the groups of their documents.

        Raises:
            OutputError: The disk is full or gone, or a sentence has no id.
        """
        with self._partial.raising_failures():
            for sentence, array in zip(window, arrays, strict=True):
                self._add(sentence, array)
            self._checksums.end_window()

    def _add(self, sentence: Sentence, array: Array) -> None:
        document = document_of(sentence)
        layers = array if self.description.layered else array[None]
        values = np.ascontiguousarray(np.moveaxis(layers, 0, -1), dtype=self.description.dtype)
        compressed = compression_of(self.options.compression) if values.size else {}
        group = self._file.require_group(document)
        name = str(self._sizes[document])
        own = (sentence.id or f"{document}/{name}").replace("\0", "\\0")
        dataset = group.create_dataset(name, data=values, **compressed)
        dataset.attrs["number"], dataset.attrs["id"] = sentence.key, own
        self._checksums.add((document, name, sentence.key, own), np.moveaxis(values, -1, 0))
        self._sizes[document] += 1

    def finish(self) -> None:
        """Write the checksums."""
        with self._partial.raising_failures():
            self._checksums.write(self._file)


def document_of(sentence: Sentence) -> str:
    """Return the name of the group of a sentence.

    Raises:
        OutputError: The sentence has neither document nor id.
    """
    if not sentence.id and not sentence.document:
        raise OutputError(
            f"--layout e2e-coref: sentence {sentence.key} has no id for its document; use an input "
            "format with ids, or another layout"
        )
    own = sentence.id or ""
    document = sentence.document or own.rpartition("/")[0] or own
    return {".": ":."}.get(document) or document.replace("/", ":").replace("\0", "\\0")


class CorefReader:
    """Reader of the layout; sentences of e2e-coref's own files are ordered by document."""

    layout = "e2e-coref"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_file(path)
        with reading(path):
            told = attributes(self._file)
            places = [
                (document, str(i))
                for document in names_in_order(self._file)
                for i in range(len(self._group(document)))
            ]
            numbered = sorted(zip(self._find_numbers(places, told), places, strict=True))
            self._numbers, self._places = (
                [number for number, _ in numbered],
                [place for _, place in numbered],
            )
            first = self._dataset(0) if places else None
            shape = first and (first.shape[2], *first.shape[:2])
            self.description = describe(
                told, shape, first.dtype.name if first else told.get("dtype", "float32")
            )

    def _find_numbers(self, places: list[tuple[str, str]], told: dict[str, str]) -> Sequence[int]:
        """Return the numbers of the sentences in the input, if the file contains all of them."""
        if "layout" not in told:
            return range(len(places))
        found = [
            find_dataset(self._group(document), name, self.path).attrs.get("number")
            for document, name in places
        ]
        is_told = all(isinstance(number, str) and number.isdecimal() for number in found)
        return list(map(int, found)) if is_told else range(len(places))

    def _group(self, document: str) -> h5py.Group:
        if not isinstance(self._file.get(document, getlink=True), h5py.HardLink) or not isinstance(
            self._file[document], h5py.Group
        ):
            raise FeaturesError(
                f"{self.path}: {document!r} is not a group of a document's sentences; this is not "
                "a file of features"
            )
        return self._file[document]

    def _dataset(self, index: int) -> h5py.Dataset:
        document, name = self._places[index]
        dataset = find_dataset(self._group(document), name, self.path)
        if dataset.ndim != 3 or (
            index and dataset.shape[1:] != (self.description.dim, len(self.description.names))
        ):
            raise FeaturesError(
                f"{self.path}: {document}/{name} has the shape {dataset.shape}, not (token, dim, "
                "layer)"
            )
        return dataset

    def __len__(self) -> int:
        return len(self._places)

    def keys(self) -> list[str]:
        """Return the ids, or the document and the number of the sentence there."""
        return [self._id(index) for index in range(len(self))]

    def _id(self, index: int) -> str:
        with reading(self.path):
            own = self._dataset(index).attrs.get("id")
        return own if isinstance(own, str) and own else "/".join(self._places[index])

    def sentence(self, index: int) -> Sentence:
        """Return a sentence with empty tokens, which the layout does not store."""
        tokens = [""] * self._dataset(index).shape[0]
        return Sentence(
            str(self._numbers[index]), tokens, "", self._id(index), document=self._places[index][0]
        )

    def read(self, index: int, layers: Sequence[int] | None = None) -> Array:
        """Return the array of a sentence, with the layers first."""
        with reading(self.path):
            dataset = self._dataset(index)
            if layers is None:
                array: Array = np.moveaxis(dataset[()], -1, 0)
            else:
                array = np.stack([dataset[..., layer] for layer in layers])
        return array if self.description.layered else array[0]

    def token_counts(self) -> Iterable[int]:
        """Iterate over the number of tokens of each sentence, from the arrays' shapes."""
        return (self._dataset(index).shape[0] for index in range(len(self)))

    def windows(self, first: int = 0) -> Iterator[Chunk]:
        """Iterate over the sentences, one at a time."""
        for index in range(first, len(self)):
            yield [self.sentence(index)], [self.read(index)]

    def checks(self) -> Checks:
        """Return the CRC-32 checksums of windows, if this package wrote the file."""
        return checks_of(
            self._file,
            self.path,
            lambda index, found: (*self._places[index], found.key, found.id or ""),
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()

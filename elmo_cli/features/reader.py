"""Lazy reader of feature files of any format, in the order of the input."""

import operator
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar

import numpy as np

from elmo_cli.errors import FeaturesError
from elmo_cli.features.checksums import find_wrong
from elmo_cli.features.formats.detection import find_format
from elmo_cli.features.formats.shared import SharedReader
from elmo_cli.features.protocols import Checks, Chunk, FeatureReader
from elmo_cli.features.spec import FeatureSpec
from elmo_cli.io.remote_path import features_path
from elmo_cli.types import Array, Sentence

if TYPE_CHECKING:
    from elmo_cli.features.torch_dataset import FeatureDataset

Item = TypeVar("Item")
LayerChoice = Iterable[SupportsIndex] | slice | None


class Features:
    """Open feature file: `features[i]` is the array of sentence i.

    An array is (layer, token, dim), without the layer axis for a single layer and without the token
    axis if pooled. Vectors are read on access. Use it in a `with` block, or call `close`. After
    `close`, path, layout, description, metadata and length are still available; all other methods
    raise FeaturesError.

    Several threads may read one file, one at a time. A forked process, or one that unpickles it,
    opens the file itself.
    """

    def __init__(self, path: Path, reader: FeatureReader) -> None:
        self.path = path
        self._reader = reader
        self._closed = False

    @property
    def layout(self) -> str:
        """Name of the format, one of FORMATS, such as "allennlp" or "parquet"."""
        return self._reader.layout

    @property
    def description(self) -> FeatureSpec:
        """Layers, dimensions and type of the arrays."""
        return self._reader.description

    @property
    def metadata(self) -> dict[str, str]:
        """Metadata of the file; empty if it has none.

        They record how it was made: model, model_sha256, options, layers, start_state, command, ...
        """
        return dict(self._reader.description.metadata)

    def __len__(self) -> int:
        """Number of sentences."""
        return len(self._reader)

    def __getitem__(self, index: SupportsIndex) -> Array:
        """Return the array of a sentence; negative numbers count from the end.

        Raises:
            FeaturesError: The file is damaged there.
            IndexError: There is no such sentence.
        """
        return self.read(index)

    def read(self, index: SupportsIndex, layers: LayerChoice = None) -> Array:
        """Return the array of a sentence with some of its layers; no other layer is read.

        Args:
            index: Place of the sentence, any integer; negative numbers count from the end.
            layers: Places of the layers in the file: a list or one-dimensional array of integers,
                negative ones from the end, or a slice. None for the array as it is.

        Returns:
            (chosen, token, dim).

        Raises:
            FeaturesError: There is no layer axis, or no such layer; or the file is damaged there.
            IndexError: There is no such sentence.
            TypeError: The layers are not integers; True and False are not accepted.
        """
        place = self._place(index)
        return self._opened().read(place, None if layers is None else self._layers(layers))

    def __iter__(self) -> Iterator[Array]:
        """Iterate over the arrays of all sentences, in order, read some at a time."""
        return self._while_open(array for _, arrays in self.windows() for array in arrays)

    def keys(self) -> list[str]:
        """Return the name of each sentence: its number in the input, its id, or its text."""
        return self._opened().keys()

    def sentence(self, index: int) -> Sentence:
        """Return a sentence.

        Tokens that the file does not contain are empty strings, and the text is then empty.
        """
        return self._opened().sentence(self._place(index))

    def tokens(self, index: int) -> list[str]:
        """Return the tokens of a sentence.

        Raises:
            FeaturesError: The file does not contain them.
            IndexError: There is no such sentence.
        """
        sentence = self.sentence(index)
        if sentence.tokens and not any(sentence.tokens):
            raise FeaturesError(f"{self.path}: does not contain the tokens of sentence {index}")
        return sentence.tokens

    def token_counts(self) -> Iterable[int]:
        """Iterate over the number of tokens of each sentence, in order; no vectors are read."""
        return self._while_open(self._opened().token_counts())

    def windows(self, first: int = 0) -> Iterator[Chunk]:
        """Iterate over the sentences from `first` with their arrays, in order, some at a time.

        This is the fastest way to read a complete file.
        """
        return self._while_open(self._opened().windows(first))

    def checks(self) -> Checks:
        """Return the checksums of the file."""
        return self._opened().checks()

    def torch_dataset(self, transform: "Callable[[Any], Any] | None" = None) -> "FeatureDataset":
        """Return a map-style PyTorch dataset of tensors, or of the results of `transform`.

        Each worker process opens the file itself. The dataset can therefore be read after these
        features are closed; its own `close` closes the file that it has opened.
        """
        from elmo_cli.features.torch_dataset import FeatureDataset  # imports torch

        return FeatureDataset(partial(open_features, self.path), len(self), transform)

    def close(self) -> None:
        """Close the file; closing it again has no effect."""
        if not self._closed:
            self._closed = True
            self._reader.close()

    def __enter__(self) -> "Features":
        self._opened()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _opened(self) -> FeatureReader:
        if self._closed:
            raise FeaturesError(f"{self.path}: the features are closed; open them again")
        return self._reader

    def _while_open(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            yield item
            self._opened()

    def _place(self, index: SupportsIndex) -> int:
        place = _integer(index)
        place += len(self) if place < 0 else 0
        if not 0 <= place < len(self):
            raise IndexError(f"sentence {index} of {len(self)}")
        return place

    def _layers(self, choice: Iterable[SupportsIndex] | slice) -> list[int]:
        n = len(self.description.names)
        layers = (
            list(range(n)[choice])
            if isinstance(choice, slice)
            else [_integer(layer) for layer in choice]
        )
        if not self.description.layered:
            raise FeaturesError(
                f"{self.path}: contains only {self.description.names[0]}; there are no layers to "
                "choose from"
            )
        if not layers or not all(-n <= layer < n for layer in layers):
            raise FeaturesError(
                f"{self.path}: contains layers 0 to {n - 1}, not {layers or choice}"
            )
        return [layer % n for layer in layers]


def _integer(value: SupportsIndex) -> int:
    """Return an integer of any type; a Boolean mask would be read as the numbers 1 and 0."""
    if isinstance(value, bool | np.bool_):
        raise TypeError(
            f"{value!r} is not an integer; pass the places of sentences or layers, such as "
            "numpy.flatnonzero(mask)"
        )
    return operator.index(value)


def open_features(path: str | Path) -> Features:
    """Open a feature file of any format, also one written by AllenNLP.

    Args:
        path: Path of a file or a folder of shards, or address of a remote folder (s3://...).

    Returns:
        The open file.

    Raises:
        FeaturesError: It does not exist, is damaged, or is not a feature file.
    """
    path = features_path(path)
    return Features(path, SharedReader(path, find_format(path).name))


def check_content(path: Path) -> None:
    """Read a complete feature file and compare it with its checksums, if it has any.

    Raises:
        FeaturesError: The file is damaged.
    """
    with open_features(path) as features:
        checks = features.checks()
        sentences = enumerate(
            pair for window in features.windows() for pair in zip(*window, strict=True)
        )
        wrong = list(
            find_wrong(
                ((checks.told(index, sentence), array) for index, (sentence, array) in sentences),
                checks.expected or (),
            )
        )
        if wrong and checks.expected is not None:
            first, end = wrong[0]
            raise FeaturesError(
                f"{path}: is damaged (sentences {first} to {end - 1} do not match their checksum); "
                "make it again"
            )

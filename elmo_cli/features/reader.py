"""Features read back: one way for every layout, lazy, in the order of the input."""

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
    """An open file of features: `features[i]` is sentence i's array, (layer, token, dim), fewer axes for one layer or pooled ones.

    Nothing is read before it is asked for. Use it in a `with` block, or call `close`. When it is closed, what is held in memory can
    still be asked for: path, layout, description, metadata and length; all else raises FeaturesError.

    Several threads may read one file; they take turns. A forked process and one that unpickles it open the file for themselves.
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
        """What the file tells of its making: model, model_sha256, options, layers, start_state, command, ...; empty if it tells nothing."""
        return dict(self._reader.description.metadata)

    def __len__(self) -> int:
        """Number of sentences."""
        return len(self._reader)

    def __getitem__(self, index: SupportsIndex) -> Array:
        """A sentence's array; negative numbers count from the end.

        Raises:
            FeaturesError: The file is damaged there.
            IndexError: There is no such sentence.
        """
        return self.read(index)

    def read(self, index: SupportsIndex, layers: LayerChoice = None) -> Array:
        """Return a sentence's array with some of the layers; no other layer is read.

        Args:
            index: Place of the sentence, any integer; negative numbers count from the end.
            layers: Places of the layers in the file: integers in a list or an integer array of one axis, negative ones from the end, or
                a slice. None for the array as it is.

        Returns:
            (chosen, token, dim).

        Raises:
            FeaturesError: There is no layer axis, or no such layer; or the file is damaged there.
            IndexError: There is no such sentence.
            TypeError: The layers are no integers; True and False are none.
        """
        place = self._place(index)
        return self._opened().read(place, None if layers is None else self._layers(layers))

    def __iter__(self) -> Iterator[Array]:
        """Every sentence's array, in order, read some at a time."""
        return self._while_open(array for _, arrays in self.windows() for array in arrays)

    def keys(self) -> list[str]:
        """What each sentence is called: its number in the input, its id, or its text."""
        return self._opened().keys()

    def sentence(self, index: int) -> Sentence:
        """A sentence, as far as the file tells of it; tokens that it does not tell are empty strings, and the text is empty too."""
        return self._opened().sentence(self._place(index))

    def tokens(self, index: int) -> list[str]:
        """The tokens of a sentence.

        Raises:
            FeaturesError: The file does not tell them.
            IndexError: There is no such sentence.
        """
        sentence = self.sentence(index)
        if sentence.tokens and not any(sentence.tokens):
            raise FeaturesError(f"{self.path}: does not tell the tokens of sentence {index}")
        return sentence.tokens

    def token_counts(self) -> Iterable[int]:
        """How many tokens each sentence has, in order; no vectors are read."""
        return self._while_open(self._opened().token_counts())

    def windows(self, first: int = 0) -> Iterator[Chunk]:
        """All sentences from one on with their arrays, in order, some at a time: the quick way through a file."""
        return self._while_open(self._opened().windows(first))

    def checks(self) -> Checks:
        """The checksums of the file."""
        return self._opened().checks()

    def torch_dataset(self, transform: "Callable[[Any], Any] | None" = None) -> "FeatureDataset":
        """A map-style PyTorch data set of tensors, or of what `transform` makes of them. Each worker opens the file for itself.

        So it can be read when these features are closed; its own `close` closes the file that it has opened.
        """
        from elmo_cli.features.torch_dataset import FeatureDataset  # imports torch

        return FeatureDataset(partial(open_features, self.path), len(self), transform)

    def close(self) -> None:
        """Close the file. It may be closed again, which does nothing."""
        if not self._closed:
            self._closed = True
            self._reader.close()

    def __enter__(self) -> "Features":
        self._opened()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
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
        layers = list(range(n)[choice]) if isinstance(choice, slice) else [_integer(layer) for layer in choice]
        if not self.description.layered:
            raise FeaturesError(f"{self.path}: holds {self.description.names[0]} alone; there are no layers to choose from")
        if not layers or not all(-n <= layer < n for layer in layers):
            raise FeaturesError(f"{self.path}: holds layers 0 to {n - 1}, not {layers or choice}")
        return [layer % n for layer in layers]


def _integer(value: SupportsIndex) -> int:
    """A whole number of any type; a mask of True and False would be taken for the numbers 1 and 0."""
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{value!r} is not an integer; pass the places of sentences or layers, such as numpy.flatnonzero(mask)")
    return operator.index(value)


def open_features(path: str | Path) -> Features:
    """Open a file of features, or a folder of shards, of any layout, AllenNLP's own files too; or a remote folder of shards (s3://...).

    Raises:
        FeaturesError: There is none, it is damaged, or it holds something else.
    """
    path = features_path(path)
    return Features(path, SharedReader(path, find_format(path).name))


def check_content(path: Path) -> None:
    """Read all of a file of features, and hold it against its checksums, if it has any.

    Raises:
        FeaturesError: It is damaged.
    """
    with open_features(path) as features:
        checks = features.checks()
        sentences = enumerate(pair for window in features.windows() for pair in zip(*window, strict=True))
        wrong = list(find_wrong(((checks.told(index, sentence), array) for index, (sentence, array) in sentences), checks.expected or ()))
        if wrong and checks.expected is not None:
            first, end = wrong[0]
            raise FeaturesError(f"{path}: is damaged (sentences {first} to {end - 1} do not fit their checksum); make it again")

"""Feature file as a PyTorch dataset, in its own module: reading a file does not import torch."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch.utils.data import Dataset

from elmo_cli.types import Array


class Sentences(Protocol):
    """Open feature file, such as `Features`."""

    def __getitem__(self, index: int) -> Array: ...

    def close(self) -> None:
        """Close the file."""


class FeatureDataset(Dataset[Any]):
    """Map-style dataset: item i is `Features.read(i)` as a tensor, or its `transform`.

    The file is opened when it is first read, in each worker process separately: an open file cannot
    be shared with a forked process.

    Args:
        open_file: Function that opens the file.
        length: Number of sentences.
        transform: Function that is applied to each tensor; None for the tensor.
    """

    def __init__(
        self,
        open_file: Callable[[], Sentences],
        length: int,
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        self.open_file = open_file
        self.transform = transform
        self._length = length
        self._features: Sentences | None = None
        self._worker: int | None = None

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401  # a tensor, unless transformed
        """Return the tensor of a sentence."""
        if self._features is None or self._worker != _worker():
            self._features, self._worker = self.open_file(), _worker()
        tensor = torch.from_numpy(self._features[index].copy())
        return self.transform(tensor) if self.transform else tensor

    def close(self) -> None:
        """Close the file of this process; the next read opens it again."""
        if self._features is not None and self._worker == _worker():
            self._features.close()
        self._features = None

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the open file."""
        return {**self.__dict__, "_features": None}


def _worker() -> int:
    info = torch.utils.data.get_worker_info()
    return -1 if info is None else info.id

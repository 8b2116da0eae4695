"""A file of features as a PyTorch data set. Apart from features.py, so that reading a file loads no torch."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch.utils.data import Dataset

from elmo_cli.types import Array


class Sentences(Protocol):
    """An open file of features."""

    def __getitem__(self, index: int) -> Array: ...

    def close(self) -> None:
        """Close it."""


class FeatureDataset(Dataset[Any]):
    """Sentence by sentence: item i is the tensor of `Features.read(i)`, or what `transform` makes of it.

    The file is opened when it is first read, in each worker process anew: open files do not survive a fork.
    """

    def __init__(self, open_file: Callable[[], Sentences], length: int, transform: Callable[[Any], Any] | None = None) -> None:
        self.open_file = open_file
        self.transform = transform
        self._length = length
        self._features: Sentences | None = None
        self._worker: int | None = None

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401  # a tensor, unless transformed
        """A sentence's tensor."""
        if self._features is None or self._worker != _worker():
            self._features, self._worker = self.open_file(), _worker()
        tensor = torch.from_numpy(self._features[index].copy())
        return self.transform(tensor) if self.transform else tensor

    def close(self) -> None:
        """Close the file of this process; whatever is read next opens it again."""
        if self._features is not None and self._worker == _worker():
            self._features.close()
        self._features = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the open file."""
        return {**self.__dict__, "_features": None}


def _worker() -> int:
    info = torch.utils.data.get_worker_info()
    return -1 if info is None else info.id

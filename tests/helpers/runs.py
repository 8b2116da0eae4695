"""Files of an interrupted run, and constants that several tests use."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from elmo_cli.features.protocols import FeatureWriter
from elmo_cli.types import Sentence

Elmo = Callable[..., Result]
Corpus = Callable[..., Path]
Run = Callable[..., Result]
Check = Callable[[], None]

WINDOW = 600  # tokens: the sample corpus has ten such windows


class BugError(Exception):
    """Stands for any bug."""


def embedding_stdin(output: Path, *options: object) -> list[object]:
    """The command that embeds its standard input, in a process of its own."""
    return [sys.executable, "-m", "elmo_cli", "embed", "-", output, *options]


def work_of(folder: Path, name: str = "out.h5") -> Path:
    return folder / f".{name}.elmo-work"


def parts_of(folder: Path) -> list[Path]:
    return sorted(work_of(folder).glob("*.part"))


def raising(error: BaseException | type[BaseException]) -> Callable[..., None]:
    """A function that does nothing but that."""

    def function(*_: object, **__: object) -> None:
        raise error

    return function


def stop_writing(
    patch: pytest.MonkeyPatch, kind: type[FeatureWriter], after: int, by: BaseException
) -> None:
    """Let stores of a kind write so many windows, and fail at the next."""
    written, write = [], kind.write

    def failing(
        store: FeatureWriter, window: Sequence[Sentence], arrays: Sequence[np.ndarray]
    ) -> None:
        written.append(window)
        if len(written) > after:
            raise by
        write(store, window, arrays)

    patch.setattr(kind, "write", failing)

"""What a stopped run leaves, and words that these tests share."""

from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Elmo = Callable[..., Result]
Corpus = Callable[..., Path]
Run = Callable[..., Result]
Check = Callable[[], None]

WINDOW = 600  # tokens: the sample corpus has ten such windows


class BugError(Exception):
    """Stands for any bug."""


def work_of(folder: Path, name: str = "out.h5") -> Path:
    return folder / f".{name}.elmo-work"


def parts_of(folder: Path) -> list[Path]:
    return sorted(work_of(folder).glob("*.part"))


def raising(error: type[BaseException]) -> Callable[..., None]:
    """A function that does nothing but that."""

    def function(*_: object, **__: object) -> None:
        raise error

    return function

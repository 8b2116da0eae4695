"""The models that are known by name: what `catalogue.json` tells of each, and where its files are published."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

BYTES_A_PARAMETER = 4  # the published files hold float32


@dataclass(frozen=True)
class WebFile:
    """A file of a model: the same under each of its URLs."""

    name: str
    urls: tuple[str, ...]
    bytes: int | None = None
    hash: str | None = None  # "sha256:..." or "sha1:...", where one is published


@dataclass(frozen=True)
class KnownModel:
    """A model of the catalogue."""

    name: str
    language: str
    domain: str
    licence: str
    paper: str
    tokens: str  # what it takes for a token
    format: str  # of checkpoints/
    files: tuple[WebFile, ...]  # none: it comes with the package
    parameters: int | None = None
    at_least: bool = False  # its dictionaries, whose sizes are not published, have parameters besides

    @property
    def size(self) -> int | None:
        """Bytes of its weights, nearly, where that can be told."""
        if not self.files:
            return Path(__file__).with_name(self.name).joinpath("weights.hdf5").stat().st_size
        told = sum(file.bytes or 0 for file in self.files)
        return told or (self.parameters and BYTES_A_PARAMETER * self.parameters)

    def is_in(self, folder: Path) -> bool:
        """Whether the folder holds its files, or others that were put there by hand."""
        if not self.files:
            return True
        if not folder.is_dir():
            return False
        names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        wanted = {file.name for file in self.files}
        return wanted <= names or bool(names - wanted)


@cache
def load_catalogue() -> dict[str, KnownModel]:
    """Every known model by its name."""
    entries = json.loads(Path(__file__).with_name("catalogue.json").read_bytes())
    return {name: _read(name, entry) for name, entry in entries.items()}


def _read(name: str, entry: dict[str, object]) -> KnownModel:
    files = entry.pop("files")
    assert isinstance(files, list)  # noqa: S101  # our own file
    return KnownModel(name, files=tuple(WebFile(**{**file, "urls": tuple(file["urls"])}) for file in files), **entry)  # type: ignore[arg-type]

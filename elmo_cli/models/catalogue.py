"""Catalogue of known models (`catalogue.json`): their properties and the URLs of their files."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

BYTES_PER_PARAMETER = 4  # published files are float32


@dataclass(frozen=True)
class WebFile:
    """File of a model.

    Attributes:
        name: File name.
        urls: URLs of the same file, in order of preference.
        bytes: Size, if it is published.
        hash: "sha256:..." or "sha1:...", if it is published.
    """

    name: str
    urls: tuple[str, ...]
    bytes: int | None = None
    hash: str | None = None


@dataclass(frozen=True)
class KnownModel:
    """Model of the catalogue.

    Attributes:
        name: Name in the catalogue.
        language: Language of the training text.
        domain: Domain and size of the training text.
        licence: Licence of the weights.
        paper: Publication.
        tokens: Tokenization that the model expects.
        format: Format of the files, a key of `MODEL_FORMATS`.
        files: Files to download; empty for the model of the package.
        parameters: Number of parameters, if it is known.
        at_least: Whether the model has further parameters, in dictionaries of unpublished size.
    """

    name: str
    language: str
    domain: str
    licence: str
    paper: str
    tokens: str
    format: str
    files: tuple[WebFile, ...]
    parameters: int | None = None
    at_least: bool = False

    @property
    def size(self) -> int | None:
        """Approximate size of the files in bytes, or None if it is not known."""
        if not self.files:
            return Path(__file__).with_name(self.name).joinpath("weights.hdf5").stat().st_size
        published = sum(file.bytes or 0 for file in self.files)
        return published or (self.parameters and BYTES_PER_PARAMETER * self.parameters)

    def is_in(self, folder: Path) -> bool:
        """Return whether a folder contains the model, downloaded or put there by hand.

        Args:
            folder: Path of the folder, which need not exist.
        """
        if not self.files:
            return True
        if not folder.is_dir():
            return False
        names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        wanted = {file.name for file in self.files}
        return wanted <= names or bool(names - wanted)


@cache
def load_catalogue() -> dict[str, KnownModel]:
    """Load the catalogue.

    Returns:
        Models by name.
    """
    entries = json.loads(Path(__file__).with_name("catalogue.json").read_bytes())
    return {name: _read(name, entry) for name, entry in entries.items()}


def _read(name: str, entry: dict[str, Any]) -> KnownModel:
    files = entry.pop("files")
    return KnownModel(
        name,
        files=tuple(WebFile(**{**file, "urls": tuple(file["urls"])}) for file in files),
        **entry,
    )

"""The folder of downloaded and unpacked models, and the record of what its files hashed to when they were first seen."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from elmo_cli.errors import ModelError
from elmo_cli.io.atomic import atomic_write

HASH_BLOCK = 1 << 20
RECORD = ".sha256.json"  # beside the files it is about
ANOTHER_CACHE = "name another folder with --cache-dir or ELMO_CACHE"


def default_folder() -> Path:
    """Where models are kept: ELMO_CACHE, or by the platform's convention.

    Raises:
        ModelError: Neither the environment nor the system names a home folder.
    """
    named = os.environ.get("ELMO_CACHE")
    if named:
        return Path(named)
    import platformdirs

    try:
        folder = platformdirs.user_cache_path("elmo", appauthor=False)
    except RuntimeError:  # older versions return "~/.cache/elmo" as it is
        folder = Path()
    if not folder.is_absolute():
        fact = "there is no folder for models that are downloaded or unpacked, because this user has no home folder"
        raise ModelError(f"{fact}; name one with --cache-dir or ELMO_CACHE")
    return folder


def default_offline() -> bool:
    """Whether ELMO_OFFLINE forbids the network."""
    return os.environ.get("ELMO_OFFLINE", "").lower() not in ("", "0", "false", "no")


@dataclass(frozen=True)
class Cache:
    """Where models are kept, whether more may be fetched, and who is told of it.

    Without `root` the folder is the default one, which is looked up when it is first needed: a local model needs none.
    """

    root: Path | None = None
    offline: bool = field(default_factory=default_offline)
    progress: Callable[[str, int, int | None], None] = lambda *_: None  # a file's name, bytes that are there, bytes in all
    say: Callable[[str], None] = lambda _: None

    @cached_property
    def folder(self) -> Path:
        """Where models are kept."""
        return self.root or default_folder()

    @contextmanager
    def failing_as_model_error(self) -> Iterator[None]:
        """Raise what the system refuses in the cache as a ModelError that names the settings of the cache."""
        try:
            yield
        except OSError as error:
            place = self.folder if error.filename is None else os.fsdecode(error.filename)
            raise ModelError(f"{place}: {(error.strerror or str(error)).lower()}; {ANOTHER_CACHE}") from None

    def place(self, name: str) -> Path:
        """The folder of a model of the catalogue."""
        return self.folder / name

    def unpacked(self, archive: Path) -> Path:
        """The folder that an archive is unpacked to: another one when the archive changes."""
        state = archive.stat()
        key = f"{archive.resolve()}\0{state.st_size}\0{state.st_mtime_ns}"
        return self.folder / ".unpacked" / hashlib.sha256(os.fsencode(key)).hexdigest()[:24]


def sha256(paths: Path | Iterable[Path]) -> str:
    """Hash of a file, or of several one after another as `cat` would join them; hexadecimal."""
    return _digest([paths] if isinstance(paths, Path) else paths, "sha256")


def _digest(paths: Iterable[Path], algorithm: str) -> str:
    digest = hashlib.new(algorithm)
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(HASH_BLOCK):
                digest.update(block)
    return digest.hexdigest()


def check_hash(path: Path, published: str | None = None, *, again: bool = False) -> str | None:
    """Make sure that a file of the cache is the one it should be: by its published hash, and by what it was when first seen.

    `published` is "sha256:..." or "sha1:...". A file is read once, and once more only when its size or time has changed, or with
    `again`. Returns its sha256 where there was nothing to hold it against: it is recorded, and holds from now on.

    Raises:
        ModelError: It is another file.
    """
    record, state = _read_record(path.parent), path.stat()
    entry = record.get(path.name, {})
    stamp = {"size": state.st_size, "modified": state.st_mtime_ns, "published": published}
    if entry == {**entry, **stamp} and "sha256" in entry and not again:
        return None
    if published:
        algorithm, _, wanted = published.partition(":")
        found = _digest([path], algorithm)
        if found != wanted:
            raise ModelError(f"{path}: is not the published file ({algorithm} {found}, published {wanted}); delete it and fetch it anew")
    found, first = sha256(path), entry.get("sha256")
    if first and found != first:
        begin = f"if that is right, remove {path.parent} and begin anew"
        raise ModelError(f"{path}: has changed since it was first seen (sha256 {found}, then {first}); {begin}")
    _write_record(path.parent, {**record, path.name: {"sha256": found, **stamp}})
    return None if published or first else found


def recorded_hash(path: Path) -> str | None:
    """The sha256 that a file had when it was first seen."""
    value = _read_record(path.parent).get(path.name, {}).get("sha256")
    return value if isinstance(value, str) else None


def forget_hash(path: Path) -> None:
    """Take a file out of the record."""
    _write_record(path.parent, {name: entry for name, entry in _read_record(path.parent).items() if name != path.name})


def _read_record(folder: Path) -> dict[str, dict[str, object]]:
    try:
        record = json.loads((folder / RECORD).read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ModelError(f"{folder / RECORD}: {(error.strerror or str(error)).lower()}; {ANOTHER_CACHE}") from None
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or not all(isinstance(entry, dict) for entry in record.values()):
        raise ModelError(f"{folder / RECORD}: damaged; delete it, and the model's files will be hashed anew")
    return record


def _write_record(folder: Path, record: dict[str, dict[str, object]]) -> None:
    text = json.dumps(record, indent=1) + "\n"
    with suppress(OSError):  # a cache that may only be read is used as it is
        atomic_write(folder / RECORD, lambda path: path.write_text(text, encoding="utf-8"), shared=True)

"""Cache of downloaded and unpacked models, with a record of the sha256 of its files."""

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
RECORD = ".sha256.json"  # in the folder of the files
ANOTHER_CACHE = "choose another folder with --cache-dir or ELMO_CACHE"


def default_folder() -> Path:
    """Return the default folder of the cache: ELMO_CACHE, or by the platform's convention.

    Returns:
        Path of the folder, which need not exist.

    Raises:
        ModelError: Neither the environment nor the system provides a home folder.
    """
    named = os.environ.get("ELMO_CACHE")
    if named:
        return Path(named)
    import platformdirs

    try:
        folder = platformdirs.user_cache_path("elmo", appauthor=False)
    except RuntimeError:  # older versions return "~/.cache/elmo" unexpanded
        folder = Path()
    if not folder.is_absolute():
        fact = "no folder for downloaded and unpacked models, because this user has no home folder"
        raise ModelError(f"{fact}; set one with --cache-dir or ELMO_CACHE")
    return folder


def default_offline() -> bool:
    """Return whether ELMO_OFFLINE disables downloads."""
    return os.environ.get("ELMO_OFFLINE", "").lower() not in ("", "0", "false", "no")


@dataclass(frozen=True)
class Cache:
    """Settings of the model cache.

    Attributes:
        root: Folder of the cache; None: the default folder, looked up at the first use, since a
            local model needs none.
        offline: Whether downloads are disabled.
        progress: Called during downloads with the file's name, the bytes received and the total
            bytes, if known.
        notify: Called with messages for the user.
    """

    root: Path | None = None
    offline: bool = field(default_factory=default_offline)
    progress: Callable[[str, int, int | None], None] = lambda *_: None
    notify: Callable[[str], None] = lambda _: None

    @cached_property
    def folder(self) -> Path:
        """Folder of the cache."""
        return self.root or default_folder()

    @contextmanager
    def raising_model_errors(self) -> Iterator[None]:
        """Convert an OSError in the cache to a ModelError that mentions the settings of the cache.

        Raises:
            ModelError: An operation in the context failed.
        """
        try:
            yield
        except OSError as error:
            place = self.folder if error.filename is None else os.fsdecode(error.filename)
            raise ModelError(
                f"{place}: {(error.strerror or str(error)).lower()}; {ANOTHER_CACHE}"
            ) from None

    def place(self, name: str) -> Path:
        """Return the folder of a model of the catalogue."""
        return self.folder / name

    def unpacked(self, archive: Path) -> Path:
        """Return the folder that an archive is unpacked to, by its path, size and time."""
        state = archive.stat()
        key = f"{archive.resolve()}\0{state.st_size}\0{state.st_mtime_ns}"
        return self.folder / ".unpacked" / hashlib.sha256(os.fsencode(key)).hexdigest()[:24]


def sha256(paths: Path | Iterable[Path]) -> str:
    """Return the hash of a file, or of the concatenation of several files.

    Args:
        paths: Path, or paths in order.

    Returns:
        The hash, hexadecimal.
    """
    return _digest([paths] if isinstance(paths, Path) else paths, "sha256")


def _digest(paths: Iterable[Path], algorithm: str) -> str:
    digest = hashlib.new(algorithm)
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(HASH_BLOCK):
                digest.update(block)
    return digest.hexdigest()


def check_hash(path: Path, published: str | None = None, *, again: bool = False) -> str | None:
    """Check a file of the cache against its published hash and the hash recorded at its first use.

    A file is read at the first use, when its size or time has changed, and if `again`.

    Args:
        path: Path of the file.
        published: "sha256:..." or "sha1:..."; None: no hash is published.
        again: Whether to read the file even if it seems unchanged.

    Returns:
        The sha256 if it is recorded now without anything to compare it with, else None.

    Raises:
        ModelError: The file differs.
    """
    record, state = _read_record(path.parent), path.stat()
    entry = record.get(path.name, {})
    stamp = {"size": state.st_size, "modified": state.st_mtime_ns, "published": published}
    if entry == {**entry, **stamp} and "sha256" in entry and not again:
        return None
    if published:
        algorithm, _, expected = published.partition(":")
        found = _digest([path], algorithm)
        if found != expected:
            raise ModelError(
                f"{path}: is not the published file ({algorithm} {found}, published {expected}); "
                "delete it and download it again"
            )
    found, first = sha256(path), entry.get("sha256")
    if first and found != first:
        raise ModelError(
            f"{path}: has changed since its first use (sha256 {found}, recorded {first}); "
            f"if the change is intended, delete {path.parent} and run the command again"
        )
    _write_record(path.parent, {**record, path.name: {"sha256": found, **stamp}})
    return None if published or first else found


def recorded_hash(path: Path) -> str | None:
    """Return the sha256 recorded at the first use of a file, or None."""
    value = _read_record(path.parent).get(path.name, {}).get("sha256")
    return value if isinstance(value, str) else None


def remove_hash(path: Path) -> None:
    """Remove a file from the record."""
    _write_record(
        path.parent,
        {name: entry for name, entry in _read_record(path.parent).items() if name != path.name},
    )


def _read_record(folder: Path) -> dict[str, dict[str, object]]:
    try:
        record = json.loads((folder / RECORD).read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ModelError(
            f"{folder / RECORD}: {(error.strerror or str(error)).lower()}; {ANOTHER_CACHE}"
        ) from None
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or not all(
        isinstance(entry, dict) for entry in record.values()
    ):
        raise ModelError(f"{folder / RECORD}: damaged; delete it to hash the model's files again")
    return record


def _write_record(folder: Path, record: dict[str, dict[str, object]]) -> None:
    text = json.dumps(record, indent=1) + "\n"
    with suppress(OSError):  # a read-only cache is used without a record
        atomic_write(
            folder / RECORD, lambda path: path.write_text(text, encoding="utf-8"), shared=True
        )

"""The folder of downloaded and unpacked models, and the record of what its files hashed to when they were first seen."""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from elmo_cli.errors import ModelError

HASH_BLOCK = 1 << 20
RECORD = ".sha256.json"  # beside the files it is about


def default_folder() -> Path:
    """Where models are kept: ELMO_CACHE, or by the platform's convention."""
    named = os.environ.get("ELMO_CACHE")
    if named:
        return Path(named)
    import platformdirs

    return platformdirs.user_cache_path("elmo", appauthor=False)


def default_offline() -> bool:
    """Whether ELMO_OFFLINE forbids the network."""
    return os.environ.get("ELMO_OFFLINE", "").lower() not in ("", "0", "false", "no")


@dataclass(frozen=True)
class Cache:
    """Where models are kept, and whether more may be fetched."""

    folder: Path = field(default_factory=default_folder)
    offline: bool = field(default_factory=default_offline)

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
    digest = hashlib.sha256()
    for path in [paths] if isinstance(paths, Path) else paths:
        with path.open("rb") as file:
            while block := file.read(HASH_BLOCK):
                digest.update(block)
    return digest.hexdigest()


def check_hash(path: Path, known: str | None, *, again: bool = False) -> str | None:
    """Make sure that a file of the cache is the one that it ought to be: by its known sha256, or by what it was when first seen.

    A file is read once, and again only when its size or time has changed, or with `again`. Returns its sha256 where there was nothing
    to hold it against: it is recorded, and holds from now on.

    Raises:
        ModelError: It is another file.
    """
    record = _read_record(path.parent)
    entry = record.get(path.name, {})
    state = path.stat()
    stamp = {"size": state.st_size, "modified": state.st_mtime_ns}
    wanted = known or entry.get("sha256")
    if wanted and entry == {"sha256": wanted, **stamp} and not again:
        return None
    found = sha256(path)
    if wanted and found != wanted:
        told = "published as" if known else "was, when it was first fetched,"
        raise ModelError(f"{path}: is not the file that it should be (sha256 {found}; {told} {wanted}); delete it and fetch it anew")
    _write_record(path.parent, {**record, path.name: {"sha256": found, **stamp}})
    return None if wanted else found


def recorded_hash(path: Path) -> str | None:
    """The sha256 that a file had when it was first seen."""
    value = _read_record(path.parent).get(path.name, {}).get("sha256")
    return value if isinstance(value, str) else None


def _read_record(folder: Path) -> dict[str, dict[str, object]]:
    try:
        record = json.loads((folder / RECORD).read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or not all(isinstance(entry, dict) for entry in record.values()):
        raise ModelError(f"{folder / RECORD}: damaged; delete it, and the model's files will be hashed anew")
    return record


def _write_record(folder: Path, record: dict[str, dict[str, object]]) -> None:
    partial = folder / f"{RECORD}.{os.getpid()}"
    try:
        partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        partial.replace(folder / RECORD)
    except OSError:  # a cache that may only be read is used as it is
        partial.unlink(missing_ok=True)

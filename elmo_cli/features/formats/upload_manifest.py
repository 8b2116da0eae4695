"""Manifest of a remote folder of shards: uploaded last, it makes the folder complete."""

import json
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from elmo_cli.errors import FeaturesError
from elmo_cli.io.remote_path import RemotePath

MANIFEST = "_elmo_manifest.json"
VERSION = "1"


class UploadManifest(NamedTuple):
    """Fingerprint of the job that made the folder, and the size of each shard in bytes."""

    job: str
    shards: Mapping[str, int]

    def to_json(self) -> str:
        """Return the content of the manifest's file."""
        kept = {"version": VERSION, "job_sha256": self.job, "shards": dict(self.shards)}
        return json.dumps({**kept, "crc32": _checksum(kept)}, indent=1) + "\n"


def read_manifest(folder: RemotePath) -> UploadManifest | None:
    """Return the manifest of a folder; None if there is none.

    Raises:
        FeaturesError: The manifest is damaged.
        OSError: The server cannot be reached.
    """
    try:
        text = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        return None
    try:
        kept = json.loads(text)
        if kept.pop("crc32") != _checksum(kept) or kept["version"] != VERSION:
            raise ValueError
        return UploadManifest(
            str(kept["job_sha256"]), {str(name): int(size) for name, size in kept["shards"].items()}
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise FeaturesError(
            f"{folder}/{MANIFEST}: is damaged, or of another version of elmo"
        ) from None


def check_remote_features(folder: RemotePath) -> None:
    """Check that a folder has a manifest and all shards that the manifest lists.

    Raises:
        FeaturesError: The folder is not complete, or the server cannot be reached.
    """
    try:
        manifest = read_manifest(folder)
        sizes = {path.name: path.stat().st_size for path in folder.glob("*.parquet")}
    except OSError as error:
        raise FeaturesError(
            f"{folder}: cannot be read ({error}); check the address and your credentials"
        ) from None
    if manifest is None:
        found = (
            f"contains {len(sizes):,} shards and no manifest: its upload is not complete"
            if sizes
            else "contains no features: it has no manifest"
        )
        raise FeaturesError(
            f"{folder}: {found}; run elmo embed with --resume, or name another folder"
        )
    for name in sorted(manifest.shards.keys() | sizes.keys()):
        if manifest.shards.get(name) != sizes.get(name):
            what = "is missing" if name not in sizes else "does not match the manifest"
            raise FeaturesError(f"{folder}/{name}: {what}; the folder is damaged, make it again")


def _checksum(kept: Mapping[str, object]) -> int:
    return zlib.crc32(json.dumps(kept, sort_keys=True).encode())

"""Manifest of a run: the facts that decide its output. Only the same job may continue its work."""

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

FORMAT = "3"  # of work folders: changed when runs in the old format cannot be continued


@dataclass(frozen=True)
class Manifest:
    """Facts of a job.

    Attributes:
        job: Facts that decide the output, by their names in messages.
        metadata: Metadata of the output, which record how it was made.
    """

    job: Mapping[str, str]
    metadata: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the job, in hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.job, sort_keys=True).encode()).hexdigest()

    def differences(self, other: "Manifest") -> list[str]:
        """Return descriptions of the facts that differ: "--layers (top, now all)"."""
        names = dict.fromkeys([*self.job, *other.job])
        return [
            f"{name} ({_short(other.job.get(name))}, now {_short(self.job.get(name))})"
            for name in names
            if self.job.get(name) != other.job.get(name)
        ]

    def to_json(self) -> str:
        """Return the content of the file in a work folder."""
        kept = {"format": FORMAT, "job": dict(self.job), "metadata": dict(self.metadata)}
        return json.dumps({**kept, "crc32": _checksum(kept)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: bytes) -> "Manifest | None":
        """Return the manifest of such a content; None if it is damaged or of another format."""
        try:
            kept = json.loads(text)
            if kept["format"] != FORMAT or kept.pop("crc32") != _checksum(kept):
                return None
            return cls(
                {str(k): str(v) for k, v in kept["job"].items()},
                {str(k): str(v) for k, v in kept["metadata"].items()},
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None


def _checksum(kept: Mapping[str, object]) -> int:
    return zlib.crc32(json.dumps(kept, sort_keys=True).encode())


def _short(value: str | None) -> str:
    if value is None:
        return "not given"
    return value if len(value) <= 40 else f"{value[:12]}..."

"""Outputs that are no single file: a folder of shards, which appears whole or not at all, and standard output."""

import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from elmo_cli.errors import DiskError, OutputError, reason_of
from elmo_cli.io.atomic import apply_umask, check_disk_space, sync_folder

SHARD = "part-*.parquet"
ALSO_IN_FOLDERS = ("_SUCCESS", "_metadata", "_common_metadata")


@dataclass(frozen=True)
class OutputFolder:
    """A folder to be made, of shards: written beside its place under a hidden name, renamed when all shards are on the disk."""

    path: Path
    overwrite: bool = False
    room: Path | None = None  # a folder on the same disk for unfinished shards; without, they lie beside the output

    @property
    def folder(self) -> Path:
        """Where it will lie."""
        return self.target.parent

    @property
    def target(self) -> Path:
        """The folder itself, where the path is a link."""
        return Path(os.path.realpath(self.path))

    def check(self) -> None:
        """Make sure that the folder can be put there.

        Raises:
            OutputError: There is something that must not be replaced, or the folder around it is missing or not writable.
        """
        if self.target.exists() and not self.target.is_dir():
            raise OutputError(f"{self.path}: is a file, and shards make a folder; name a new one, or a file that ends in .parquet")
        if self._entries() and not self.overwrite:
            raise OutputError(f"{self.path}: exists already; pass --overwrite to replace it")
        strangers = [entry.name for entry in self._entries() if not (entry.match(SHARD) or entry.name in ALSO_IN_FOLDERS)]
        if strangers:
            raise OutputError(f"{self.path}: holds more than shards ({strangers[0]}), so it is not replaced; name another folder")
        if not self.target.parent.is_dir():
            raise OutputError(f"{self.path.parent}: no such folder; make it first")
        self.make_partial().rmdir()

    def check_space(self, n_bytes: int, remedy: str = "write fewer --layers") -> None:
        """Make sure that the disk has room."""
        check_disk_space(self.target, n_bytes, remedy)

    def check_is_none_of(self, inputs: Iterable[Path]) -> None:
        """Make sure that the folder holds nothing that is read.

        Raises:
            OutputError: It does.
        """
        if not self._entries():
            return
        target = self.target
        for path in inputs:
            real = Path(os.path.realpath(path))
            if target in (real, *real.parents):
                raise OutputError(f"{self.path}: is read by this run ({path}); choose another output")

    def make_partial(self) -> Path:
        """A new, empty, hidden folder.

        Raises:
            DiskError: It cannot be made.
        """
        try:
            partial = Path(tempfile.mkdtemp(prefix=f".{self.target.name[:40]}.", suffix=".partial", dir=self.room or self.folder))
        except OSError as error:
            raise DiskError(f"{self.path}: cannot be written ({reason_of(error)})") from None
        apply_umask(partial)
        return partial

    def put_in_place(self, partial: Path) -> None:
        """Give a folder whose files are on the disk its final name.

        Raises:
            OutputError: Another run has put one there meanwhile.
        """
        sync_folder(partial)
        self.check()
        old = self.make_partial() if self._entries() else None
        if old:
            self.target.replace(old)
        try:
            partial.rename(self.target)  # succeeds where nothing or an empty folder is
        except OSError:
            if old:
                old.rename(self.target)
            raise
        sync_folder(self.target.parent)
        if old:
            shutil.rmtree(old, ignore_errors=True)

    def size(self) -> int:
        """Bytes of its files."""
        return sum(entry.stat().st_size for entry in self._entries())

    def _entries(self) -> list[Path]:
        return sorted(self.target.iterdir()) if self.target.is_dir() else []

"""Output folder of shards, which appears complete or not at all."""

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
    """An output folder of shards. It has a hidden name until all shards are on the disk.

    Args:
        path: Path of the folder.
        overwrite: Whether an existing folder of shards is replaced.
        room: Folder on the same disk for unfinished shards; None for the parent folder.
    """

    path: Path
    overwrite: bool = False
    room: Path | None = None

    @property
    def folder(self) -> Path:
        """Parent folder of the folder."""
        return self.target.parent

    @property
    def target(self) -> Path:
        """Path of the folder, with links resolved."""
        return Path(os.path.realpath(self.path))

    def check(self) -> None:
        """Check that the folder can be written.

        Raises:
            OutputError: The path exists and must not be replaced, or the parent folder is missing
                or not writable.
        """
        if self.target.exists() and not self.target.is_dir():
            raise OutputError(
                f"{self.path}: is a file, but shards are written to a folder; name a new folder, "
                "or a file that ends in .parquet"
            )
        if self._entries() and not self.overwrite:
            raise OutputError(f"{self.path}: exists already; pass --overwrite to replace it")
        others = [
            entry.name
            for entry in self._entries()
            if not (entry.match(SHARD) or entry.name in ALSO_IN_FOLDERS)
        ]
        if others:
            raise OutputError(
                f"{self.path}: contains files other than shards ({others[0]}) and is not replaced; "
                "name another folder"
            )
        if not self.target.parent.is_dir():
            raise OutputError(f"{self.path.parent}: no such folder; make it first")
        self.make_partial().rmdir()

    def check_space(self, n_bytes: int, remedy: str = "write fewer --layers") -> None:
        """Check that the disk has enough free space for `n_bytes`."""
        check_disk_space(self.target, n_bytes, remedy)

    def check_is_none_of(self, inputs: Iterable[Path]) -> None:
        """Check that the folder does not contain an input.

        Raises:
            OutputError: The folder contains an input.
        """
        if not self._entries():
            return
        target = self.target
        for path in inputs:
            real = Path(os.path.realpath(path))
            if target in (real, *real.parents):
                raise OutputError(
                    f"{self.path}: is read by this run ({path}); choose another output"
                )

    def make_partial(self) -> Path:
        """Make a new, empty, hidden folder.

        Raises:
            DiskError: The folder cannot be made.
        """
        try:
            partial = Path(
                tempfile.mkdtemp(
                    prefix=f".{self.target.name[:40]}.",
                    suffix=".partial",
                    dir=self.room or self.folder,
                )
            )
        except OSError as error:
            raise DiskError(f"{self.path}: cannot be written ({reason_of(error)})") from None
        apply_umask(partial)
        return partial

    def put_in_place(self, partial: Path) -> None:
        """Rename a folder, whose files are on the disk, to its final name.

        Raises:
            OutputError: Another run has made the folder meanwhile.
        """
        sync_folder(partial)
        self.check()
        old = self.make_partial() if self._entries() else None
        if old:
            self.target.replace(old)
        try:
            # Succeeds if the target does not exist or is an empty folder
            partial.rename(self.target)
        except OSError:
            if old:
                old.rename(self.target)
            raise
        sync_folder(self.target.parent)
        if old:
            shutil.rmtree(old, ignore_errors=True)

    def size(self) -> int:
        """Return the total size of its files in bytes."""
        return sum(entry.stat().st_size for entry in self._entries())

    def _entries(self) -> list[Path]:
        return sorted(self.target.iterdir()) if self.target.is_dir() else []

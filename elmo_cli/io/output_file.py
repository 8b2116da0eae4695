"""Output files that appear complete or not at all: written under a temporary name, then renamed."""

import filecmp
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from elmo_cli.errors import DiskError, OutputError, reason_of
from elmo_cli.io.atomic import apply_umask, check_disk_space, sync, sync_folder
from elmo_cli.io.partial_file import PartialFile
from elmo_cli.io.stdout import Pipe, Stdout


class OutputTarget(Protocol):
    """Target of an output: a file, a folder or standard output.

    An implementer provides the checks that run before any work is done, so that a run with an
    unusable output fails at once with an ElmoError.
    """

    @property
    def path(self) -> Path:
        """Path as the user named it."""

    def check(self) -> None:
        """Check that the output can be written, before any work is done."""

    def check_space(self, n_bytes: int, remedy: str = ...) -> None:
        """Check that there is enough free space for `n_bytes`."""

    def check_is_none_of(self, inputs: Iterable[Path]) -> None:
        """Check that the output does not replace an input."""

    def size(self) -> int:
        """Return the size of the finished output in bytes."""


@dataclass(frozen=True)
class OutputFile:
    """An output file; if the path is a symbolic link, its target is written and the link stays.

    Args:
        path: Path of the file.
        overwrite: Whether an existing file is replaced.
        room: Folder on the same disk for unfinished files; None for the folder of the file.
    """

    path: Path
    overwrite: bool = False
    room: Path | None = None

    @property
    def target(self) -> Path:
        """Path of the file, with links resolved."""
        return Path(os.path.realpath(self.path))

    @property
    def folder(self) -> Path:
        """Folder of the file."""
        return self.target.parent

    def check(self) -> None:
        """Check that the file can be written, before any work is done.

        Raises:
            OutputError: The path exists already, or the folder is missing or not writable.
        """
        if self.target.is_dir():
            raise OutputError(
                f"{self.path}: is a directory; name a file, or pass --output-format parquet for a "
                "folder of shards"
            )
        if self.target.exists() and not self.target.is_file():
            raise OutputError(
                f"{self.path}: is not a regular file; name a regular file or a new one"
            )
        if self.target.exists() and not self.overwrite:
            raise OutputError(f"{self.path}: exists already; pass --overwrite to replace it")
        if not self.folder.is_dir():
            raise OutputError(f"{self.path.parent}: no such folder; make it first")
        trial = self.make_partial()
        trial.discard()
        trial.close()

    def check_space(self, n_bytes: int, remedy: str = "write fewer --layers") -> None:
        """Check that the disk has enough free space.

        Args:
            n_bytes: Size of the file.
            remedy: What the user can do.

        Raises:
            OutputError: The free space is too small.
        """
        check_disk_space(self.target, n_bytes, remedy)

    def check_is_none_of(self, inputs: Iterable[Path]) -> None:
        """Check that the output does not replace an input.

        Raises:
            OutputError: The output is one of the inputs.
        """
        try:
            target = self.target.stat()
        except FileNotFoundError:
            return
        for path in inputs:
            if path.exists() and os.path.samestat(target, path.stat()):
                raise OutputError(
                    f"{self.path}: is read by this run ({path}); choose another output"
                )

    def size(self) -> int:
        """Return the size of the finished file in bytes."""
        return self.target.stat().st_size

    def make_partial(self) -> PartialFile:
        """Make a new, empty, hidden file with the permissions of the output.

        Raises:
            DiskError: The file cannot be made.
        """
        try:
            descriptor, name = tempfile.mkstemp(
                prefix=f".{self.target.name[:40]}.", suffix=".partial", dir=self.room or self.folder
            )
        except OSError as error:
            raise DiskError(f"{self.path}: cannot be written ({reason_of(error)})") from None
        os.close(descriptor)
        apply_umask(Path(name))
        return PartialFile(Path(name))

    def put_in_place(self, partial: PartialFile) -> None:
        """Rename a complete file to its final name; its content is flushed to the disk first.

        Raises:
            OutputError: Another run has made the file meanwhile.
        """
        partial.close()
        sync(partial.path)
        if self.overwrite:
            partial.path.replace(self.target)
        else:
            self._put_in_free_place(partial.path)
        sync_folder(self.folder)

    def _put_in_free_place(self, whole: Path) -> None:
        """Rename without replacing a file that has appeared.

        It uses a hard link, or a check on disks without links.

        A file of the same bytes may exist, if a run was killed after the rename and has been
        resumed.
        """
        if self.target.is_file() and filecmp.cmp(whole, self.target, shallow=False):
            return
        taken = f"{self.path}: has appeared during the run; pass --overwrite to replace it"
        try:
            os.link(whole, self.target)
        except FileExistsError:
            raise OutputError(taken) from None
        except OSError:
            if self.target.exists():
                raise OutputError(taken) from None
            whole.replace(self.target)


@contextmanager
def open_output(output: OutputFile) -> Iterator[PartialFile]:
    """Open the unfinished file of an output, which gets its final name when the block ends.

    Args:
        output: The output.

    Yields:
        The file, hidden. If the block fails, it is removed, and what is still written to it is
        discarded.

    Raises:
        OutputError: The file cannot be made, or another run has put one in its place.
        OSError: The disk is full or gone when the block ends.
    """
    partial = output.make_partial()
    try:
        yield partial
        output.put_in_place(partial)
    finally:
        partial.discard()
        partial.close()


def open_stream(output: OutputFile | Stdout) -> AbstractContextManager[PartialFile | Pipe]:
    """Open an output that may be standard output; see `open_output`."""
    return nullcontext(Pipe()) if isinstance(output, Stdout) else open_output(output)

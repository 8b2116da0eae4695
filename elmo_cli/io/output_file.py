"""Output files that appear whole or not at all: written beside their final place under another name, then renamed."""

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
    """Where an output goes."""

    @property
    def path(self) -> Path:
        """As it was named."""

    def check(self) -> None:
        """Make sure that it can be put there, before any work is done for it."""

    def check_space(self, n_bytes: int, remedy: str = ...) -> None:
        """Make sure that there is room for it."""

    def check_is_none_of(self, inputs: Iterable[Path]) -> None:
        """Make sure that it replaces nothing that is read."""

    def size(self) -> int:
        """Bytes of the finished output."""


@dataclass(frozen=True)
class OutputFile:
    """A file to be made. Through a symbolic link the file that it leads to is made, and the link stays."""

    path: Path
    overwrite: bool = False
    room: Path | None = None  # a folder on the same disk for unfinished files; without, they lie beside the output

    @property
    def target(self) -> Path:
        """The file itself."""
        return Path(os.path.realpath(self.path))

    @property
    def folder(self) -> Path:
        """Where it will lie."""
        return self.target.parent

    def check(self) -> None:
        """Make sure that the file can be put there, before any work is done for it.

        Raises:
            OutputError: Something is there already, or the folder is missing or not writable.
        """
        if self.target.is_dir():
            raise OutputError(f"{self.path}: is a directory; name a file, or pass --output-format parquet for a folder of shards")
        if self.target.exists() and not self.target.is_file():
            raise OutputError(f"{self.path}: is no regular file; name one, or a new one")
        if self.target.exists() and not self.overwrite:
            raise OutputError(f"{self.path}: exists already; pass --overwrite to replace it")
        if not self.folder.is_dir():
            raise OutputError(f"{self.path.parent}: no such folder; make it first")
        trial = self.make_partial()
        trial.discard()
        trial.close()

    def check_space(self, n_bytes: int, remedy: str = "write fewer --layers") -> None:
        """Make sure that the disk has room for a file of this size.

        Raises:
            OutputError: It has not.
        """
        check_disk_space(self.target, n_bytes, remedy)

    def check_is_none_of(self, inputs: Iterable[Path]) -> None:
        """Make sure that the output replaces nothing that is read.

        Raises:
            OutputError: It is one of the inputs.
        """
        try:
            target = self.target.stat()
        except FileNotFoundError:
            return
        for path in inputs:
            if path.exists() and os.path.samestat(target, path.stat()):
                raise OutputError(f"{self.path}: is read by this run ({path}); choose another output")

    def size(self) -> int:
        """Bytes of the finished file."""
        return self.target.stat().st_size

    def make_partial(self) -> PartialFile:
        """A new, empty file, hidden, with the permissions that the output itself would get.

        Raises:
            DiskError: It cannot be made.
        """
        try:
            descriptor, name = tempfile.mkstemp(prefix=f".{self.target.name[:40]}.", suffix=".partial", dir=self.room or self.folder)
        except OSError as error:
            raise DiskError(f"{self.path}: cannot be written ({reason_of(error)})") from None
        os.close(descriptor)
        apply_umask(Path(name))
        return PartialFile(Path(name))

    def put_in_place(self, partial: PartialFile) -> None:
        """Give a whole file its final name, durably: its bytes reach the disk before the name does.

        Raises:
            OutputError: Another run has put a file there meanwhile.
        """
        partial.close()
        sync(partial.path)
        if self.overwrite:
            partial.path.replace(self.target)
        else:
            self._put_in_free_place(partial.path)
        sync_folder(self.folder)

    def _put_in_free_place(self, whole: Path) -> None:
        """Rename without replacing: a link is refused where a file has appeared. Where there are no links, a look must do.

        A file of the same bytes may be there: a run was killed when it had put its output in place, and has been gone on with.
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

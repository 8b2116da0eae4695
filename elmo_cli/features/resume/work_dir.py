"""Work folder of an output, `.NAME.elmo-work/` beside it.

It contains the plan of the job, a lock, a part for each finished window, and all unfinished files
of the run. It is removed when the output is complete.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import count, takewhile
from pathlib import Path

from elmo_cli.errors import DiskError, OutputError, ResumeError
from elmo_cli.features.resume.manifest import Manifest
from elmo_cli.features.resume.parts import count_sentences
from elmo_cli.io.atomic import atomic_write, sync_folder, writing_errors
from elmo_cli.io.lock import locked
from elmo_cli.io.output_file import OutputFile
from elmo_cli.io.output_folder import OutputFolder

PLAN = "plan.json"
FINISHED = "finished.json"  # the plan, when the output is complete
LONGEST_NAME = 200  # bytes; a file's name may have 255


def hidden_name(name: str, suffix: str) -> str:
    """Return the name of a work folder, `.NAME.SUFFIX`, with a hash if the name is long."""
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = f"{name[:40]}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}"
    return f".{name}.{suffix}"


@dataclass(frozen=True)
class WorkDir:
    """Work folder of an output; it need not exist.

    Attributes:
        output: The output.
        resume: Whether to continue work in the folder.
        fresh: Whether to discard work in the folder.
    """

    output: OutputFile | OutputFolder
    resume: bool = False
    fresh: bool = False

    @property
    def path(self) -> Path:
        """Path of the folder."""
        return self.output.folder / hidden_name(self.output.target.name, "elmo-work")

    @property
    def room(self) -> OutputFile | OutputFolder:
        """The output, with its unfinished files in this folder."""
        return replace(self.output, room=self.path)

    def part(self, number: int) -> Path:
        """Return the path of a part, counted from 0."""
        return self.path / f"{number:08d}.part"

    def parts(self) -> list[Path]:
        """Return the paths of the existing parts up to the first gap."""
        return (
            list(takewhile(Path.is_file, map(self.part, count())))
            if (self.path / PLAN).is_file()
            else []
        )

    def kept_sentences(self) -> int:
        """Return the number of sentences in the parts."""
        return sum(map(count_sentences, self.parts()))

    def kept_bytes(self) -> int:
        """Return the size of the parts in bytes."""
        return sum(part.stat().st_size for part in self.parts())

    def check(self) -> None:
        """Check that no other run uses the folder, and that no work would be discarded by mistake.

        Raises:
            OutputError: Another run uses it; or there is unfinished work, and neither `resume` nor
                `fresh` is given.
        """
        if self.path.is_dir():
            with self.claim():
                pass

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Lock the folder; at the end it is removed, unless it contains parts or FINISHED.

        Raises:
            OutputError: Another run holds the lock; there is unfinished work, and neither
                `resume` nor `fresh` is given; or the folder cannot be created.
        """
        if self.path.is_symlink():  # its target is not ours to remove
            raise OutputError(
                f"{self.output.path}: its work folder {self.path} is a link; remove it"
            )
        with ExitStack() as claimed:
            with self._failing_as_output_error(), self._naming_its_owner():
                claimed.enter_context(locked(self.path, self.output.path))
                for leftover in self.path.glob(".*.partial"):  # of a run that was killed
                    _remove(leftover)
            claimed.callback(self._remove_unless_of_use)
            self._refuse_unfinished()
            yield

    @contextmanager
    def _naming_its_owner(self) -> Iterator[None]:
        """Name the owner in the error for a folder that another user's run has left."""
        try:
            yield
        except PermissionError:
            if not self.path.is_dir():
                raise
            owner = _owner(self.path)
            remedy = "remove it, or let its owner do so, or name another output"
            raise DiskError(
                f"{self.output.path}: its work folder {self.path}, of {owner}, may not be written "
                f"to; {remedy}"
            ) from None

    def _refuse_unfinished(self) -> None:
        if self.resume or self.fresh or not self.parts():
            return
        self._read_plan()
        if kept := self.kept_sentences():
            raise ResumeError(
                f"{self.output.path}: a run was stopped after {kept:,} "
                f"sentence{'s' if kept > 1 else ''}; "
                "pass --resume to continue, or --fresh to start over"
            )

    def _remove_unless_of_use(self) -> None:
        if not (self.parts() or self._finished.is_file()):
            self.remove()

    @property
    def _finished(self) -> Path:
        return self.path / FINISHED

    def has_finished(self, plan: Manifest) -> bool:
        """Return whether the job completed its output, but did not remove the folder."""
        kept = Manifest.from_json(self._finished.read_bytes()) if self._finished.is_file() else None
        return kept is not None and not plan.differences(kept)

    def begin(self, plan: Manifest, *, keep: bool = True) -> Manifest:
        """Continue the work of this folder, which must be claimed, or start it.

        Args:
            plan: Manifest of this run.
            keep: Whether the plan is written; without it there is no work to continue.

        Returns:
            The manifest of the work: that of the earlier run if it is continued.

        Raises:
            ResumeError: The work to be continued is of another job.
        """
        if self.resume and self.parts():
            return self._checked(plan)
        self.discard()
        if keep:
            with self._failing_as_output_error():
                atomic_write(self.path / PLAN, lambda path: _write(path, plan.to_json()))
                sync_folder(self.path.parent)
        return plan

    def compare(self, plan: Manifest) -> None:
        """Check that the work to be resumed, if there is any, is of this job.

        Raises:
            ResumeError: It is of another job.
        """
        if self.resume and self.parts():
            self._checked(plan)

    def _checked(self, plan: Manifest) -> Manifest:
        kept = self._read_plan()
        if differences := plan.differences(kept):
            raise ResumeError(
                f"{self.output.path}: the unfinished run was another job: it differs in "
                f"{', '.join(differences)}; "
                "give the same input and options to continue it, or pass --fresh to start over"
            )
        return kept

    def _read_plan(self) -> Manifest:
        """Return the manifest of the work in the folder.

        Raises:
            ResumeError: It is damaged, or of another version.
        """
        kept = Manifest.from_json((self.path / PLAN).read_bytes())
        if kept is None:
            raise ResumeError(
                f"{self.path}: is of another version of elmo, or damaged; pass --fresh to start "
                "over"
            )
        return kept

    def discard(self) -> None:
        """Remove the plan, then the parts: without a plan, remaining parts are not used."""
        with self._failing_as_output_error():
            for name in (PLAN, FINISHED):
                (self.path / name).unlink(missing_ok=True)
            sync_folder(self.path)  # the plan is removed before the parts
            self.remove_parts()

    def finish(self) -> None:
        """Record that the output is complete, then remove the parts and the folder.

        `has_finished` returns True after a stop in between.
        """
        with self._failing_as_output_error():
            if (self.path / PLAN).is_file():
                (self.path / PLAN).replace(self._finished)
            sync_folder(self.path)
            self.remove_parts()
        self.remove()

    def remove_parts(self, kept: int = 0) -> None:
        """Remove all parts except the first `kept`, and other files with such names."""
        for path in set(self.path.glob("*.part")).difference(map(self.part, range(kept))):
            _remove(path)

    def drop(self) -> None:
        """Remove work that is no longer needed, and the folder."""
        if self.path.is_dir():
            with self.claim():
                self.discard()

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _failing_as_output_error(self) -> AbstractContextManager[None]:
        return writing_errors(self.output.path)


def _owner(path: Path) -> str:
    try:
        return f"user {path.owner()}"
    # A user without a name, or a system without users
    except (KeyError, OSError, NotImplementedError):
        return f"user {path.stat().st_uid}"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _remove(leftover: Path) -> None:
    shutil.rmtree(
        leftover
    ) if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()

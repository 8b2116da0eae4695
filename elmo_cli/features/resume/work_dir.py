"""The work folder of an output: hidden beside it, `.NAME.elmo-work/`, with the job's plan, a lock, and a part for each window that is done.

Whatever a run leaves unfinished lies in there, and the folder is gone when the output is whole.
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
FINISHED = "finished.json"  # the plan, when the output is whole
LONGEST_NAME = 200  # bytes; a file's name may have 255


@dataclass(frozen=True)
class WorkDir:
    """The folder of an output, there or not. `resume` and `fresh` say what is to become of work that is found in it."""

    output: OutputFile | OutputFolder
    resume: bool = False
    fresh: bool = False

    @property
    def path(self) -> Path:
        """Where it is."""
        name = self.output.target.name
        if len(os.fsencode(name)) > LONGEST_NAME:
            name = f"{name[:40]}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}"
        return self.output.folder / f".{name}.elmo-work"

    @property
    def room(self) -> OutputFile | OutputFolder:
        """The output, its unfinished files in this folder."""
        return replace(self.output, room=self.path)

    def part(self, number: int) -> Path:
        """The file of a window, counted from 0."""
        return self.path / f"{number:08d}.part"

    def parts(self) -> list[Path]:
        """The parts that are there without a gap."""
        return list(takewhile(Path.is_file, map(self.part, count()))) if (self.path / PLAN).is_file() else []

    def kept_sentences(self) -> int:
        """How many sentences the parts hold."""
        return sum(map(count_sentences, self.parts()))

    def kept_bytes(self) -> int:
        """How much of the disk the parts take."""
        return sum(part.stat().st_size for part in self.parts())

    def check(self) -> None:
        """Make sure that no other run is at work here, and that no work is lost by mistake.

        Raises:
            OutputError: One is; or there is unfinished work, and nothing was said about it.
        """
        if self.path.is_dir():
            with self.claim():
                pass

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Hold the folder against other runs; at the end it stays if it holds parts, or tells of an output, and is removed if not.

        Raises:
            OutputError: Another run holds it, it holds work that nothing was said about, or it cannot be made.
        """
        if self.path.is_symlink():  # what lies where it leads is not ours to remove
            raise OutputError(f"{self.output.path}: its work folder {self.path} is a link; remove it")
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
        """The folder may be what another user's run has left."""
        try:
            yield
        except PermissionError:
            if not self.path.is_dir():
                raise
            owner = _owner(self.path)
            remedy = "remove it, or let its owner do so, or name another output"
            raise DiskError(f"{self.output.path}: its work folder {self.path}, of {owner}, may not be written to; {remedy}") from None

    def _refuse_unfinished(self) -> None:
        if not (self.resume or self.fresh) and (kept := self.kept_sentences()):
            raise ResumeError(
                f"{self.output.path}: a run was stopped after {kept:,} sentence{'s' if kept > 1 else ''}; "
                "pass --resume to go on with it, or --fresh to begin anew"
            )

    def _remove_unless_of_use(self) -> None:
        if not (self.parts() or self._finished.is_file()):
            self.remove()

    @property
    def _finished(self) -> Path:
        return self.path / FINISHED

    def has_finished(self, plan: Manifest) -> bool:
        """Whether the job of this plan has put its output in place, and was killed before it had removed the folder."""
        kept = Manifest.from_json(self._finished.read_bytes()) if self._finished.is_file() else None
        return kept is not None and not plan.differences(kept)

    def begin(self, plan: Manifest, *, keep: bool = True) -> Manifest:
        """Take up the work of this folder, which must be claimed, or begin it; returns the plan that holds.

        Without `keep` there is no plan in it, and so no work to go on with.

        Raises:
            ResumeError: The work that is to be resumed is of another job.
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
        """Make sure that the work to be resumed, if there is any, is of this job.

        Raises:
            ResumeError: It is not.
        """
        if self.resume and self.parts():
            self._checked(plan)

    def _checked(self, plan: Manifest) -> Manifest:
        kept = Manifest.from_json((self.path / PLAN).read_bytes())
        if kept is None:
            raise ResumeError(f"{self.path}: is of another version of elmo, or damaged; pass --fresh to begin anew")
        if differences := plan.differences(kept):
            raise ResumeError(
                f"{self.output.path}: the unfinished run was another job: it differs in {', '.join(differences)}; "
                "give the same input and options to go on with it, or pass --fresh to begin anew"
            )
        return kept

    def discard(self) -> None:
        """Remove the plan, then the parts: what is stopped half way has no plan, and is no work."""
        with self._failing_as_output_error():
            for name in (PLAN, FINISHED):
                (self.path / name).unlink(missing_ok=True)
            sync_folder(self.path)  # the plan is gone before the parts are
            self.remove_parts()

    def finish(self) -> None:
        """The output is whole: say so, then remove the parts. What is stopped half way is known by `has_finished`."""
        with self._failing_as_output_error():
            if (self.path / PLAN).is_file():
                (self.path / PLAN).replace(self._finished)
            sync_folder(self.path)
            self.remove_parts()
        self.remove()

    def remove_parts(self, kept: int = 0) -> None:
        """Remove all parts but the first so many, and whatever else goes by such a name."""
        for path in set(self.path.glob("*.part")).difference(map(self.part, range(kept))):
            _remove(path)

    def drop(self) -> None:
        """Remove work that is of no more use, and the folder with it."""
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
    except (KeyError, OSError, NotImplementedError):  # a user without a name, or a system without users
        return f"user {path.stat().st_uid}"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _remove(leftover: Path) -> None:
    shutil.rmtree(leftover) if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()

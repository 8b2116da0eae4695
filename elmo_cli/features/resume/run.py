"""Runs that can be stopped and resumed: the identity of a job, and the state that it keeps."""

import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elmo_cli.errors import ElmoError, FeaturesError, ResumeError
from elmo_cli.features.formats.detection import find_problems
from elmo_cli.features.protocols import FeatureWriter
from elmo_cli.features.reader import open_features
from elmo_cli.features.resume.manifest import Manifest
from elmo_cli.features.resume.work_dir import WorkDir
from elmo_cli.features.resume.writer import ResumableWriter
from elmo_cli.io.output_file import OutputFile, OutputTarget
from elmo_cli.io.output_folder import OutputFolder

if TYPE_CHECKING:
    import pyarrow


# Opens the writer of an output with the metadata
Make = Callable[[OutputTarget, Mapping[str, str]], AbstractContextManager[FeatureWriter]]

FINGERPRINT = "job_sha256"  # in the metadata: identifies the job of a complete output
_MADE = {
    "model_sha256": "the model",
    "options": "its options",
    "start_state": "where sentences start",
    "precision": "--precision",
}


def make_manifest(
    source: Mapping[str, str],
    options: Mapping[str, Any],
    metadata: Mapping[str, str],
    *,
    is_known: bool,
) -> Manifest:
    """Return the manifest of a job.

    Args:
        source: Facts about the input, by their names in messages.
        options: Options that decide the output, not the speed.
        metadata: Metadata of the output, with the model.
        is_known: Whether all of the input is known; the metadata then contain the fingerprint.
    """
    made = {words: metadata[name] for name, words in _MADE.items() if name in metadata}
    given = {
        name if name.startswith("--") else f"--{name.replace('_', '-')}": str(value)
        for name, value in options.items()
    }
    plan = Manifest({**source, **made, **given}, metadata)
    return replace(plan, metadata={**metadata, FINGERPRINT: plan.fingerprint}) if is_known else plan


def made_by(path: Path) -> str | None:
    """Return the fingerprint of the job that made a feature file; None if it has none."""
    try:
        with open_features(path) as features:
            is_whole = not any(find_problems(features.layout, path))
            return features.metadata.get(FINGERPRINT) if is_whole else None
    except FeaturesError:
        return None


@dataclass(frozen=True)
class ResumableRun:
    """State of a job beside its output, from which a stopped run is resumed.

    Attributes:
        output: Where the output is written.
        resume: Whether to continue unfinished work.
        fresh: Whether to discard unfinished work.
        keep: Whether to keep the windows of this run.
    """

    output: OutputTarget
    resume: bool = False
    fresh: bool = False
    keep: bool = True

    @property
    def folder(self) -> WorkDir | None:
        """The work folder; None for standard output, which has none."""
        return (
            WorkDir(self.output, self.resume, self.fresh)
            if isinstance(self.output, OutputFile | OutputFolder)
            else None
        )

    def temporary_folder(self) -> Path:
        """Return a folder for temporary files: the work folder if there is one."""
        return self.folder.path if self.folder else Path(tempfile.gettempdir())

    def check(self) -> None:
        """Check that the output can be written, without another run or unfinished work there.

        Raises:
            OutputError: The output cannot be written, another run writes it, or there is unfinished
                work, and neither `resume` nor `fresh` is given.
        """
        if self.folder and self.resume:
            # An existing output may be that of this job
            replace(self.folder.output, overwrite=True).check()
        else:
            self.output.check()
        if self.folder:
            self.folder.check()

    def settle(self, plan: Manifest) -> bool:
        """Return whether this run resumes a job that has already made the output.

        The files that such a job has left beside the output are removed.
        """
        done = self._is_done(plan)
        if done:
            self.clear()
        return done

    def clear(self) -> None:
        """Remove the files that a run with a complete output has left beside it."""
        if self.folder:
            self.folder.drop()

    def _is_done(self, plan: Manifest) -> bool:
        if not (self.folder and self.resume and self.folder.output.target.exists()):
            return False
        told = made_by(self.output.path) or (
            plan.fingerprint if self.folder.has_finished(plan) else None
        )
        return FINGERPRINT in plan.metadata and told == plan.fingerprint

    def compare(self, plan: Manifest) -> bool:
        """Check that work to be resumed is of this job, and that the output replaces nothing.

        Returns:
            Whether the output is complete already.

        Raises:
            OutputError: The work is of another job, or a file exists that must not be replaced.
        """
        if self.folder:
            self.folder.compare(plan)
            if self._is_done(plan):
                return True
            if self.resume and self.folder.parts():
                return False  # an existing output may be this job's: it is compared at the end
        self.output.check()
        return False

    def check_space(self, n_bytes: int, remedy: str) -> None:
        """Check that the disk has space for an output of this size and for the kept windows.

        Raises:
            OutputError: It does not have enough.
        """
        if not self.folder or not self.keep:
            return self.output.check_space(n_bytes, remedy)
        kept = self.folder.kept_bytes() if self.resume else 0
        return self.output.check_space(
            2 * n_bytes - kept, f"{remedy}, or pass --no-resume to halve it"
        )

    @contextmanager
    def open_store(
        self, plan: Manifest, make: Make, kept: "pyarrow.Schema | None"
    ) -> Iterator[tuple[FeatureWriter, ResumableWriter | None]]:
        """Open the writer; kept windows are removed when the output is complete.

        Args:
            plan: Manifest of the job.
            make: Function that opens the writer of an output with metadata.
            kept: Schema of the columns that sentences carry over; None without any.

        Yields:
            The writer, and the resumable writer around it, if windows are kept.
        """
        if not self.folder:
            with make(self.output, plan.metadata) as store:
                yield store, None
            return
        with self.folder.claim():
            plan = self.folder.begin(plan, keep=self.keep)
            with make(self.folder.room, plan.metadata) as inner:
                yield inner, ResumableWriter(inner, self.folder, kept) if self.keep else None
            self.folder.finish()

    def how_to_go_on(self) -> str:
        """Return how to continue after a stop, in words; empty if nothing is kept."""
        kept = self.folder.kept_sentences() if self.folder and self.keep else 0
        return (
            f"{kept:,} sentence{'s are' if kept > 1 else ' is'} kept: pass --resume to continue"
            if kept
            else ""
        )


@contextmanager
def with_resume_hint(words: Callable[[], str]) -> Iterator[None]:
    """Add a hint, if it is not empty, to the message of an error or an interrupt."""
    try:
        yield
    except ResumeError:
        raise
    except ElmoError as error:
        message, *details = error.args
        raise type(error)("; ".join(filter(None, [message, words()])), *details) from None
    except KeyboardInterrupt as stopped:
        raise KeyboardInterrupt(*(stopped.args or (signal.SIGINT,)), words()) from None

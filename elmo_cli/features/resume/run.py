"""A run that may be stopped and gone on with: what makes two runs the same job, and how one takes up where the other ended."""

import signal
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


Make = Callable[[OutputTarget, Mapping[str, str]], AbstractContextManager[FeatureWriter]]  # a store for a place, that tells such metadata

FINGERPRINT = "job_sha256"  # in the metadata: by it a finished job is known again
_MADE = {"model_sha256": "the model", "options": "its options", "start_state": "where sentences start", "precision": "--precision"}


def make_manifest(source: Mapping[str, str], options: Mapping[str, Any], metadata: Mapping[str, str], *, is_known: bool) -> Manifest:
    """The plan of a job: its input, the model as the metadata tell it, and the options that decide what is written, not how fast.

    Where all of the input `is_known`, the metadata tell the job's fingerprint.
    """
    made = {words: metadata[name] for name, words in _MADE.items() if name in metadata}
    given = {name if name.startswith("--") else f"--{name.replace('_', '-')}": str(value) for name, value in options.items()}
    plan = Manifest({**source, **made, **given}, metadata)
    return replace(plan, metadata={**metadata, FINGERPRINT: plan.fingerprint}) if is_known else plan


def made_by(path: Path) -> str | None:
    """The fingerprint of the job that made a file of features, if it tells, and no shard is missing."""
    try:
        with open_features(path) as features:
            is_whole = not any(find_problems(features.layout, path))
            return features.metadata.get(FINGERPRINT) if is_whole else None
    except FeaturesError:
        return None


@dataclass(frozen=True)
class ResumableRun:
    """What a job leaves when it is stopped, if it is to `keep` its windows, and what becomes of work that it finds."""

    output: OutputTarget
    resume: bool = False
    fresh: bool = False
    keep: bool = True

    @property
    def folder(self) -> WorkDir | None:
        """Where it lies; standard output has no such place."""
        return WorkDir(self.output, self.resume, self.fresh) if isinstance(self.output, OutputFile | OutputFolder) else None

    def check(self) -> None:
        """Make sure that there is a place for the output, that no other run is at work on it, and that no work is lost by mistake.

        Raises:
            OutputError: One of them is not so.
        """
        if self.folder and self.resume:
            replace(self.folder.output, overwrite=True).check()  # what is there may be this job's
        else:
            self.output.check()
        if self.folder:
            self.folder.check()

    def settle(self, plan: Manifest) -> bool:
        """Whether the output is there already, and this run, which was told to resume, is the very job that made it.

        What such a job has left beside it is removed.
        """
        done = self._is_done(plan)
        if done:
            self.clear()
        return done

    def clear(self) -> None:
        """Remove what a run that has put its output in place left beside it."""
        if self.folder:
            self.folder.drop()

    def _is_done(self, plan: Manifest) -> bool:
        if not (self.folder and self.resume and self.folder.output.target.exists()):
            return False
        told = made_by(self.output.path) or (plan.fingerprint if self.folder.has_finished(plan) else None)
        return FINGERPRINT in plan.metadata and told == plan.fingerprint

    def compare(self, plan: Manifest) -> bool:
        """Make sure that work to be resumed is of this job, and the output replaces nothing; returns whether all is done already.

        Raises:
            OutputError: It is of another job, or something is there that must not be replaced.
        """
        if self.folder:
            self.folder.compare(plan)
            if self._is_done(plan):
                return True
            if self.resume and self.folder.parts():
                return False  # what is there may be what this job has made: it is compared in the end
        self.output.check()
        return False

    def check_space(self, n_bytes: int, remedy: str) -> None:
        """Make sure that the disk has room for an output of this size, and for what is kept beside it.

        Raises:
            OutputError: It has not.
        """
        if not self.folder or not self.keep:
            return self.output.check_space(n_bytes, remedy)
        kept = self.folder.kept_bytes() if self.resume else 0
        return self.output.check_space(2 * n_bytes - kept, f"{remedy}, or pass --no-resume to halve it")

    @contextmanager
    def open_store(
        self, plan: Manifest, make: Make, kept: "pyarrow.Schema | None"
    ) -> Iterator[tuple[FeatureWriter, ResumableWriter | None]]:
        """The store, and the journal around it if there is one; what is kept is dropped when the output is whole.

        `kept` is the schema of the columns that sentences carry over.
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
        """What is to be said when the run has stopped half way: nothing if nothing is kept."""
        kept = self.folder.kept_sentences() if self.folder and self.keep else 0
        return f"{kept:,} sentence{'s are' if kept > 1 else ' is'} kept: pass --resume to go on" if kept else ""


@contextmanager
def with_resume_hint(words: Callable[[], str]) -> Iterator[None]:
    """Add the words, if there are any, to the message of what goes wrong, or to what is said of a stop."""
    try:
        yield
    except ResumeError:
        raise
    except ElmoError as error:
        message, *details = error.args
        raise type(error)("; ".join(filter(None, [message, words()])), *details) from None
    except KeyboardInterrupt as stopped:
        raise KeyboardInterrupt(*(stopped.args or (signal.SIGINT,)), words()) from None

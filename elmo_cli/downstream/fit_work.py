"""Work folder of `elmo fit`, `.NAME.elmo-fit` beside the output: features and checkpoint."""

import json
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from elmo_cli.errors import OutputError, ResumeError, reason_of
from elmo_cli.features.resume.work_dir import hidden_name
from elmo_cli.io.atomic import atomic_write, writing_errors
from elmo_cli.io.lock import NAME as LOCK
from elmo_cli.io.lock import locked

JOB, FEATURES, CHECKPOINT = "job.json", "features.bin", "checkpoint.pt"
UNFINISHED, OLD = "output", "old"  # folders: the new output, and the one that it replaces


@dataclass
class FitWork:
    """Work folder of an output, locked by `open`, and removed by `close` without steps to resume.

    Args:
        output: The folder of the classifier.
        resume: Whether a run continues what an earlier one has left.
        overwrite: Whether a run without `resume` discards what an earlier one has left.
        done: Whether nothing is to be resumed: the output is complete, or the training fails.
    """

    output: Path
    resume: bool = False
    overwrite: bool = False
    done: bool = False
    _claimed: ExitStack = field(default_factory=ExitStack)

    @property
    def path(self) -> Path:
        """Path of the folder."""
        return self.output.absolute().parent / hidden_name(self.output.name, "elmo-fit")

    @property
    def unfinished(self) -> Path:
        """Path of the unfinished output."""
        return self.path / UNFINISHED

    @property
    def bilm(self) -> Path:
        """Path of a fine-tuned biLM."""
        return self.path / "bilm"

    @property
    def old(self) -> Path:
        """Path of an output that is being replaced."""
        return self.path / OLD

    @property
    def features(self) -> Path:
        """Path of the feature cache."""
        return self.path / FEATURES

    def open(self, job: Mapping[str, str]) -> None:
        """Lock the folder; check that what an earlier run has left is of this job, or discard it.

        Args:
            job: Hashes of what determines the weights, by their names in messages.

        Raises:
            OutputError: Another run uses the folder, or it cannot be written.
            ResumeError: The work to be resumed is of another job, or there is unfinished work, and
                neither `resume` nor `overwrite` is given.
        """
        if self.path.is_symlink():  # its target is not ours to remove
            raise OutputError(f"{self.output}: its work folder {self.path} is a link; remove it")
        try:
            self._claim()
            if self.resume and (self.path / JOB).is_file():
                self._check_same(job)
            else:
                self._check_discarded()
                self._clear()
                (self.path / JOB).write_text(json.dumps(dict(job)), encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{self.output}: cannot be written ({reason_of(error)})") from None

    def _claim(self) -> None:
        self._claimed.enter_context(locked(self.path, self.output))
        self._claimed.callback(self._remove_unless_needed)
        if (self.path / OLD).is_dir() and not self.output.exists():
            (self.path / OLD).rename(self.output)  # killed while the output was replaced

    def _remove_unless_needed(self) -> None:
        if self.done or not self.has_steps():
            shutil.rmtree(self.path, ignore_errors=True)

    def _check_discarded(self) -> None:
        if (self.path / JOB).is_file() and self.has_steps() and not self.overwrite:
            fact = f"an interrupted training has its work in {self.path}"
            remedy = "pass --resume to continue it, or --overwrite to start over"
            raise ResumeError(f"{self.output}: {fact}; {remedy}")

    def _check_same(self, job: Mapping[str, str]) -> None:
        try:
            before = json.loads((self.path / JOB).read_text(encoding="utf-8"))
            different = [name for name, value in job.items() if before.get(name) != value]
        except (ValueError, AttributeError):
            different = ["its record"]
        if different:
            fact = f"the interrupted training differs in {' and '.join(different)}"
            remedy = "pass --overwrite instead of --resume to start over"
            raise ResumeError(f"{self.output}: {fact}; {remedy}")

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the state of the training after a step.

        Raises:
            DiskError: The disk is full.
        """
        with writing_errors(self.path, also=(RuntimeError,)):  # torch raises it for a full disk
            atomic_write(self.path / CHECKPOINT, lambda path: torch.save(dict(state), path))

    def load(self) -> dict[str, Any] | None:
        """Return the state that an earlier run has saved; None without one.

        Raises:
            ResumeError: It is damaged.
        """
        path = self.path / CHECKPOINT
        if not path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True)
        except Exception as error:  # noqa: BLE001  # pickle's errors are of any type
            fact = f"{path}: is damaged ({type(error).__name__})"
            remedy = "pass --overwrite instead of --resume to start over"
            raise ResumeError(f"{fact}; {remedy}") from None
        return state

    def has_steps(self) -> bool:
        """Return whether there is a checkpoint or a part of the features to continue from."""
        has_features = self.features.is_file() and self.features.stat().st_size > 0
        return has_features or (self.path / CHECKPOINT).is_file()

    def _clear(self) -> None:
        for path in self.path.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != LOCK:
                path.unlink()

    def close(self) -> None:
        """Unlock the folder, and remove it if nothing is to be resumed."""
        self._claimed.close()

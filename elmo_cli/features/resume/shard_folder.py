"""Work folder of several writers of shards, `.NAME.elmo-shards/` beside the output.

The writers are the tasks of a job array, or the workers of an engine (task 0 of 1).

plan.json         the job, written by the first task
shards/           complete shards; renamed to the output when none is missing
task-I-of-N/      lock and unfinished shard of a task
  worker-*/       unfinished shard of a worker
commit/           lock of the task that commits
"""

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from elmo_cli.errors import DiskError, OutputError, ResumeError
from elmo_cli.features.formats.parquet import find_missing, shard_name, shard_number
from elmo_cli.features.resume.manifest import Manifest
from elmo_cli.features.resume.run import made_by
from elmo_cli.features.resume.shard_store import ShardTask
from elmo_cli.features.resume.work_dir import PLAN, WorkDir, hidden_name
from elmo_cli.io.atomic import sync_folder, writing_errors
from elmo_cli.io.lock import NAME, locked
from elmo_cli.io.output_folder import OutputFolder

COMMIT_SECONDS = 60.0  # to wait for a task that is committing
ARRIVAL_SECONDS = 30.0  # in which a shard written on another machine must be seen here
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class ShardFolder:
    """Shared folder, as one task uses it: a `ShardStore`.

    Args:
        output: The output.
        task: The task.
        is_array: Whether the task is one of a job array, whose other tasks' shards are not to be
            discarded.
    """

    output: OutputFolder
    task: ShardTask
    is_array: bool = True

    @property
    def path(self) -> Path:
        """Path of the output as given by the user."""
        return self.output.path

    @property
    def work(self) -> Path:
        """The shared folder."""
        return self.output.folder / hidden_name(self.output.target.name, "elmo-shards")

    @property
    def shards(self) -> Path:
        """The folder of complete shards."""
        return self.work / "shards"

    @property
    def to_continue(self) -> str:
        """Instruction to continue after a stop."""
        return "run the task again to continue" if self.is_array else "pass --resume to continue"

    @property
    def to_discard(self) -> str:
        """Instruction to discard the work."""
        if not self.is_array:
            return "pass --fresh to start over"
        return f"remove {self.work} to start over"

    def check(self) -> None:
        """Check that the folder around the output can be written to."""
        replace(self.output, overwrite=True).check()  # an existing output may be this job's

    def check_is_free(self) -> None:
        """Check that no file exists that must not be replaced."""
        self.output.check()

    def check_space(self, n_bytes: int, remedy: str) -> None:
        """Check that the disk has space for the output."""
        self.output.check_space(n_bytes, remedy)

    def made_by(self) -> str | None:
        """Return the fingerprint of the job that made the output."""
        return made_by(self.output.target) if self.output.target.is_dir() else None

    @contextmanager
    def claim(self) -> Iterator[Path]:
        """Lock the task's own folder and return it.

        Raises:
            OutputError: The same task is running already.
        """
        named = f"{self.path}, {self.task}" if self.is_array else self.path
        with writing_errors(self.path):
            self.shards.mkdir(parents=True, exist_ok=True)
            with locked(self._own, named):
                _remove_others(self._own)
                yield self._own

    @property
    def _own(self) -> Path:
        """The task's own folder."""
        return self.work / f"task-{self.task.index}-of-{self.task.count}"

    @contextmanager
    def worker_folder(self) -> Iterator[Path]:
        """Make a folder for an unfinished shard of a worker.

        Raises:
            DiskError: The worker's machine does not have the folder of the run.
        """
        try:
            folder = Path(tempfile.mkdtemp(prefix="worker-", dir=self._own))
        except FileNotFoundError:
            fact = f"{self._own}: does not exist on {socket.gethostname()}, where a worker runs"
            remedy = "name an output on a disk that all nodes share, or pass --write driver"
            raise DiskError(f"{fact}; {remedy}") from None
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def __reduce__(self) -> tuple[type["ShardFolder"], tuple[OutputFolder, ShardTask, bool]]:
        """Pickle with an absolute path: a worker may have another working directory."""
        output = replace(self.output, path=self.output.target)
        return ShardFolder, (output, self.task, self.is_array)

    def read_plan(self) -> bytes | None:
        """Return the plan; None if no task has started."""
        path = self.work / PLAN
        return path.read_bytes() if path.is_file() else None

    def keep_plan(self, text: str) -> bytes:
        """Keep the plan unless another task was first; return the one that is kept."""
        path, own = self.work / PLAN, self.work / f"{self.task.index}-of-{self.task.count}.plan"
        with writing_errors(self.path):
            own.write_text(text, encoding="utf-8")
            try:
                os.link(own, path)  # does not replace
            except FileExistsError:
                pass
            except OSError:  # a file system without hard links
                if not path.exists():
                    own.replace(path)
            own.unlink(missing_ok=True)
            sync_folder(self.work)
            return path.read_bytes()

    def numbers(self) -> set[int]:
        """Return the numbers of the complete shards."""
        return {shard_number(path.name) for path in self.shards.glob("part-*.parquet")}

    def kept_bytes(self) -> int:
        """Return the size of the complete shards."""
        return sum(path.stat().st_size for path in self.shards.glob("part-*.parquet"))

    def put(self, shard: int, path: Path) -> int:
        """Move a shard to its place. Another task that made it wrote the same bytes.

        Raises:
            DiskError: The folder was removed during the run.
        """
        n_bytes = path.stat().st_size
        try:
            path.replace(self.shards / shard_name(shard))
        except FileNotFoundError:
            fact = (
                "its shared folder was removed during the run, or other tasks have completed the "
                "output"
            )
            raise DiskError(f"{self.path}: {fact}; run the task again") from None
        sync_folder(self.shards)
        return n_bytes

    def add(self, shard: int, n_bytes: int) -> None:
        """Check that a shard of a worker has arrived.

        Raises:
            DiskError: It has not.
        """
        path, deadline = self.shards / shard_name(shard), time.monotonic() + ARRIVAL_SECONDS
        while not path.is_file() or path.stat().st_size != n_bytes:
            if time.monotonic() > deadline:
                remedy = "name an output on a disk that all nodes share, or pass --write driver"
                raise DiskError(f"{path}: a worker wrote it, but it is not there; {remedy}")
            time.sleep(POLL_SECONDS)

    def remove(self, shards: Iterable[int]) -> None:
        """Remove shards."""
        for shard in shards:
            (self.shards / shard_name(shard)).unlink(missing_ok=True)

    def commit(self, n_shards: int, plan: Manifest) -> None:  # noqa: ARG002  # of a ShardStore
        """Rename the folder of shards to the output, unless another task has done so.

        Raises:
            OutputError: A shard is damaged, or another file exists at the path of the output.
        """
        with ExitStack() as held:
            if self._take_commit_lock(held) and self.shards.is_dir():
                for problem in find_missing(self.shards):
                    raise ResumeError(
                        f"{self.shards}: {problem}; remove that shard, and run its task again"
                    )
                self.output.put_in_place(self.shards)
            self.clear()

    def _take_commit_lock(self, held: ExitStack) -> bool:
        """Wait for the lock of the commit; False if another task has committed in the meantime."""
        deadline = time.monotonic() + COMMIT_SECONDS
        while self.shards.is_dir():
            try:
                held.enter_context(locked(self.work / "commit", self.path))
            except FileNotFoundError:  # noqa: PERF203  # the shared folder has just been removed
                return False
            except OutputError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_SECONDS)
            else:
                return True
        return False

    def discard(self) -> None:
        """Remove the plan and the shards; of a job array, nothing.

        Raises:
            OutputError: A task of a job array is running.
        """
        if self.is_array:
            return
        for folder in self.work.glob("task-*"):
            if folder != self._own:
                with locked(folder, self.path):
                    pass
        with writing_errors(self.path):
            (self.work / PLAN).unlink(missing_ok=True)
            sync_folder(self.work)  # the plan is removed before the shards
            self.remove(self.numbers())

    def clear(self) -> None:
        """Remove the shared folder."""
        shutil.rmtree(self.work, ignore_errors=True)


def check_other_work(output: OutputFolder, *, by_shards: bool) -> None:
    """Check that no run that keeps its work in the other way is unfinished.

    Args:
        output: The output.
        by_shards: Whether this run keeps complete shards; otherwise it keeps windows.

    Raises:
        ResumeError: There is such a run: it would neither be continued nor be removed.
    """
    windows, shards = WorkDir(output).path, ShardFolder(output, ShardTask()).work
    other = windows if by_shards else shards
    if (other / PLAN).exists():
        options = "without" if by_shards else "with"
        raise ResumeError(
            f"{output.path}: an unfinished run has its work in {other}; continue it {options} "
            "--write workers or --shard, or remove that folder to start over"
        )


def _remove_others(folder: Path) -> None:
    """Remove what a killed run has left beside the lock."""
    for leftover in folder.iterdir():
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        elif leftover.name != NAME:
            leftover.unlink()

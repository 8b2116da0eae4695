"""Interface of stores of shards, and the tasks that divide the shards of a job among them."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from elmo_cli.features.resume.manifest import Manifest


@dataclass(frozen=True)
class ShardTask:
    """The shards of one task: those whose number is `index` modulo `count`."""

    index: int = 0
    count: int = 1

    def owns(self, shard: int) -> bool:
        """Return whether a shard is one of the task's."""
        return shard % self.count == self.index

    def __str__(self) -> str:
        return f"task {self.index}/{self.count}"


ALL_SHARDS, NO_SHARDS = ShardTask(0, 1), ShardTask(-1, 1)


class ShardStore(Protocol):
    """Store of the shards of a job, made by one or several tasks.

    An implementer writes all of the methods below; `put` and `commit` must be atomic. A pickle of
    the store is used by workers on other machines, for `worker_folder` and `put` only.
    """

    @property
    def path(self) -> Path:
        """Path of the output as given by the user."""

    @property
    def to_continue(self) -> str:
        """Instruction to continue after a stop."""

    @property
    def to_discard(self) -> str:
        """Instruction to discard the work."""

    def check(self) -> None:
        """Check that the output can be written, without regard to existing files."""

    def check_is_free(self) -> None:
        """Check that the output replaces nothing that must not be replaced."""

    def check_space(self, n_bytes: int, remedy: str) -> None:
        """Check that there is space for the output."""

    def made_by(self) -> str | None:
        """Return the fingerprint of the job that made the complete output, or None."""

    def claim(self) -> AbstractContextManager[Path]:
        """Lock the store for this task; return an empty local folder for its unfinished shard."""

    def worker_folder(self) -> AbstractContextManager[Path]:
        """Make a folder for an unfinished shard, in a worker of the task that holds the lock."""

    def read_plan(self) -> bytes | None:
        """Return the plan of the job of the shards; None without one."""

    def keep_plan(self, text: str) -> bytes:
        """Keep a plan unless there is one; return the one that is kept."""

    def numbers(self) -> set[int]:
        """Return the numbers of the complete shards."""

    def kept_bytes(self) -> int:
        """Return the size of the complete shards."""

    def put(self, shard: int, path: Path) -> int:
        """Move a complete file to its place atomically, in any process; return its size."""

    def add(self, shard: int, n_bytes: int) -> None:
        """Record, in the process that commits, that a shard was put."""

    def remove(self, shards: Iterable[int]) -> None:
        """Remove shards."""

    def commit(self, n_shards: int, plan: Manifest) -> None:
        """Make the output of the complete set of shards, unless another task has made it."""

    def discard(self) -> None:
        """Remove the plan and the shards of an unfinished job."""

    def clear(self) -> None:
        """Remove the remaining files of a job whose output is complete."""

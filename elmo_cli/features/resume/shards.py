"""Parquet shards that are made one by one, each complete before it is moved to a shared store.

A `ShardStore` is a folder that several tasks share (`shard_folder.py`), or a remote
folder (`remote_shards.py`). The shards are those of an ordinary run, byte for byte.
"""

import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from elmo_cli.errors import ElmoError, ResumeError
from elmo_cli.features.formats.parquet import ParquetShard, create_shard, number_shards
from elmo_cli.features.resume.manifest import Manifest
from elmo_cli.features.resume.run import FINGERPRINT
from elmo_cli.features.resume.shard_maker import Shard, ShardMaker
from elmo_cli.features.resume.shard_store import NO_SHARDS, ShardStore, ShardTask
from elmo_cli.features.spec import FeatureSpec, WriteOptions
from elmo_cli.io.atomic import writing_errors
from elmo_cli.types import NOTHING, Array, Sentence, Window


class _Place(NamedTuple):
    shard: int
    ends: bool  # with this window
    last: bool  # no shard follows


class ShardsWriter:
    """Writer of the missing shards of a task. Only windows that `select` yields may be written.

    Args:
        store: Store of the complete shards.
        folder: Local folder for the unfinished shard.
        spec: Content of the arrays.
        options: Compression and rows.
        task: Shards to write.
    """

    skipped_duplicates = 0

    def __init__(
        self,
        store: ShardStore,
        folder: Path,
        spec: FeatureSpec,
        options: WriteOptions,
        task: ShardTask,
    ) -> None:
        self.store = store
        self.task = task
        # Progress in shards that an earlier run has made, as far as they are read
        self.kept = NOTHING
        # Of the job, once all windows have been selected; without sentences it has one
        self.n_shards = 1
        self._folder = folder
        self._spec = spec
        self._options = options
        self._present = store.numbers()
        self._places: deque[_Place] = deque()  # of the windows that are to be written, in order
        self._shard: ParquetShard | None = None
        self._made: list[int] = []

    def select(self, windows: Iterable[Window]) -> Iterator[Window]:
        """Iterate over the windows of missing shards of this task; all others are only read."""
        for place, window in _places(number_shards(windows, self._options.shard_tokens)):
            self.n_shards = place.shard + 1
            if self._is_wanted(place.shard):
                self._places.append(place)
                yield window
            elif self.task.owns(place.shard):
                self.kept = self.kept.plus(window)

    def select_shards(self, windows: Iterable[Window]) -> Iterator[Shard]:
        """Iterate over the missing shards of this task, for workers that make them."""
        found: list[Window] = []
        for window in self.select(windows):
            place = self._places.popleft()
            found.append(window)
            if place.ends:
                yield Shard(place.shard, place.last, found)
                found = []

    @property
    def maker(self) -> ShardMaker:
        """Description of the shards, for workers that make them."""
        return ShardMaker(self.store, self._spec, self._options)

    def add(self, shard: int, n_bytes: int) -> None:
        """Record that a worker has made a shard.

        Raises:
            OutputError: The store does not contain it.
        """
        self.store.add(shard, n_bytes)
        self._made.append(shard)

    def _is_wanted(self, shard: int) -> bool:
        return self.task.owns(shard) and shard not in self._present

    def write(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        """Write a window to its shard, which is moved to the store after its last window.

        Raises:
            OutputError: The disk is full or gone, or the store rejects the shard.
        """
        place = self._places.popleft()
        with writing_errors(self.store.path):
            self._shard = self._shard or create_shard(
                self._folder, place.shard, self._spec, self._options
            )
            self._shard.write(window, arrays)
            if place.ends:
                self._end_shard(self._shard, last=place.last)

    def _end_shard(self, shard: ParquetShard, *, last: bool) -> None:
        path = shard.close(last=last)
        self._shard = None
        self.add(shard.number, self.store.put(shard.number, path))

    def finish(self, plan: Manifest) -> None:
        """Commit the output if no shard is missing.

        Raises:
            OutputError: It cannot be put in place.
        """
        with writing_errors(self.store.path):
            if self.n_shards == 1 and self._is_wanted(0) and not self._made:  # no sentences
                self._end_shard(create_shard(self._folder, 0, self._spec, self._options), last=True)
            if self.store.numbers() >= set(range(self.n_shards)):
                self.store.commit(self.n_shards, plan)

    def __enter__(self) -> "ShardsWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shard:
            self._shard.discard()
        # The input was changed: shards made from it are of another job
        if isinstance(error, ResumeError):
            self.store.remove(self._made)


def _places(numbered: Iterator[tuple[int, Window]]) -> Iterator[tuple[_Place, Window]]:
    """Read one window ahead, to know which one ends its shard."""
    before = next(numbered, None)
    while before:
        following = next(numbered, None)
        ends = following is None or following[0] != before[0]
        yield _Place(before[0], ends, last=following is None), before[1]
        before = following


@dataclass(frozen=True)
class ShardRun:
    """A run that makes shards in a store, with the interface of `ResumableRun`.

    Args:
        store: Store of the shards.
        task: Shards that this run makes.
        resume: Whether to continue a job that is unfinished.
        fresh: Whether to discard it.
    """

    store: ShardStore
    task: ShardTask
    resume: bool = False
    fresh: bool = False

    def temporary_folder(self) -> Path:
        """Return a folder for temporary files."""
        return Path(tempfile.gettempdir())

    def check(self) -> None:
        """Check that the output can be written.

        Raises:
            OutputError: It cannot be written.
        """
        self.store.check()

    def compare(self, plan: Manifest) -> bool:
        """Check that an unfinished job is this one; return whether the output is complete already.

        Raises:
            OutputError: It is another job, or a file exists that must not be replaced.
        """
        if self._is_done(plan):
            return True
        self.store.check_is_free()
        if kept := self.store.read_plan():
            if not (self.resume or self.fresh):
                raise ResumeError(
                    f"{self.store.path}: a run was stopped after {self._progress()}; "
                    f"{self.store.to_continue}, or {self.store.to_discard}"
                )
            if not self.fresh:
                self._checked(plan, kept)
        return False

    def clear(self) -> None:
        """Remove the remaining files of a job whose output is complete."""
        self.store.clear()

    def _is_done(self, plan: Manifest) -> bool:
        return (
            self.resume
            and FINGERPRINT in plan.metadata
            and self.store.made_by() == plan.fingerprint
        )

    def _checked(self, plan: Manifest, kept: bytes) -> Manifest:
        before = Manifest.from_json(kept)
        if before is None:
            raise ResumeError(
                f"{self.store.path}: its unfinished job is of another version of elmo, or damaged; "
                f"{self.store.to_discard}"
            )
        if differences := plan.differences(before):
            fact = f"the unfinished job is another one: it differs in {', '.join(differences)}"
            raise ResumeError(
                f"{self.store.path}: {fact}; give the same input and options, or "
                f"{self.store.to_discard}"
            )
        return before

    @contextmanager
    def open_shards(
        self, plan: Manifest, spec: FeatureSpec, options: WriteOptions
    ) -> Iterator[ShardsWriter]:
        """Open the writer of the task's missing shards.

        The output is committed when none is missing.

        Raises:
            OutputError: The task is running already, or existing shards are of another job.
        """
        with self.store.claim() as folder:
            if self.fresh:
                self.store.discard()
            plan = self._checked(plan, self.store.keep_plan(plan.to_json()))
            done = self._is_done(plan)  # by another task, while this one loaded the model
            with ShardsWriter(
                self.store,
                folder,
                replace(spec, metadata=plan.metadata),
                options,
                NO_SHARDS if done else self.task,
            ) as writer:
                yield writer
            if done:
                self.store.clear()
            else:
                writer.finish(plan)

    def check_space(self, n_bytes: int, remedy: str) -> None:
        """Check that the disk has space for the missing shards."""
        self.store.check_space(n_bytes - self.store.kept_bytes(), remedy)

    def how_to_go_on(self) -> str:
        """Return how to continue after a stop, in words; empty if the job has not started.

        A job that has started must be continued or discarded even if no shard is complete.
        """
        try:
            begun = self.store.read_plan() is not None
            return f"{self._progress()} kept: {self.store.to_continue}" if begun else ""
        except ElmoError:  # of a store that cannot be reached, which has ended the run
            return self.store.to_continue

    def state(self) -> str:
        """Return how many shards there are, in words; empty if the output is complete."""
        return (
            f"{self.store.path} has {self._progress()} so far, of this task and others"
            if self.store.read_plan()
            else ""
        )

    def _progress(self) -> str:
        n = len(self.store.numbers())
        return f"{n:,} complete shard{'s' * (n != 1)}"

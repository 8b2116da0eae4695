"""Writer that keeps each window in the work folder, and replays the windows of an earlier run."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NoReturn

import pyarrow as pa

from elmo_cli.errors import DiskError, OutputError, ResumeError
from elmo_cli.features.protocols import FeatureWriter
from elmo_cli.features.resume.parts import read_part, write_part
from elmo_cli.features.resume.work_dir import WorkDir
from elmo_cli.io.atomic import atomic_write, writing_errors
from elmo_cli.types import Array, Sentence

Window = list[Sentence]


class ResumableWriter:
    """Writer that keeps each window before it passes it to another writer.

    Args:
        inner: The other writer.
        work: Work folder, which must be claimed and started.
        kept: Schema of the columns that are carried over; None without any.
    """

    def __init__(self, inner: FeatureWriter, work: WorkDir, kept: pa.Schema | None = None) -> None:
        self.inner = inner
        self.work = work
        self.kept = kept
        self._number = 0  # of the next window
        self._committed = 0

    @property
    def skipped_duplicates(self) -> int:
        """Number of sentences that the inner writer has not written."""
        return self.inner.skipped_duplicates

    def replay(self, sentences: Iterable[Sentence]) -> Iterator[Window]:
        """Write the windows of the earlier run and yield them.

        A truncated or damaged part ends the replay: its window and those after it must be
        recomputed.

        Args:
            sentences: Iterator of the sentences, from which those of the windows are taken; they
                must be the same.

        Raises:
            ResumeError: The sentences differ.
        """
        again = iter(sentences)
        for path in self.work.parts():
            if (part := read_part(path)) is None:
                break
            window, arrays = part
            self._compare(window, list(islice(again, len(window))))
            self._pass_on(window, arrays)
            yield window
        with writing_errors(self.work.output.path):
            self.work.remove_parts(kept=self._number)

    def write(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        """Keep a window, then pass it to the inner writer.

        Raises:
            DiskError: The disk is full or gone.
            OutputError: The inner writer rejects the window, which is then not kept.
        """
        with writing_errors(self.work.output.path):
            atomic_write(
                self.work.part(self._number),
                lambda path: write_part(path, window, arrays, self.kept),
            )
        self._pass_on(window, arrays)

    def _pass_on(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        self._number += 1
        self._committed += len(window)
        try:
            self.inner.write(window, arrays)
        except DiskError:
            raise
        except OutputError as error:
            self._give_up(error)

    def _give_up(self, refusal: OutputError) -> NoReturn:
        with writing_errors(self.work.output.path):
            self.work.part(self._number - 1).unlink()
        if not self.work.parts():
            raise refusal
        raise ResumeError(f"{refusal}; a resumed run would stop here again: pass --fresh too")

    def _compare(self, before: Window, now: Window) -> None:
        # A NaN among the columns that are carried over differs from itself
        if before != now and repr(before) != repr(now):
            at = next(
                (
                    i
                    for i, (one, other) in enumerate(zip(before, now, strict=False))
                    if repr(one) != repr(other)
                ),
                len(now),
            )
            differs = "was another one" if at < len(now) else "is missing"
            raise ResumeError(
                f"{self.work.output.path}: the unfinished run read another input: sentence "
                f"{self._committed + at + 1:,} {differs}; "
                "give the same input to continue it, or pass --fresh to start over"
            )

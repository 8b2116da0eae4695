"""A store that keeps each window in the work folder before it passes it on, and gives a new store the windows of an earlier run."""

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
    """Wraps any store. The folder must be claimed and its work begun; `kept` is the schema of the columns that are carried over."""

    def __init__(self, inner: FeatureWriter, work: WorkDir, kept: pa.Schema | None = None) -> None:
        self.inner = inner
        self.work = work
        self.kept = kept
        self._number = 0  # of the next window
        self._committed = 0

    @property
    def skipped_duplicates(self) -> int:
        """Of the store inside."""
        return self.inner.skipped_duplicates

    def replay(self, sentences: Iterable[Sentence]) -> Iterator[Window]:
        """Pass the windows of the earlier run on, taking their sentences off `sentences` (an iterator), which must be the same ones.

        A part that is torn or damaged ends it: that window and those after it are to be computed again.

        Raises:
            ResumeError: The sentences are others.
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
        """Keep a window, then pass it on.

        Raises:
            DiskError: The disk is full or gone.
            OutputError: The store refuses the window, as it would again: it is kept no longer.
        """
        with writing_errors(self.work.output.path):
            atomic_write(self.work.part(self._number), lambda path: write_part(path, window, arrays, self.kept))
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
        raise ResumeError(f"{refusal}; a resumed run would end here again: pass --fresh too")

    def _compare(self, before: Window, now: Window) -> None:
        if before != now and repr(before) != repr(now):  # a NaN among the columns that are carried over differs from itself
            at = next((i for i, (one, other) in enumerate(zip(before, now, strict=False)) if repr(one) != repr(other)), len(now))
            differs = "was another one" if at < len(now) else "is missing"
            raise ResumeError(
                f"{self.work.output.path}: the unfinished run read another input: sentence {self._committed + at + 1:,} {differs}; "
                "give the same input to go on with it, or pass --fresh to begin anew"
            )

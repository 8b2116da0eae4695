"""Corpora: scanning, validation and iteration over the sentences of one or more inputs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from elmo_cli.errors import CorpusError
from elmo_cli.io import sandbox
from elmo_cli.io.inputs import STDIN, InputFile, display_name, expand_input, is_stream
from elmo_cli.io.remote import redact_url
from elmo_cli.readers import READERS, find_formats, unused_options
from elmo_cli.readers.corpus_scan import CorpusScan, LocatedSentence
from elmo_cli.readers.duplicate_ids import DuplicateIds, check_is_new
from elmo_cli.readers.options import PLAIN, OnError, ReadOptions, raise_error
from elmo_cli.readers.tokens import MAX_TOKENS
from elmo_cli.types import Sentence

if TYPE_CHECKING:
    import pyarrow

__all__ = ["Corpus", "CorpusScan"]

MAX_COLUMNS = 15  # of a column file that may have been mistaken for text


@dataclass(frozen=True)
class Corpus:
    """A corpus of one or more inputs, read one after the other.

    Args:
        inputs: Files, folders, globs or URIs; `-` is standard input.
        blank_lines: "error", "keep" (a sentence without tokens) or "skip".
        reading: Reader options.
        max_sentence_tokens: Longer sentences are a problem; None for MAX_TOKENS.
    """

    inputs: Sequence[str | Path]
    blank_lines: str = "error"
    reading: ReadOptions = PLAIN
    max_sentence_tokens: int | None = None

    @cached_property
    def files(self) -> tuple[tuple[InputFile, str], ...]:
        """Return the files, in order, and their formats.

        Raises:
            CorpusError: An input has no files, the format of a file is unknown, or standard input
                is named twice.
        """
        found = [
            file
            for name in self.inputs
            for file in find_formats(expand_input(str(name)), self.reading.format)
        ]
        if sum(file == STDIN for file, _ in found) > 1:
            raise CorpusError(
                "-: standard input is named more than once, and can be read only once; name it "
                "once (a file called - is ./-)"
            )
        return tuple(found)

    @property
    def name(self) -> str:
        """Return the name of the corpus for messages."""
        first, *others = self.inputs
        return redact_url(
            f"{first} and {len(others)} more input{'s' * (len(others) > 1)}"
            if others
            else str(first)
        )

    @property
    def local_paths(self) -> list[Path]:
        """Return the local files."""
        return [file for file, _ in self.files if isinstance(file, Path) and file != STDIN]

    @property
    def stored_bytes(self) -> int:
        """Return the size of all files in bytes, local and remote; a stream counts 0."""
        return sum(
            sandbox.stored_bytes(file) if isinstance(file, Path) else file.n_bytes
            for file, _ in self.files
        )

    @cached_property
    def is_stream(self) -> bool:
        """Return whether the corpus is readable only once: it has standard input or a pipe."""
        return any(is_stream(file) for file, _ in self.files)

    def misplaced_options(self) -> list[tuple[str, list[str]]]:
        """Return the options that none of the files uses, each with the formats that use it."""
        return list(unused_options(self.reading, {name for _, name in self.files}))

    def kept_fields(self) -> "pyarrow.Schema | None":
        """Return the schema of the columns copied to the output, in the order of `Sentence.kept`.

        Returns:
            The schema; None if no columns are kept.

        Raises:
            CorpusError: A file lacks a column, or its columns have other types than the first
                file's.
        """
        if not self.reading.keep:
            return None
        return self._kept_fields

    @cached_property
    def _kept_fields(self) -> "pyarrow.Schema":
        schemas = {file: READERS[name].kept(file, self.reading) for file, name in self.files}
        first, expected = next(iter(schemas.items()))
        for file, schema in schemas.items():
            if not schema.equals(expected):
                ours, theirs = ", ".join(map(str, schema)), ", ".join(map(str, expected))
                raise CorpusError(
                    f"{display_name(file)}: its columns to keep are of other types ({ours}) than "
                    f"those of {display_name(first)} ({theirs})"
                )
        return expected

    def scan(self) -> CorpusScan:
        """Read the complete corpus, count its sentences and check them.

        Files that only pyarrow reads are scanned in a child process with limits of memory and time
        (`io.sandbox`). `read` then reads them again in this process, without limits: a file that
        passed the scan is not expected to take more the second time. A file that changes in between
        is detected afterwards by the digest of its sentences. Streams cannot be scanned.

        Returns:
            The counts, and the digest of the sentences.

        Raises:
            CorpusError: There are problems (the error lists the first ten and their number), or a
                file exceeds the limits.
        """
        if not any(READERS[name].is_sandboxed for _, name in self.files):
            return self._scan()
        limits = sandbox.limits_for(self.stored_bytes)
        return sandbox.run_sandboxed(
            _scan_corpus, Path(self.name), self, limits=limits, error=CorpusError
        )

    def _scan(self) -> CorpusScan:
        scan, identifiers = CorpusScan(), DuplicateIds()
        self.kept_fields()
        for found in self._all(scan.report):
            scan.count(found, among_many=len(self.files) > 1)
            if found.sentence.id is not None:
                identifiers.add(found.sentence.id)
        if repeated := identifiers.repeated():
            self._report_clashes(repeated, scan)
        if self.blank_lines == "error" and scan.n_blank:
            scan.report(self._blank_error(scan))
        if scan.n_problems:
            raise scan.summary(self.name)
        return scan

    def read(self, scan: CorpusScan | None = None) -> Iterator[Sentence]:
        """Iterate over the sentences to be embedded, in order.

        Args:
            scan: Counts the sentences as they are read.

        Raises:
            CorpusError: At the first problem.
        """
        scan = scan or CorpusScan()
        # Duplicates in files are found by `scan`
        seen: dict[str, str] | None = {} if self.is_stream else None
        for found in self._all(raise_error):
            scan.count(found, among_many=len(self.files) > 1)
            if seen is not None:
                check_is_new(found, seen, raise_error)
            if found.sentence.tokens or self.blank_lines == "keep":
                yield found.sentence
            elif self.blank_lines == "error":
                raise self._blank_error(scan)

    def _all(self, report: OnError) -> Iterator[LocatedSentence]:
        """Iterate over the sentences of all files, numbered consecutively.

        Sentences that share a row are named by the id of the row, or by its number.
        """
        first = first_row = 0
        for file, name in self.files:
            reader, number, row = READERS[name], 0, 0
            sandbox.note_place(display_name(file))
            try:
                for sentence in reader.read(file, self.reading, report):
                    number = int(sentence.key) + 1
                    row = number if sentence.row is None else sentence.row
                    found = LocatedSentence(
                        _placed(sentence, first, first_row), file, row, reader.unit
                    )
                    if len(sentence.tokens) > (self.max_sentence_tokens or MAX_TOKENS):
                        report(self._too_long(found))
                    else:
                        yield found
            except CorpusError as problem:  # it ends this file
                report(problem)
            first, first_row = first + number, first_row + row

    def _report_clashes(self, repeated: set[int], scan: CorpusScan) -> None:
        """Read again and report sentences whose ids occur more than once, given repeated hashes."""
        seen: dict[str, str] = {}
        for found in self._all(lambda _: None):
            if hash(found.sentence.id) in repeated:
                check_is_new(found, seen, scan.report)

    def _too_long(self, found: LocatedSentence) -> CorpusError:
        limit = (
            f"--max-sentence-tokens {self.max_sentence_tokens:,}"
            if self.max_sentence_tokens
            else f"{MAX_TOKENS:,}"
        )
        remedy = "split it, or allow more by --max-sentence-tokens"
        return CorpusError(
            f"{found.place()}: has {len(found.sentence.tokens):,} tokens, more than {limit}; "
            f"{remedy}"
        )

    def _blank_error(self, scan: CorpusScan) -> CorpusError:
        remedy = "pass --blank-lines skip to drop them or keep to write empty arrays"
        if (
            scan.blank_unit == "line"
            and len(scan.widths) == 1
            and max(scan.widths) <= MAX_COLUMNS
            and self.reading.format is None
        ):
            remedy += (
                "; or, if each line is a token and a blank line ends a sentence, --input-format "
                "conll"
            )
        return CorpusError(f"{self.name}: {scan.blank_lines()}; {remedy}")


def _scan_corpus(_: Path, corpus: Corpus) -> CorpusScan:
    """Scan in a child process."""
    return corpus._scan()


def _placed(sentence: Sentence, first: int, first_row: int) -> Sentence:
    """Return a sentence of a file, numbered within the corpus; the row becomes part of its id.

    Args:
        sentence: The sentence, numbered within its file.
        first: Number of sentences in the files before.
        first_row: Number of rows in the files before.
    """
    if not first and sentence.row is None:
        return sentence
    id_ = sentence.id
    if sentence.part:
        id_ = f"{first_row + (sentence.row or 1) - 1 if id_ is None else id_}/{sentence.part}"
    return sentence._replace(key=str(first + int(sentence.key)), id=id_, row=None, part="")

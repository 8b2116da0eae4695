"""Corpora: scanning, validation and iteration over the sentences of one or more inputs."""

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from elmo_cli.errors import CorpusError
from elmo_cli.io import sandbox
from elmo_cli.io.inputs import STDIN, InputFile, display_name, expand_input, is_stream
from elmo_cli.io.remote import redact_url
from elmo_cli.readers import READERS, find_formats, unused_options
from elmo_cli.readers.options import PLAIN, OnError, ReadOptions, raise_error
from elmo_cli.readers.tokens import MAX_TOKENS
from elmo_cli.types import Sentence

if TYPE_CHECKING:
    import pyarrow

NO_IDS = "--ignore-ids, or no --id-column or --id-field"
MAX_COLUMNS = 15  # of a column file that may have been mistaken for text
SHOWN = 10  # problems that are listed; the others are counted


class DuplicateIds:
    """Duplicate detection over many ids in eight bytes each.

    Only hashes are stored, so two different ids may have the same hash: repeated hashes have to be
    checked against the ids themselves.
    """

    def __init__(self) -> None:
        self._hashes = array("q")

    def add(self, name: str) -> None:
        """Add an id."""
        self._hashes.append(hash(name))

    def repeated(self) -> set[int]:
        """Return the hashes that occur more than once."""
        hashes = np.frombuffer(self._hashes, dtype=np.int64)
        hashes.sort()
        return set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())


class LocatedSentence(NamedTuple):
    """A sentence and its location."""

    sentence: Sentence
    file: InputFile
    number: int  # in the file, from 1
    unit: str  # of the number: line, row, ...

    def place(self) -> str:
        """Return the location for messages."""
        return (
            f"{display_name(self.file)}:{self.number}"
            if self.unit == "line"
            else f"{display_name(self.file)}: {self.unit} {self.number}"
        )


@dataclass
class CorpusScan:
    """Counts of a corpus, its blank lines, and the problems found in it."""

    sentences: int = 0
    tokens: int = 0
    text_bytes: int = 0  # upper bound of the size of the sentences in JSON
    blank: list[str] = field(default_factory=list)  # locations of the first SHOWN blank lines
    n_blank: int = 0
    # Numbers of tokens of non-blank sentences; at most two are stored
    widths: set[int] = field(default_factory=set)
    blank_unit: str = "line"  # or "row", ...: unit of the first blank line
    problems: list[CorpusError] = field(default_factory=list)  # the first SHOWN problems
    n_problems: int = 0
    # Of the content of all sentences
    digest: "hashlib._Hash | str" = field(default_factory=hashlib.sha256)

    def count(self, found: "LocatedSentence", *, among_many: bool = False) -> None:
        """Count a sentence.

        Args:
            found: The sentence.
            among_many: Whether the corpus has several files, so that locations name the file.
        """
        sentence = found.sentence
        self.sentences += 1
        self.tokens += len(sentence.tokens)
        if not isinstance(self.digest, str):
            _add_content(self.digest, sentence)
        self.text_bytes += len(sentence.text) * (1 if sentence.text.isascii() else 6)
        if sentence.tokens and len(self.widths) < 2:
            self.widths.add(len(sentence.tokens))
        if not sentence.tokens:
            self.n_blank += 1
            self.blank_unit = found.unit if self.n_blank == 1 else self.blank_unit
            if len(self.blank) < SHOWN:
                self.blank.append(found.place() if among_many else str(found.number))

    def hexdigest(self) -> str:
        """Return the SHA-256 of the content of all sentences."""
        return self.digest if isinstance(self.digest, str) else self.digest.hexdigest()

    def __getstate__(self) -> dict[str, object]:
        """Return the pickled state.

        A hash object cannot be pickled, so an unpickled scan cannot count more sentences.
        """
        return {**vars(self), "digest": self.hexdigest()}

    def report(self, problem: CorpusError) -> None:
        """Record a problem; the reader continues."""
        self.n_problems += 1
        if len(self.problems) < SHOWN:
            self.problems.append(problem)

    def blank_lines(self) -> str:
        """Return the number and locations of the blank lines: "2 blank lines (3, 7)"."""
        places = ", ".join(self.blank) + (", ..." if self.n_blank > len(self.blank) else "")
        return f"{self.n_blank} blank {self.blank_unit}{'s' if self.n_blank > 1 else ''} ({places})"

    def summary(self, name: str) -> CorpusError:
        """Return one error that lists the problems."""
        if self.n_problems == 1:
            return self.problems[0]
        more = "" if self.n_problems <= SHOWN else f", of which the first {SHOWN}"
        return CorpusError(f"{name}: {self.n_problems} problems{more}:", *map(str, self.problems))


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
                _check_is_new(found, seen, raise_error)
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
                _check_is_new(found, seen, scan.report)

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


def _add_content(digest: "hashlib._Hash", sentence: Sentence) -> None:
    digest.update(
        "\0".join((sentence.key, sentence.text, *sentence.tokens, "")).encode(
            "utf-8", "surrogatepass"
        )
    )
    if (own := (sentence.id, sentence.kept, sentence.document)) != (None, (), None):
        digest.update(repr(own if sentence.document else own[:2]).encode("utf-8", "surrogatepass"))


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


def _check_is_new(found: LocatedSentence, seen: dict[str, str], report: OnError) -> None:
    id_ = found.sentence.id
    if id_ in seen:
        report(
            CorpusError(
                f"{found.place()} has the id {id_!r} of {seen[id_]}; make ids unique, or do not "
                f"use them ({NO_IDS})"
            )
        )
    elif id_ is not None:
        seen[id_] = found.place()

"""Look before you leap: a corpus to be read, what it holds, and all that is wrong with it before any work on a model."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from elmo_cli.compression import STDIN
from elmo_cli.corpus import Sentence
from elmo_cli.errors import CorpusError
from elmo_cli.readers import READERS
from elmo_cli.readers.problems import Report, stop

SHOWN = 10  # problems named one by one; the rest are counted


@dataclass
class Scan:
    """What a corpus holds, blank lines among the sentences, and the problems met on the way."""

    sentences: int = 0
    tokens: int = 0
    text_bytes: int = 0  # of the sentences in JSON, at most
    blank: list[int] = field(default_factory=list)  # line numbers from 1, the first ones
    n_blank: int = 0
    problems: list[CorpusError] = field(default_factory=list)  # the first ones
    n_problems: int = 0
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)  # of all that the sentences hold

    def count(self, sentence: Sentence) -> None:
        """Take note of a sentence."""
        self.sentences += 1
        self.tokens += len(sentence.tokens)
        self.digest.update("\0".join((sentence.key, sentence.text, *sentence.tokens, "")).encode("utf-8", "surrogatepass"))
        if sentence.id is not None or sentence.kept:
            self.digest.update(repr((sentence.id, sentence.kept)).encode("utf-8", "surrogatepass"))
        self.text_bytes += len(sentence.text) * (1 if sentence.text.isascii() else 6)
        if not sentence.tokens:
            self.n_blank += 1
            if len(self.blank) < SHOWN:
                self.blank.append(int(sentence.key) + 1)

    def report(self, problem: CorpusError) -> None:
        """Take note of a problem, and let the reader go on."""
        self.n_problems += 1
        if len(self.problems) < SHOWN:
            self.problems.append(problem)

    def blank_lines(self) -> str:
        """The blank lines in words: "2 blank lines (3, 7)"."""
        numbers = ", ".join(map(str, self.blank)) + (", ..." if self.n_blank > len(self.blank) else "")
        return f"{self.n_blank} blank line{'s' if self.n_blank > 1 else ''} ({numbers})"

    def summary(self, name: str) -> CorpusError:
        """All problems as one error."""
        if self.n_problems == 1:
            return self.problems[0]
        more = "" if self.n_problems <= SHOWN else f", of which the first {SHOWN}"
        return CorpusError(f"{name}: {self.n_problems} problems{more}:", *map(str, self.problems))


@dataclass(frozen=True)
class Source:
    """A corpus: where it lies and how it is to be read. `-` is standard input."""

    path: Path
    separator: str = "whitespace"
    blank_lines: str = "error"  # or "keep", "skip"
    encoding_errors: str = "strict"  # or "replace"
    format: str = "text"

    @property
    def is_stream(self) -> bool:
        """Whether it can be read only once: standard input, a pipe."""
        return self.path == STDIN or (self.path.exists() and not self.path.is_file() and not self.path.is_dir())

    def scan(self) -> Scan:
        """Read it whole and count.

        Raises:
            CorpusError: With the first ten problems and their number, if there are any.
        """
        scan = Scan()
        for sentence in self._all(scan.report):
            scan.count(sentence)
        if self.blank_lines == "error" and scan.n_blank:
            scan.report(self._blank_error(scan))
        if scan.n_problems:
            raise scan.summary(str(self.path))
        return scan

    def read(self, scan: Scan | None = None) -> Iterator[Sentence]:
        """The sentences to be embedded, in order; `scan` counts them as they pass.

        Raises:
            CorpusError: At the first problem.
        """
        scan = scan or Scan()
        for sentence in self._all(stop):
            scan.count(sentence)
            if sentence.tokens or self.blank_lines == "keep":
                yield sentence
            elif self.blank_lines == "error":
                raise self._blank_error(scan)

    def _all(self, report: Report) -> Iterator[Sentence]:
        return READERS[self.format](self.path, separator=self.separator, encoding_errors=self.encoding_errors, report=report)

    def _blank_error(self, scan: Scan) -> CorpusError:
        return CorpusError(f"{self.path}: {scan.blank_lines()}; pass --blank-lines skip to drop them or keep to write empty arrays")

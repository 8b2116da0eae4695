"""Look before you leap: what a corpus holds, and all that is wrong with it, before any work on a model."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from elmo_cli.corpus import Sentence
from elmo_cli.errors import CorpusError

SHOWN = 10  # problems named one by one; the rest are counted
BLANK_LINES = ("error", "keep", "skip")


@dataclass
class Scan:
    """Counts of the sentences that have passed, blank ones among them, and the problems reported on the way."""

    sentences: int = 0
    tokens: int = 0
    blank: list[int] = field(default_factory=list)  # the first blank lines' numbers, from 1
    n_blank: int = 0
    problems: list[CorpusError] = field(default_factory=list)
    n_problems: int = 0

    def report(self, problem: CorpusError) -> None:
        """Note a problem and let the reader go on."""
        self.n_problems += 1
        if len(self.problems) < SHOWN:
            self.problems.append(problem)

    def watch(self, sentences: Iterable[Sentence]) -> Iterator[Sentence]:
        """Pass sentences on and count them."""
        for sentence in sentences:
            self.sentences += 1
            self.tokens += len(sentence.tokens)
            if not sentence.tokens:
                self.n_blank += 1
                if len(self.blank) < SHOWN:
                    self.blank.append(int(sentence.key) + 1)
            yield sentence

    def blank_lines(self) -> str:
        """The blank lines in words: "2 blank lines (3, 7)"."""
        numbers = ", ".join(map(str, self.blank)) + (", ..." if self.n_blank > len(self.blank) else "")
        return f"{self.n_blank} blank line{'s' if self.n_blank > 1 else ''} ({numbers})"


def scan_corpus(sentences: Iterable[Sentence], scan: Scan, name: str, blank_lines: str) -> Scan:
    """Read all sentences (from a reader that reports to `scan`) and return their counts.

    Raises:
        CorpusError: With the first ten problems and their number, if there are any.
    """
    for _ in scan.watch(sentences):
        pass
    if blank_lines == "error" and scan.n_blank:
        scan.report(_blank_error(name, scan))
    if scan.n_problems == 1:
        raise scan.problems[0]
    if scan.n_problems:
        more = "" if scan.n_problems <= SHOWN else f"; the first {SHOWN}"
        raise CorpusError("\n  ".join([f"{name}: {scan.n_problems} problems{more}:", *map(str, scan.problems)]))
    return scan


def apply_blank_lines(sentences: Iterable[Sentence], policy: str, name: str) -> Iterator[Sentence]:
    """Keep, skip or refuse sentences without tokens.

    Raises:
        CorpusError: At the first of them, if `policy` is "error".
    """
    for sentence in sentences:
        if sentence.tokens or policy == "keep":
            yield sentence
        elif policy == "error":
            raise _blank_error(name, Scan(blank=[int(sentence.key) + 1], n_blank=1))


def _blank_error(name: str, scan: Scan) -> CorpusError:
    return CorpusError(f"{name}: {scan.blank_lines()}; pass --blank-lines skip to drop them or keep to write empty arrays")

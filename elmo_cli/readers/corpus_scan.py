"""Counts of a corpus, and the problems that are found while it is read."""

import hashlib
from dataclasses import dataclass, field
from typing import NamedTuple

from elmo_cli.errors import CorpusError
from elmo_cli.io.inputs import InputFile, display_name
from elmo_cli.types import Sentence

SHOWN = 10  # problems that are listed; the others are counted


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
    # Hash of the content of all sentences
    digest: "hashlib._Hash | str" = field(default_factory=hashlib.sha256)

    def count(self, found: LocatedSentence, *, among_many: bool = False) -> None:
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


def _add_content(digest: "hashlib._Hash", sentence: Sentence) -> None:
    digest.update(
        "\0".join((sentence.key, sentence.text, *sentence.tokens, "")).encode(
            "utf-8", "surrogatepass"
        )
    )
    if (own := (sentence.id, sentence.kept, sentence.document)) != (None, (), None):
        digest.update(repr(own if sentence.document else own[:2]).encode("utf-8", "surrogatepass"))

"""FASTA: protein sequences, one residue a token."""

import re
from collections.abc import Iterator

from elmo_cli.errors import CorpusError
from elmo_cli.io.inputs import InputFile, display_name
from elmo_cli.readers.lines import read_lines
from elmo_cli.readers.options import PLAIN, ReadOptions
from elmo_cli.readers.problems import OnError, raise_error
from elmo_cli.readers.tokens import MAX_TOKENS
from elmo_cli.types import Sentence

NO_RESIDUE = re.compile(r"[^A-Za-z*.\-]")  # letters of either case, a stop, gaps of an alignment


def read_fasta(file: InputFile, reading: ReadOptions = PLAIN, report: OnError = raise_error) -> Iterator[Sentence]:
    """Read FASTA: a header's first word is the sequence's id; a `*` at a sequence's end is dropped, all else taken as it stands.

    Blanks in a sequence and lines that begin with `;` are ignored. Keys are record numbers from 0. What is wrong with a line goes to
    `report`, and the line is left out.

    Raises:
        CorpusError: The file cannot be read, is no text, or has a sequence above MAX_TOKENS residues.
    """
    for number, (id_, residues) in enumerate(_records(file, reading, report)):
        tokens = list(residues.removesuffix("*"))
        yield Sentence(str(number), tokens, " ".join(tokens), None if reading.ignore_ids else id_)


def _records(file: InputFile, reading: ReadOptions, report: OnError) -> Iterator[tuple[str, str]]:
    """Ids and sequences."""
    name, id_, parts, length = display_name(file), None, list[str](), 0
    for at, line in read_lines(file, reading.encoding_errors, report):
        if line.startswith(">"):
            if id_ is not None:
                yield id_, "".join(parts)
            id_, parts, length = _id(line, f"{name}:{at}", report), [], 0
            continue
        part = "" if line.startswith(";") else "".join(line.split())
        if part and id_ is None:
            raise CorpusError(f"{name}:{at}: a sequence before the first header; a line '>' and an id has to come first")
        length += len(part)
        if length > MAX_TOKENS:
            raise CorpusError(f"{name}:{at}: the sequence {id_} has more than {MAX_TOKENS:,} residues; cut it")
        if bad := NO_RESIDUE.search(part):
            report(CorpusError(f"{name}:{at}: {bad[0]!r} is no residue; a sequence has letters, '*', '-' and '.'"))
        parts.append(part)
    if id_ is not None:
        yield id_, "".join(parts)


def _id(header: str, place: str, report: OnError) -> str:
    words = header[1:].split(maxsplit=1)
    if not words or header[1].isspace():
        report(CorpusError(f"{place}: the header has no id; it has to follow '>' at once"))
    return words[0] if words else ""

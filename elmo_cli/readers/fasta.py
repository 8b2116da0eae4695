"""FASTA reader: protein sequences, one token for each residue.

As in SeqVec's own reader, blanks inside a sequence are left out, and residues are converted to
upper case, on which its model was trained (lower case marks repeats and masked regions in many
files). Gaps (`-`, `.`) and a stop `*` within a sequence are tokens. Unlike in SeqVec's reader, a
`*` at the end is dropped, lines that begin with `;` are comments, and a character that is not a
residue (a digit, a `>` within a line) is an error. SeqVec's `--id 1`, a field of the header by
number from 0, is `--id-field 2` here.
"""

import re
from collections.abc import Iterator

from elmo_cli.errors import CorpusError
from elmo_cli.io.inputs import InputFile, display_name
from elmo_cli.readers.lines import read_lines
from elmo_cli.readers.options import PLAIN, OnError, ReadOptions, raise_error
from elmo_cli.readers.tokens import MAX_TOKENS
from elmo_cli.types import Sentence

NO_RESIDUE = re.compile(r"[^A-Za-z*.\-]")  # letters of either case, a stop, gaps of an alignment


def read_fasta(
    file: InputFile, reading: ReadOptions = PLAIN, report: OnError = raise_error
) -> Iterator[Sentence]:
    """Read the sequences of a FASTA file.

    The first word of a header is the id of the sequence, or field `reading.id_field` of it, from 1,
    with `|` between fields. Residues are converted to upper case unless `reading.keep_case`.

    Args:
        file: The file.
        reading: Reader options.
        report: Called with the error of each bad line, which is left out.

    Yields:
        Sentences, whose keys are record numbers from 0.

    Raises:
        CorpusError: The file cannot be read, is not text, or contains a sequence of more than
            MAX_TOKENS residues; or `id_field` is not a number.
    """
    for number, (id_, residues) in enumerate(_records(file, reading, report)):
        sequence = residues.removesuffix("*")
        tokens = list(sequence if reading.keep_case else sequence.upper())
        yield Sentence(str(number), tokens, " ".join(tokens), None if reading.ignore_ids else id_)


def _records(file: InputFile, reading: ReadOptions, report: OnError) -> Iterator[tuple[str, str]]:
    """Iterate over ids and sequences."""
    name, id_, parts, length = display_name(file), None, list[str](), 0
    id_field = _number(reading.id_field, name)
    for at, line in read_lines(file, reading.encoding_errors, report):
        if line.startswith(">"):
            if id_ is not None:
                yield id_, "".join(parts)
            id_, parts, length = _id(line, id_field, f"{name}:{at}", report), [], 0
            continue
        part = "" if line.startswith(";") else "".join(line.split())
        if part and id_ is None:
            raise CorpusError(
                f"{name}:{at}: a sequence before the first header; a line '>' and an id has to "
                "come first"
            )
        length += len(part)
        if length > MAX_TOKENS:
            raise CorpusError(
                f"{name}:{at}: the sequence {id_} has more than {MAX_TOKENS:,} residues; split it"
            )
        if bad := NO_RESIDUE.search(part):
            report(
                CorpusError(
                    f"{name}:{at}: {bad[0]!r} is not a residue; a sequence has letters, '*', '-' "
                    "and '.'"
                )
            )
        parts.append(part)
    if id_ is not None:
        yield id_, "".join(parts)


def _number(id_field: str | None, name: str) -> int | None:
    if id_field is not None and not (
        id_field.isascii() and id_field.isdecimal() and int(id_field[:9]) > 0
    ):
        raise CorpusError(
            f"{name}: --id-field {id_field}: for FASTA it has to be a number, from 1: the P1 of "
            "'>sp|P1|NAME' is field 2"
        )
    return None if id_field is None else int(id_field[:9])


def _id(header: str, field: int | None, place: str, report: OnError) -> str:
    words = header[1:].split(maxsplit=1)
    if not words or header[1].isspace():
        report(CorpusError(f"{place}: the header has no id; it has to follow '>' immediately"))
    if not words or field is None:
        return words[0] if words else ""
    fields = words[0].split("|")
    if field > len(fields) or not fields[field - 1]:
        report(
            CorpusError(
                f"{place}: the header's first word {words[0][:60]!r} has no field {field} between "
                "'|'; leave out --id-field"
            )
        )
        return words[0]
    return fields[field - 1]

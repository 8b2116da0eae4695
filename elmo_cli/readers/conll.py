"""CoNLL readers: CoNLL-U and other column formats, one token in each line."""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from elmo_cli.errors import CorpusError
from elmo_cli.io.inputs import InputFile, display_name
from elmo_cli.readers.detection import refuse_markup
from elmo_cli.readers.lines import read_lines
from elmo_cli.readers.options import PLAIN, OnError, ReadOptions, raise_error
from elmo_cli.readers.tokens import MAX_TOKENS
from elmo_cli.types import Sentence

MAX_BLOCK = 1 << 27  # characters of a sentence's lines
NO_WORD = re.compile(r"\d+-\d+|\d+\.\d+")  # in the ID column: a multiword token, or an empty node
NEWDOC = re.compile(r"#\s*newdoc(?:\s+id\s*=\s*(\S.*?))?\s*")
SENT_ID = re.compile(r"#\s*sent_id\s*=?\s*(\S.*?)\s*")
COLUMNS = re.compile(r"#\s*global\.columns\s*=\s*(\S.*)")  # CoNLL-U Plus
# Marks between documents: the first is that of CoNLL-2003, the others of CoNLL-2012
MARKS = ("-DOCSTART-", "#begin document", "#end document")
BEGIN = re.compile(r"#begin document \((.*)\)(?:; part (\d+))?.*")
WORD_IN_2012 = 4  # the column

Line = tuple[int, str]


class _Comments(NamedTuple):
    """Content of the comments of a sentence."""

    id: str | None
    announce: bool  # whether they begin a sentence even if no word follows


def read_conllu(
    file: InputFile, reading: ReadOptions = PLAIN, report: OnError = raise_error
) -> Iterator[Sentence]:
    """Read the FORM column of CoNLL-U.

    Multiword tokens (`1-2`) and empty nodes (`1.1`) are not tokens. A form may contain blanks.
    `# sent_id` is the id of the sentence, `# newdoc id` the document of the sentences up to the
    next `# newdoc`.

    Args:
        file: The file.
        reading: Reader options.
        report: Called with the error of each bad line, which is left out.

    Yields:
        Sentences, whose keys are sentence numbers from 0.

    Raises:
        CorpusError: The file cannot be read, is not text, or contains a sentence without end.
    """
    name, form, number, document = display_name(file), 1, 0, None
    for lines in sentence_blocks(read_lines(file, reading.encoding_errors, report), name):
        comments = [line for _, line in lines if line[0] == "#"]
        for columns in filter(None, map(COLUMNS.fullmatch, comments)):
            form = _form_column(columns[1].split(), name)
        for begun in filter(None, map(NEWDOC.fullmatch, comments)):
            document = None if reading.ignore_ids else begun[1]
        said = _comments(comments, ignore_ids=reading.ignore_ids)
        words = [word for word in lines if word[1][0] != "#"]
        tokens = list(_forms(words, form, name, report))
        if words or said.announce:
            yield Sentence(str(number), tokens, " ".join(tokens), said.id, document=document)
            number += 1


def _comments(comments: list[str], *, ignore_ids: bool) -> _Comments:
    ids = [found[1] for found in map(SENT_ID.fullmatch, comments) if found]
    return _Comments(ids[0] if ids and not ignore_ids else None, announce=bool(ids))


def _form_column(columns: list[str], name: str) -> int:
    if "FORM" not in columns:
        raise CorpusError(f"{name}: its global.columns have no FORM: {' '.join(columns)}")
    return columns.index("FORM")


def _forms(words: Iterable[Line], column: int, name: str, report: OnError) -> Iterator[str]:
    for at, line in words:
        cells = line.split("\t", column + 1)
        if len(cells) > column and cells[column] and cells[0].isdecimal():
            yield cells[column]
        elif not NO_WORD.fullmatch(cells[0]):
            report(CorpusError(f"{name}:{at}: {_why_no_word(cells, column)}"))


def _why_no_word(cells: list[str], column: int) -> str:
    if len(cells) <= column:
        return (
            f"has {len(cells)} of CoNLL-U's columns; they are separated by tabs (for other files: "
            "--input-format conll)"
        )
    if not cells[0].isdecimal():
        return f"{cells[0][:40]!r} is not a word number, which the first column of CoNLL-U contains"
    return "the form is empty"


def read_conll(
    file: InputFile, reading: ReadOptions = PLAIN, report: OnError = raise_error
) -> Iterator[Sentence]:
    """Read one column of a column file.

    Columns are separated by tabs in a line that contains a tab, else by white space. Lines of
    `-DOCSTART-` and CoNLL-2012's `#begin document` and `#end document` are not tokens, and end a
    sentence; nothing else is a comment, since `#` is a token too. After
    `#begin document (NAME); part 000` the sentences belong to document `NAME_0`, and the default
    column is the fourth.

    Args:
        file: The file.
        reading: Reader options; `token_column` is the column.
        report: Called with the error of each bad line, which is left out.

    Yields:
        Sentences, whose keys are sentence numbers from 0.

    Raises:
        CorpusError: The file cannot be read, is not text, contains a sentence without end, or is
            clearly CoNLL-U.
    """
    name, number, document, column = display_name(file), 0, None, reading.token_column or 1
    lines = read_lines(file, reading.encoding_errors, report)
    if reading.detect and reading.format is None and reading.token_column is None:
        lines = refuse_markup(lines, name, ("conllu",), "conll")
    for is_mark, block in _sentences(lines, name):
        if is_mark:
            for begun in filter(None, (BEGIN.fullmatch(line) for _, line in block)):
                document = None if reading.ignore_ids else _document(begun)
                column = reading.token_column or WORD_IN_2012
            continue
        tokens = list(_cells(block, column, name, report))
        yield Sentence(str(number), tokens, " ".join(tokens), document=document)
        number += 1


def _sentences(lines: Iterable[Line], name: str) -> Iterator[tuple[bool, list[Line]]]:
    """Iterate over runs of lines.

    True goes with the marks between documents, False with a sentence.
    """
    for block in sentence_blocks(lines, name):
        for is_mark, run in groupby(block, lambda numbered: numbered[1].startswith(MARKS)):
            yield is_mark, list(run)


def _document(begun: re.Match[str]) -> str:
    """Return the name of the document, in the form of e2e-coref."""
    return begun[1] if begun[2] is None else f"{begun[1]}_{int(begun[2])}"


def _cells(lines: Iterable[Line], column: int, name: str, report: OnError) -> Iterator[str]:
    for at, line in lines:
        cells = line.split("\t", column) if "\t" in line else line.split(maxsplit=column)
        if len(cells) < column:
            fact = (
                f"has {len(cells)} column{'s' * (len(cells) != 1)}, fewer than --token-column "
                f"{column}"
            )
            report(CorpusError(f"{name}:{at}: {fact}"))
        elif not cells[column - 1].strip():
            report(CorpusError(f"{name}:{at}: column {column} is empty"))
        else:
            yield cells[column - 1]


def sentence_blocks(lines: Iterable[Line], name: str) -> Iterator[list[Line]]:
    """Iterate over runs of lines that are not blank.

    Args:
        lines: Line numbers and lines.
        name: The file, for messages.

    Raises:
        CorpusError: A run exceeds MAX_TOKENS lines or MAX_BLOCK characters.
    """
    block: list[Line] = []
    held = 0  # characters
    for at, line in lines:
        if line and not line.isspace():
            block.append((at, line))
            held += len(line)
            if len(block) > MAX_TOKENS or held > MAX_BLOCK:
                raise CorpusError(
                    f"{name}:{block[0][0]}: {len(block) - 1:,} lines follow without a blank line, "
                    "which has to end a sentence"
                )
        elif block:
            yield block
            block, held = [], 0
    if block:
        yield block

"""Column files with all their lines, annotated with predicted labels."""

import json
from collections.abc import Iterator, Sequence
from itertools import count

from elmo_cli.downstream.column_labels import CONLLU, LABEL_COLUMNS, PAIR_COLUMNS
from elmo_cli.errors import CorpusError
from elmo_cli.io.inputs import InputFile, display_name
from elmo_cli.readers.conll import (
    COLUMNS,
    MARKS,
    NO_WORD,
    SENT_ID,
    WORD_IN_2012,
    Line,
    sentence_blocks,
)
from elmo_cli.readers.lines import read_lines
from elmo_cli.readers.options import ReadOptions, raise_error
from elmo_cli.types import Sentence

COLUMN_FORMATS = ("conll", "conllu")
OWN_NAME = "Label"  # in MISC


def read_annotated(
    files: Sequence[tuple[InputFile, str]], reading: ReadOptions
) -> Iterator[Sentence]:
    """Iterate over the sentences of column files.

    `kept` has the lines, as JSON: a list of pairs (line, whether it is a token).

    A block without tokens, such as -DOCSTART-, is a sentence without tokens.

    Args:
        files: The files with their formats, of COLUMN_FORMATS.
        reading: Its choices of `token_column` and `encoding_errors` apply.

    Raises:
        CorpusError: A file cannot be read, or a line does not have the column.
    """
    numbers = count()
    for file, format_ in files:
        name, column = display_name(file), _first_column(format_, reading)
        for block in sentence_blocks(read_lines(file, reading.encoding_errors, raise_error), name):
            column = _column(block, format_, reading, column)
            lines = [(line, _is_word(line, format_)) for _, line in block]
            tokens = [
                _cell(line, column, f"{name}:{at}")
                for (at, line), (_, is_word) in zip(block, lines, strict=True)
                if is_word
            ]
            ids = [
                found[1]
                for found in (SENT_ID.fullmatch(line) for line, is_word in lines if not is_word)
                if found
            ]
            id_ = ids[0] if ids and format_ == "conllu" and not reading.ignore_ids else None
            yield Sentence(
                str(next(numbers)),
                tokens,
                " ".join(tokens),
                id_,
                (json.dumps(lines, ensure_ascii=False),),
            )


def annotate(
    sentence: Sentence, labels: Sequence[str], chances: Sequence[str], label: str, format_: str
) -> str:
    """Return the lines of a sentence with its labels and the blank line behind them.

    A column file gets the label as a further column. In CoNLL-U it replaces that of the column that
    the classifier was trained on, or is added to MISC.

    Args:
        sentence: One of `read_annotated`.
        labels: A label for each token.
        chances: A probability for each token, or nothing.
        label: The option --label of the classifier.
        format_: Of the file: "conll" or "conllu".
    """
    cells = [
        [one, *chance]
        for one, chance in zip(labels, [[c] for c in chances] or [[]] * len(labels), strict=True)
    ]
    rest = iter(cells)
    lines = []
    for line, is_word in json.loads(sentence.kept[0]):
        if not is_word:
            lines.append(line)
        elif format_ == "conllu":
            lines.append(_with_label(line, next(rest), label.lower(), label))
        else:
            between = "\t" if "\t" in line or len(line.split()) == 1 else " "
            lines.append(between.join([line.rstrip(), *next(rest)]))
    return "\n".join([*lines, "", ""])


def _with_label(line: str, values: Sequence[str], lowered: str, label: str) -> str:
    cells = line.split("\t")
    column, _, name = lowered.partition(":")
    if len(cells) < len(CONLLU):
        return "\t".join([*cells, *values])
    if lowered in LABEL_COLUMNS:
        cells[CONLLU.index(lowered)] = values[0]
    elif column in PAIR_COLUMNS and name:
        at = CONLLU.index(column)
        cells[at] = _with_pair(cells[at], label.partition(":")[2], values[0])
    else:
        cells[-1] = _with_pair(cells[-1], OWN_NAME, values[0])
    for chance in values[1:]:
        cells[-1] = _with_pair(cells[-1], "Probability", chance)
    return "\t".join(cells)


def _with_pair(cell: str, name: str, value: str) -> str:
    pairs = dict(pair.partition("=")[::2] for pair in cell.split("|")) if cell != "_" else {}
    if value == "_":
        pairs.pop(name, None)
    else:
        pairs[name] = value
    return (
        "|".join(
            f"{key}={one}" if one else key
            for key, one in sorted(pairs.items(), key=lambda pair: pair[0].lower())
        )
        or "_"
    )


def _first_column(format_: str, reading: ReadOptions) -> int:
    return CONLLU.index("form") if format_ == "conllu" else (reading.token_column or 1) - 1


def _column(block: Sequence[Line], format_: str, reading: ReadOptions, column: int) -> int:
    """Return the column of the tokens, starting at this block."""
    if format_ == "conllu":
        found = [
            match[1].lower().split()
            for match in (COLUMNS.fullmatch(line) for _, line in block)
            if match
        ]
        return found[-1].index("form") if found and "form" in found[-1] else column
    begins = any(line.startswith("#begin document") for _, line in block)
    return WORD_IN_2012 - 1 if begins and reading.token_column is None else column


def _is_word(line: str, format_: str) -> bool:
    if format_ == "conllu":
        return line[0] != "#" and not NO_WORD.fullmatch(line.partition("\t")[0])
    return not line.startswith(MARKS)


def _cell(line: str, column: int, place: str) -> str:
    cells = line.split("\t") if "\t" in line else line.split()
    if len(cells) <= column or not cells[column].strip():
        raise CorpusError(
            f"{place}: has no token in column {column + 1}; check --input-format and --token-column"
        )
    return cells[column]

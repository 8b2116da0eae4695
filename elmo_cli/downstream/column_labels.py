"""Token labels of column files: CoNLL-U and other files with one token per line."""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from elmo_cli.errors import CorpusError
from elmo_cli.io.inputs import InputFile, display_name
from elmo_cli.readers.conll import COLUMNS, MARKS, NO_WORD, WORD_IN_2012, Line, sentence_blocks
from elmo_cli.readers.lines import read_lines
from elmo_cli.readers.options import ReadOptions, raise_error

CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
LABEL_COLUMNS = ("upos", "xpos", "deprel")
PAIR_COLUMNS = ("feats", "misc")  # NAME=VALUE|NAME=VALUE
ABSENT = "_"  # the label of a token without the feature


def describe_labels(label: str) -> str:
    """Return the name of labels for messages: "column 2" for a number, else the name itself."""
    return f"column {label}" if label.isdecimal() else label


class ColumnSentence(NamedTuple):
    """The tokens of a sentence, their labels, and their lines from 1."""

    tokens: list[str]
    labels: list[str]
    lines: list[int]


def read_conllu_labels(
    file: InputFile, label: str, reading: ReadOptions
) -> Iterator[ColumnSentence]:
    """Iterate over the sentences of a CoNLL-U file; ranges of words and empty nodes are left out.

    Args:
        file: The file.
        label: upos, xpos, deprel, feats:NAME, misc:NAME, the number of a column from 1, or a column
            that `# global.columns` names. A token without the feature NAME has the label "_".
        reading: Its choice of `encoding_errors` applies.

    Raises:
        CorpusError: The file cannot be read, has no such labels, or one of them is empty.
    """
    name, columns = display_name(file), list(CONLLU)
    pairs: set[str] = set()
    column, _, wanted = label.partition(":")
    is_pair = column.lower() in PAIR_COLUMNS and bool(wanted)
    for lines in sentence_blocks(read_lines(file, reading.encoding_errors, raise_error), name):
        for found in filter(None, (COLUMNS.fullmatch(line) for _, line in lines if line[0] == "#")):
            columns = found[1].lower().split()
        at = (
            columns.index(column.lower())
            if is_pair and column.lower() in columns
            else _place_in_conllu(label, columns, name)
        )
        read = _pair_reader(wanted, pairs) if is_pair else _cell_label
        words = [
            word
            for word in lines
            if word[1][0] != "#" and not NO_WORD.fullmatch(word[1].partition("\t")[0])
        ]
        yield _sentence(
            words, columns.index("form"), at, read, name, split=lambda line: line.split("\t")
        )
    if is_pair and pairs and wanted not in pairs:
        raise CorpusError(
            f"{name}: no token has {wanted!r} among its {column}; there are "
            f"{', '.join(sorted(pairs)[:50])}"
        )


def read_conll_labels(
    file: InputFile, label: str, reading: ReadOptions
) -> Iterator[ColumnSentence]:
    """Iterate over the sentences of a column file.

    Tabs separate the columns of a line that has some, else white space.

    Args:
        file: The file.
        label: The number of the column of the labels, from 1.
        reading: Its choices of `token_column` and `encoding_errors` apply.

    Raises:
        CorpusError: The file cannot be read, has no such labels, or one of them is empty.
    """
    name = display_name(file)
    if not re.fullmatch(r"[1-9][0-9]{0,3}", label):
        raise CorpusError(
            f"{name}: has columns without names; choose one by its number, such as --label 2, not "
            f"{label!r}"
        )
    column = reading.token_column or 1
    for block in sentence_blocks(read_lines(file, reading.encoding_errors, raise_error), name):
        if reading.token_column is None and any(
            line.startswith("#begin document") for _, line in block
        ):
            column = WORD_IN_2012
        words = [word for word in block if not word[1].startswith(MARKS)]
        if words:
            yield _sentence(words, column - 1, int(label) - 1, _cell_label, name, split=_cells)


def _cells(line: str) -> list[str]:
    return line.split("\t") if "\t" in line else line.split()


def _sentence(
    words: list[Line],
    form: int,
    at: int,
    read: Callable[[str], str],
    name: str,
    *,
    split: Callable[[str], list[str]],
) -> ColumnSentence:
    sentence = ColumnSentence([], [], [])
    for number, line in words:
        cells = split(line)
        if len(cells) <= max(form, at):
            raise CorpusError(
                f"{name}:{number}: has {len(cells)} columns, and column {max(form, at) + 1} is "
                "wanted; check --label"
            )
        label = read(cells[at].strip())
        if not label:
            raise CorpusError(
                f"{name}:{number}: the label in column {at + 1} is empty; fill it in, or choose "
                "another --label"
            )
        sentence.tokens.append(cells[form])
        sentence.labels.append(label)
        sentence.lines.append(number)
    return sentence


def _cell_label(cell: str) -> str:
    return "" if cell == "_" else cell


def _pair_reader(wanted: str, names: set[str]) -> Callable[[str], str]:
    """Return the function from a cell of pairs to one value; it also collects the names."""

    def read(cell: str) -> str:
        pairs = dict(pair.partition("=")[::2] for pair in cell.split("|")) if cell != "_" else {}
        names.update(pairs)
        return pairs.get(wanted) or ABSENT

    return read


def _place_in_conllu(label: str, columns: list[str], name: str) -> int:
    if re.fullmatch(r"[1-9][0-9]{0,3}", label):
        return int(label) - 1
    choices = [column for column in columns if column in LABEL_COLUMNS or column not in CONLLU]
    if label.lower() in choices:
        return columns.index(label.lower())
    choices += [f"{column}:NAME" for column in PAIR_COLUMNS if column in columns]
    raise CorpusError(
        f"{name}: has no labels {label!r}; choose --label {', '.join(choices)}, or the number of a "
        "column"
    )

"""Labels of tokens and of sentences, aligned with the sentences of a feature file.

They come from column files, tables and kept columns.

A list of values labels the tokens of a sentence, a single value labels the sentence.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

from elmo_cli.downstream.column_labels import ColumnSentence, read_conll_labels, read_conllu_labels
from elmo_cli.errors import CorpusError
from elmo_cli.features.formats import FORMATS
from elmo_cli.features.reader import Features
from elmo_cli.io.inputs import InputFile, display_name, expand_input
from elmo_cli.readers import READERS, find_formats
from elmo_cli.readers.columns import find_column
from elmo_cli.readers.delimited import ADVICE_ON_COLUMNS
from elmo_cli.readers.jsonl import load_record
from elmo_cli.readers.lines import read_lines
from elmo_cli.readers.options import PLAIN, ReadOptions, raise_error
from elmo_cli.readers.table_names import COLUMN_NAMES
from elmo_cli.types import Array, Sentence

COLUMN_FILES = {"conllu": read_conllu_labels, "conll": read_conll_labels}
TABLES = (*COLUMN_NAMES, "jsonl")


class LabelledSentence(NamedTuple):
    """A sentence with its labels."""

    tokens: list[str]
    labels: list[str] | str  # of the tokens, or of the sentence
    file: str
    lines: Sequence[int] = ()  # in a column file: the line of each token, from 1
    row: int = 0  # in a table: the row of the sentence, from 1

    @property
    def of_tokens(self) -> bool:
        """Return whether the tokens have labels, not the sentence."""
        return isinstance(self.labels, list)

    def place(self, token: int = 0) -> str:
        """Return where a token stands, for messages: "dev.conllu:17", or "train.parquet: row 3"."""
        return f"{self.file}:{self.lines[token]}" if self.lines else f"{self.file}: row {self.row}"


class AlignedWindow(NamedTuple):
    """Sentences of a feature file that were read together, without blank ones."""

    # Index in the feature file of the first sentence read, and the number of all that were read
    first: int
    n_read: int
    indices: list[int]  # of those that have tokens
    sentences: list[Sentence]
    arrays: list[Array]
    labelled: list[LabelledSentence]


def read_labels(
    source: str, label: str, reading: ReadOptions = PLAIN
) -> Iterator[LabelledSentence]:
    """Iterate over the labelled sentences of a corpus.

    Args:
        source: A file, folder or pattern, as `elmo embed` takes them.
        label: upos, xpos, deprel, feats:NAME or misc:NAME of CoNLL-U, the number of a column (from
            1) of a column file, or the name of a column of a table or of a field of JSON Lines.
        reading: How the tokens are read.

    Raises:
        CorpusError: The source cannot be read, has no such labels, or one of them is empty.
    """
    of_tokens = None
    for file, format_ in find_formats(expand_input(source), reading.format):
        for labelled in _read_file(file, format_, label, reading):
            of_tokens = labelled.of_tokens if of_tokens is None else of_tokens
            if labelled.of_tokens != of_tokens:
                kinds = ("one label", "a list of labels")
                raise CorpusError(
                    f"{labelled.place()}: has {kinds[labelled.of_tokens]}, and the rows before "
                    f"{kinds[of_tokens]}; "
                    "label either tokens or sentences"
                )
            yield labelled


def kept_labels(features: Features, label: str) -> Callable[[Sentence], LabelledSentence]:
    """Return the function from a sentence of a feature file to its labels in a kept column.

    Raises:
        CorpusError: There is no such column; and from the function, for an empty label.
    """
    names = features.description.kept.names if features.description.kept is not None else []
    if label not in names:
        there = f"its kept columns: {', '.join(names)}" if names else "it has no kept columns"
        raise CorpusError(
            f"{features.path}: has no kept column {label!r}; {there}; embed with --keep {label}, "
            "or name a file of LABELS"
        )
    place, file = names.index(label), str(features.path)
    return lambda sentence: _from_value(
        sentence.tokens, sentence.kept[place], file, int(sentence.key) + 1
    )


def labels_of_features(features: Features, label: str) -> Iterator[LabelledSentence]:
    """Iterate over the sentences of a feature file with the labels of a kept column.

    The vectors are read too.

    Raises:
        CorpusError: There is no such column, or a label is empty.
    """
    if corpus_format := FORMATS[features.layout].corpus_format:
        return read_labels(str(features.path), label, ReadOptions(format=corpus_format))
    labelled = kept_labels(features, label)
    return (labelled(sentence) for sentences, _ in features.windows() for sentence in sentences)


def align(
    features: Features, labelled: Iterable[LabelledSentence], name: str
) -> Iterator[AlignedWindow]:
    """Iterate over the windows of a feature file together with the labels of its sentences.

    Args:
        features: The feature file.
        labelled: Its sentences with labels, in the same order.
        name: Name of the labels in messages.

    Raises:
        CorpusError: The two have different numbers of sentences or different tokens.
    """
    rest = (sentence for sentence in labelled if sentence.tokens)
    first, done = 0, 0
    for sentences, arrays in features.windows():
        window = AlignedWindow(first, len(sentences), [], [], [], [])
        for index, (sentence, array) in enumerate(zip(sentences, arrays, strict=True), start=first):
            if _is_blank(sentence, array, pooled=features.description.pooled):
                continue
            found = next(rest, None)
            if found is None:
                raise _other_number(features, done, name)
            _check_tokens(features, sentence, array, found)
            window.indices.append(index)
            window.sentences.append(sentence)
            window.arrays.append(array)
            window.labelled.append(found)
            done += 1
        first += len(sentences)
        yield window
    if (extra := next(rest, None)) is not None:
        raise _other_number(features, done + sum(1 for _ in chain([extra], rest)), name)


def _other_number(features: Features, n_labelled: int, name: str) -> CorpusError:
    return CorpusError(
        f"{name}: has labels of {n_labelled:,} sentences, and {features.path} has "
        f"{len(features):,} sentences; "
        "name the labels of the corpus that was embedded"
    )


def _is_blank(sentence: Sentence, array: Array, *, pooled: bool) -> bool:
    """Return whether a sentence has no tokens; pooled, it is zeros and tokens may be unknown."""
    return array.shape[-2] == 0 if not pooled else not sentence.tokens and not array.any()


def _check_tokens(
    features: Features, sentence: Sentence, array: Array, labelled: LabelledSentence
) -> None:
    ours, theirs = sentence.tokens, labelled.tokens
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a and a != b), None)
    remedy = "name the labels of the corpus that was embedded"
    if at is not None:
        raise CorpusError(
            f"{labelled.place(at)}: token {at + 1} of the sentence is {theirs[at][:60]!r}, and "
            f"{ours[at][:60]!r} in "
            f"{features.path} (its sentence {int(sentence.key) + 1}); {remedy}"
        )
    count = len(ours) if features.description.pooled else array.shape[-2]
    if count != len(theirs) and (ours or not features.description.pooled):
        raise CorpusError(
            f"{labelled.place()}: the sentence has {len(theirs)} tokens, and {count} in "
            f"{features.path} "
            f"(its sentence {int(sentence.key) + 1}); {remedy}"
        )


def _read_file(
    file: InputFile, format_: str, label: str, reading: ReadOptions
) -> Iterator[LabelledSentence]:
    if format_ in COLUMN_FILES:
        found: Iterator[ColumnSentence] = COLUMN_FILES[format_](file, label, reading)
        return (
            LabelledSentence(tokens, labels, display_name(file), lines)
            for tokens, labels, lines in found
        )
    if format_ not in TABLES:
        raise CorpusError(
            f"{display_name(file)}: is read as {format_}, which has no labels; pass --input-format "
            f"{'|'.join((*COLUMN_FILES, *TABLES))}, or name a file of labels"
        )
    if format_ in COLUMN_NAMES:
        advice = ADVICE_ON_COLUMNS if format_ in ("csv", "tsv") else ""
        find_column(
            label, COLUMN_NAMES[format_](file, reading), "--label", display_name(file), advice
        )
    if "field" in READERS[format_].takes:  # JSON objects
        _check_field(file, label, reading)
    given = ReadOptions(**{**vars(reading), "keep": (label,), "id_column": None, "id_field": None})
    sentences = READERS[format_].read(file, given, raise_error)
    name = display_name(file)
    return (
        _from_value(s.tokens, s.kept[0], name, s.row or int(s.key) + 1)
        for s in sentences
        if s.tokens
    )


def _check_field(file: InputFile, label: str, reading: ReadOptions) -> None:
    """Check that the first object of a JSON Lines file has the field of the labels."""
    name = display_name(file)
    for number, line in read_lines(file, reading.encoding_errors, raise_error):
        if line.strip():
            record = load_record(line, f"{name}:{number}")
            if label not in record:
                fields = ", ".join(list(record)[:20]) or "none"
                raise CorpusError(
                    f"{name}:{number}: has no field {label!r}; its fields: {fields}; choose one by "
                    "--label"
                )
            return


def _from_value(tokens: list[str], value: Any, file: str, row: int) -> LabelledSentence:  # noqa: ANN401  # a cell
    place = f"{file}: row {row}"
    if not isinstance(value, list | tuple):
        return LabelledSentence(tokens, _as_label(value, place), file, row=row)
    labels = [_as_label(one, f"{place}: token {i}") for i, one in enumerate(value, start=1)]
    if len(labels) != len(tokens) and any(tokens):
        raise CorpusError(
            f"{place}: has {len(labels)} labels for {len(tokens)} tokens; give each token one"
        )
    return LabelledSentence(tokens, labels, file, row=row)


def _as_label(value: Any, place: str) -> str:  # noqa: ANN401  # a cell
    if value is None or (isinstance(value, str) and not value.strip()):
        raise CorpusError(f"{place}: its label is empty; fill it in, or leave the sentence out")
    if isinstance(value, float) and not value.is_integer():
        raise CorpusError(
            f"{place}: its label is the number {value:g}; a label must be a string or an integer"
        )
    if not isinstance(value, str | int | float):
        raise CorpusError(
            f"{place}: its label is of type {type(value).__name__}; a label must be a string or an "
            "integer"
        )
    return (
        value if isinstance(value, str) else str(int(value) if isinstance(value, float) else value)
    )

"""Labelled examples of a classifier: reading, checks, training and held-out part."""

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from elmo_cli.downstream.labels import TABLES, read_labels
from elmo_cli.downstream.tag_schemes import convert_tags, detect_scheme, find_invalid, spell_iobes
from elmo_cli.errors import CorpusError
from elmo_cli.io.inputs import InputFile, display_name, expand_input
from elmo_cli.readers import READERS, find_formats
from elmo_cli.readers.columns import find_column
from elmo_cli.readers.delimited import ADVICE_ON_COLUMNS
from elmo_cli.readers.options import ReadOptions, raise_error
from elmo_cli.readers.table_names import COLUMN_NAMES

TAGS, TOKENS, SENTENCES, LABEL_SETS, NUMBERS = TASKS = (
    "tags",
    "tokens",
    "sentences",
    "label sets",
    "numbers",
)
OF_TOKENS = (TAGS, TOKENS)
BETWEEN_LABELS = "|"  # of a set of labels in a cell of text
LEAST_SENTENCES = 2
LEAST_ROWS_OF_IDS = 10  # from this number of rows, distinct labels are taken for ids
HELD_OUT_SHARE = 10  # a tenth
LARGEST_NUMBER = 1e37  # of float32, with a margin
SHOWN = 60  # characters of a label in a message
FAULTS = {"I": "continues", "E": "ends", "B": "in IOB1 follows"}


class Example(NamedTuple):
    """A sentence with its target: labels of its tokens, a label, a set of labels, or a number."""

    tokens: list[str]
    target: Any  # list[str], str, tuple[str, ...] or float
    file: str
    lines: Sequence[int] = ()
    row: int = 0

    def place(self, token: int = 0) -> str:
        """Return where a token is, for messages."""
        return f"{self.file}:{self.lines[token]}" if self.lines else f"{self.file}: row {self.row}"


def read_examples(
    source: str, label: str, reading: ReadOptions, task: str | None = None
) -> list[Example]:
    """Return the labelled sentences of a corpus that have tokens.

    Args:
        source: A file, folder or pattern.
        label: What `read_labels` takes; for LABEL_SETS and NUMBERS a column of a table or a field
            of JSON Lines.
        reading: How the tokens are read.
        task: LABEL_SETS or NUMBERS; None: labels of tokens or of sentences.

    Raises:
        CorpusError: The corpus cannot be read, or does not have such labels.
    """
    if task in (LABEL_SETS, NUMBERS):
        examples = list(_read_values(source, label, reading, task))
    else:
        examples = [
            Example(one.tokens, one.labels, one.file, one.lines, one.row)
            for one in read_labels(source, label, reading)
        ]
    if not examples:
        raise CorpusError(
            f"{source}: does not contain labelled sentences; check the file and --input-format"
        )
    return examples


def find_task(examples: Sequence[Example]) -> str:
    """Return TAGS, TOKENS or SENTENCES, by the labels."""
    if isinstance(examples[0].target, str):
        return SENTENCES
    return TAGS if detect_scheme([example.target for example in examples]) else TOKENS


def check_training(examples: Sequence[Example], task: str, name: str) -> None:
    """Check that a classifier can be trained.

    Raises:
        CorpusError: There are too few sentences, one label only, or as many labels as sentences.
    """
    if len(examples) < LEAST_SENTENCES:
        raise CorpusError(
            f"{name}: has {len(examples)} labelled sentence; a classifier needs {LEAST_SENTENCES} "
            "or more"
        )
    counts = count_labels(examples, task)
    if task == NUMBERS:
        if len({example.target for example in examples}) == 1:
            raise CorpusError(
                f"{name}: every number is {examples[0].target:g}; a regression needs two different "
                "ones"
            )
        return
    if len(counts) == 1 and task != LABEL_SETS:
        raise CorpusError(
            f"{name}: every label is {next(iter(counts))[:SHOWN]!r}; a classifier needs two "
            "different ones"
        )
    if not counts:
        raise CorpusError(f"{name}: every set of labels is empty; check --label")
    if task == SENTENCES and len(counts) == len(examples) >= LEAST_ROWS_OF_IDS:
        shown = ", ".join(list(counts)[:3])
        raise CorpusError(
            f"{name}: each of its {len(examples):,} rows has a different label ({shown[:SHOWN]}, "
            "...), as ids do; check --label"
        )


def count_labels(examples: Sequence[Example], task: str) -> Counter[str]:
    """Return how often each label occurs; numbers have none."""
    if task == NUMBERS:
        return Counter()
    if task == SENTENCES:
        return Counter(example.target for example in examples)
    return Counter(label for example in examples for label in example.target)


def normalise_tags(
    examples: Sequence[Example], source: str, target: str, *, repair: bool
) -> list[Example]:
    """Return examples whose tags are in another scheme.

    Args:
        examples: Their targets are tags.
        source: The scheme that they are in.
        target: The scheme to convert them to.
        repair: Whether an I-X that does not continue a span is taken as B-X; otherwise it is an
            error.

    Raises:
        CorpusError: Tags are not of the scheme.
    """
    found = []
    for example in examples:
        tags = [spell_iobes(tag) for tag in example.target] if source == "iobes" else example.target
        if not repair and (wrong := find_invalid(tags, source)) is not None:
            raise CorpusError(
                f"{example.place(wrong)}: {_fault(tags, wrong, source)}; correct it, or pass "
                "--repair"
            )
        found.append(example._replace(target=convert_tags(tags, target)))
    return found


def split_examples(
    examples: Sequence[Example], task: str, seed: int
) -> tuple[list[int], list[int]]:
    """Return the indices of the training part and of the held-out tenth.

    The order is by a hash of the tokens, so that equal sentences are in the same part. A sentence
    whose labels would be missing from the training part stays in it.

    Args:
        examples: One or more.
        task: One of TASKS.
        seed: Seed of the hash.
    """
    hashes = [
        zlib.crc32("\0".join(example.tokens).encode("utf-8", "replace"), seed)
        for example in examples
    ]
    limit = sorted(hashes)[max(0, -(-len(examples) // HELD_OUT_SHARE) - 1)]
    left = count_labels(examples, task)
    train: list[int] = []
    held_out: list[int] = []
    for index, example in enumerate(examples):
        own = count_labels([example], task)
        if (
            hashes[index] <= limit
            and all(left[label] > number for label, number in own.items())
            and len(held_out) < len(examples) - 1
        ):
            left -= own
            held_out.append(index)
        else:
            train.append(index)
    return train, held_out


def _fault(tags: Sequence[str], index: int, scheme: str) -> str:
    tag = tags[index]
    letter, type_ = tag[0], tag[2:]
    before = tags[index - 1] if index else None
    if scheme == "iobes" and (
        letter not in ("I", "E") or (before and before[0] in ("B", "I") and before[2:] != type_)
    ):
        return (
            f"the tag before or at {tag[:SHOWN]!r} leaves a span open, which IOBES ends with "
            f"E-{(before or tag)[2:][:SHOWN]}"
        )
    return f"the tag {tag[:SHOWN]!r} {FAULTS.get(letter, 'follows')} no span of {type_[:SHOWN]}"


def _read_values(source: str, label: str, reading: ReadOptions, task: str) -> Iterator[Example]:
    """Iterate over sentences with sets of labels, or with numbers."""
    for file, format_ in find_formats(expand_input(source), reading.format):
        name = display_name(file)
        if format_ not in TABLES:
            raise CorpusError(
                f"{name}: is read as {format_}; sets of labels and numbers are in "
                f"{', '.join(TABLES)}"
            )
        _check_column(file, format_, label, reading)
        given = ReadOptions(
            **{**vars(reading), "keep": (label,), "id_column": None, "id_field": None}
        )
        for sentence in READERS[format_].read(file, given, raise_error):
            row = sentence.row or int(sentence.key) + 1
            if sentence.tokens:
                value = _VALUES[task](sentence.kept[0], f"{name}: row {row}")
                yield Example(sentence.tokens, value, name, row=row)


def _check_column(file: InputFile, format_: str, label: str, reading: ReadOptions) -> None:
    if format_ in COLUMN_NAMES:
        advice = ADVICE_ON_COLUMNS if format_ in ("csv", "tsv") else ""
        find_column(
            label, COLUMN_NAMES[format_](file, reading), "--label", display_name(file), advice
        )


def _label_set(value: Any, place: str) -> tuple[str, ...]:  # noqa: ANN401  # a cell
    if isinstance(value, str):
        value = [part.strip() for part in value.split(BETWEEN_LABELS) if part.strip()]
    if not isinstance(value, list | tuple):
        raise CorpusError(
            f"{place}: its labels are {str(value)[:SHOWN]!r}; give a list, or a text with "
            f"{BETWEEN_LABELS} between labels"
        )
    if any(not isinstance(one, str | int) or one == "" for one in value):
        raise CorpusError(
            f"{place}: one of its labels is empty, or neither a string nor an integer; correct it"
        )
    return tuple(sorted({str(one) for one in value}))


def _number(value: Any, place: str) -> float:  # noqa: ANN401  # a cell
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if isinstance(value, bool) or not abs(number) < LARGEST_NUMBER:
        fact = (
            f"its label is {str(value)[:SHOWN]!r}, which is not a number below {LARGEST_NUMBER:g}"
        )
        raise CorpusError(f"{place}: {fact}; correct it (--regression needs numbers)")
    return number


_VALUES = {LABEL_SETS: _label_set, NUMBERS: _number}

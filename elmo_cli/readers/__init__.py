"""Corpus readers, one module for each file format.

A reader is a function from a file to an iterator of sentences. To add a format, write such a
function and add it to READERS.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import PurePath
from typing import TYPE_CHECKING

from elmo_cli.errors import CorpusError
from elmo_cli.io.compression import OPENERS
from elmo_cli.io.inputs import STDIN, Input, InputFile
from elmo_cli.readers.arrow import kept_in_arrow, read_arrow
from elmo_cli.readers.conll import read_conll, read_conllu
from elmo_cli.readers.delimited import kept_texts, read_csv, read_tsv
from elmo_cli.readers.fasta import read_fasta
from elmo_cli.readers.jsonl import kept_in_jsonl, read_jsonl
from elmo_cli.readers.options import PLAIN, OnError, ReadOptions
from elmo_cli.readers.parquet import kept_in_parquet, read_parquet
from elmo_cli.readers.text import read_text
from elmo_cli.types import Sentence

if TYPE_CHECKING:
    import pyarrow


def keeps_nothing(file: InputFile, reading: ReadOptions) -> "pyarrow.Schema":  # noqa: ARG001  # as of every format
    """Refuse `--keep` for a format without columns.

    Raises:
        CorpusError: Always.
    """
    raise CorpusError(
        f"{file}: --keep takes columns of "
        f"{', '.join(name for name, reader in READERS.items() if 'keep' in reader.takes)}"
    )


@dataclass(frozen=True)
class CorpusFormat:
    """Description of a corpus format.

    Args:
        read: Reader of a file; it passes the error of a bad line to its last argument and
            continues.
        suffixes: File name suffixes of the format, in lower case.
        takes: Fields of `ReadOptions` that the format uses.
        unit: Noun for a sentence of the format in messages.
        kept: Function that returns the schema of the columns to keep.
        is_sandboxed: Whether a damaged or hostile file can end the process or take any amount of
            memory, so that files are scanned in a child process.
    """

    read: Callable[[InputFile, ReadOptions, OnError], Iterator[Sentence]]
    suffixes: tuple[str, ...]
    takes: frozenset[str]
    unit: str = "line"
    kept: Callable[[InputFile, ReadOptions], "pyarrow.Schema"] = keeps_nothing
    is_sandboxed: bool = False


_TEXT = frozenset({"encoding_errors"})
_SPLIT = _TEXT | {"separator"}
_TABLE = _SPLIT | {"column", "id_column", "keep"}
_OBJECTS = _SPLIT | {"field", "id_field", "documents", "keep"}
_CONLL = (
    ".conll",
    ".iob",
    ".iob2",
    ".bio",
    ".v4_gold_conll",
    ".v4_auto_conll",
    ".gold_conll",
    ".auto_conll",
)
_FASTA = (".fasta", ".fa", ".faa", ".fas", ".fna", ".ffn", ".pep")

READERS = {
    "text": CorpusFormat(read_text, (".txt", ".text", ".tok", ""), _SPLIT),
    "parquet": CorpusFormat(
        read_parquet, (".parquet", ".pq"), _TABLE, "row", kept_in_parquet, is_sandboxed=True
    ),
    "arrow": CorpusFormat(
        read_arrow,
        (".arrow", ".feather", ".ipc", ".arrows"),
        _TABLE,
        "row",
        kept_in_arrow,
        is_sandboxed=True,
    ),
    "jsonl": CorpusFormat(
        read_jsonl, (".jsonl", ".ndjson", ".jsonlines"), _OBJECTS, kept=kept_in_jsonl
    ),
    "csv": CorpusFormat(read_csv, (".csv",), _TABLE, "row", kept_texts),
    "tsv": CorpusFormat(read_tsv, (".tsv",), _TABLE, "row", kept_texts),
    "conllu": CorpusFormat(
        read_conllu, (".conllu", ".conllup", ".conllx"), _TEXT | {"ignore_ids"}, "sentence"
    ),
    "conll": CorpusFormat(read_conll, _CONLL, _TEXT | {"token_column", "ignore_ids"}, "sentence"),
    "fasta": CorpusFormat(
        read_fasta, _FASTA, _TEXT | {"ignore_ids", "id_field", "keep_case"}, "sequence"
    ),
}
FORMATS_BY_SUFFIX = {suffix: name for name, reader in READERS.items() for suffix in reader.suffixes}
# Suffixes of files that are not text. A file of any other unknown suffix is read as text, as it is
# by `allennlp elmo`
NO_CORPUS = {
    *(
        ".h5",
        ".hdf5",
        ".npz",
        ".npy",
        ".pt",
        ".pkl",
        ".pickle",
        ".bin",
        ".avro",
        ".orc",
        ".sqlite",
        ".db",
        ".lmdb",
    ),
    *(".zip", ".tar", ".tgz", ".7z", ".rar", ".lz4", ".sz", ".snappy", ".br", ".z"),
    *(".json", ".xml", ".html", ".htm", ".pdf", ".doc", ".docx", ".odt", ".rtf", ".xls", ".xlsx"),
}


def find_formats(named: Input, chosen: str | None) -> Iterator[tuple[InputFile, str]]:
    """Iterate over the files of an input and their formats.

    Args:
        named: The input.
        chosen: Format of all files; None to find it by the suffix of each file.

    Yields:
        A file and the name of its format.

    Raises:
        CorpusError: A suffix is not one of a supported format, or a folder contains files of
            several formats.
    """
    if chosen:
        yield from ((file, chosen) for file in named.files)
        return
    found = {file: _format_by_suffix(file) for file in named.files}
    if named.is_folder and len(set(found.values())) > 1:
        examples = ", ".join(
            f"{file.name} ({name})"
            for name, file in {name: file for file, name in found.items()}.items()
        )
        raise CorpusError(
            f"{named.name}: contains files of several formats: {examples}; name the files or a "
            "pattern, or pass --input-format"
        )
    yield from found.items()


def unused_options(reading: ReadOptions, formats: set[str]) -> Iterator[tuple[str, list[str]]]:
    """Iterate over the options that were given but that none of the formats uses.

    Args:
        reading: The options.
        formats: Names of formats.

    Yields:
        The option, such as "--id-column", and the names of the formats that use it.
    """
    for option in fields(ReadOptions):
        takers = [name for name, reader in READERS.items() if option.name in reader.takes]
        if (
            takers
            and getattr(reading, option.name) != getattr(PLAIN, option.name)
            and formats.isdisjoint(takers)
        ):
            yield f"--{option.name.replace('_', '-')}", takers


def _format_by_suffix(file: InputFile) -> str:
    if file == STDIN:
        return "text"
    name = PurePath(file.name)
    suffix = (name.with_suffix("") if name.suffix.lower() in OPENERS else name).suffix.lower()
    if suffix in NO_CORPUS:
        raise CorpusError(
            f"{file}: the suffix {suffix} is not one of a supported format; to read it as one, "
            f"pass --input-format {'|'.join(READERS)}"
        )
    return FORMATS_BY_SUFFIX.get(suffix, "text")

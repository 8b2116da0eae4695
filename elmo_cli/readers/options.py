"""Reader options and error callbacks, shared by all corpus formats."""

from collections.abc import Callable
from dataclasses import dataclass

from elmo_cli.errors import CorpusError, UsageError

# Takes the error of one line or row; the reader continues if it returns
OnError = Callable[[CorpusError], None]


def raise_error(problem: CorpusError) -> None:
    """Raise the error, so that reading ends at the first one.

    Raises:
        CorpusError: Always.
    """
    raise problem


@dataclass(frozen=True)
class ReadOptions:
    """Options of all corpus formats; each format uses some of them (`CorpusFormat.takes`).

    Args:
        format: Format of all files; None to find it by the suffix of each file.
        separator: Name of the token separator, one of SEPARATORS.
        encoding_errors: "strict", or "replace" to decode bytes that are not UTF-8 as U+FFFD.
        column: Columns of a table that contain sentences; with several, each row has several.
        id_column: Column of a table that contains the sentence ids.
        keep: Columns or fields that are copied to the output.
        field: Fields of a JSON object that contain sentences; with several, each line has several.
        id_field: Field of the sentence id: of a JSON object by name, of the first word of a FASTA
            header by number, from 1.
        documents: Whether a list of texts in a JSON object is a list of sentences, not of tokens.
        token_column: Column of a column file, from 1; None for the first, in CoNLL-2012 the fourth.
        ignore_ids: Whether to ignore the ids that a format records.
        keep_case: Whether to keep lower-case residues.
        detect: Whether to refuse text that is clearly another format, unless `format` is given.

    Raises:
        UsageError: An option names a column or field twice.
    """

    format: str | None = None
    separator: str = "whitespace"
    encoding_errors: str = "strict"
    column: tuple[str, ...] = ("tokens",)
    id_column: str | None = None
    keep: tuple[str, ...] = ()
    field: tuple[str, ...] = ("tokens",)
    id_field: str | None = None
    documents: bool = False
    token_column: int | None = None
    ignore_ids: bool = False
    keep_case: bool = False
    detect: bool = True

    def __post_init__(self) -> None:
        for option in ("column", "field", "keep"):
            names = getattr(self, option)
            if len(set(names)) < len(names):
                repeated = next(name for name in names if names.count(name) > 1)
                raise UsageError(f"--{option} names {repeated} twice; name it once.")

    def of_text(self) -> "ReadOptions":
        """Return the options that apply to any other text, whatever its format."""
        return ReadOptions(
            separator=self.separator, encoding_errors=self.encoding_errors, detect=False
        )


def parts_of(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the id suffixes of the sentences of a row, given their columns or fields.

    ("",) for one sentence.
    """
    return names if len(names) > 1 else ("",)


PLAIN = ReadOptions()

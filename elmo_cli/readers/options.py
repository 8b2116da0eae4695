"""Reader options and error callbacks, shared by all corpus formats."""

from collections.abc import Callable
from dataclasses import dataclass

from elmo_cli.errors import CorpusError, UsageError

OnError = Callable[[CorpusError], None]  # takes the error of one line or row; the reader continues if it returns


def raise_error(problem: CorpusError) -> None:
    """Raise the error, so that reading ends at the first one.

    Raises:
        CorpusError: Always.
    """
    raise problem


@dataclass(frozen=True)
class ReadOptions:
    """The choices of a user; the defaults are what a format does unasked."""

    format: str | None = None  # by the file's suffix
    separator: str = "whitespace"  # what parts tokens: see SEPARATORS
    encoding_errors: str = "strict"  # or "replace", with U+FFFD
    column: tuple[str, ...] = ("tokens",)  # of a table: holds the sentences; of several, each holds one of a row's
    id_column: str | None = None  # holds their own names
    keep: tuple[str, ...] = ()  # columns that are carried over
    field: tuple[str, ...] = ("tokens",)  # of a JSON object: holds the sentence; of several, each holds one of a line's
    id_field: str | None = None  # of a JSON object, by name; of a FASTA header's first word, by number, from 1
    documents: bool = False  # a list of texts in a JSON object is one of sentences, not of tokens
    token_column: int | None = None  # of a column file, from 1; None: the first, and in CoNLL-2012 the fourth
    ignore_ids: bool = False  # take no names from formats that have some
    keep_case: bool = False  # leave residues in lower case
    detect: bool = True  # refuse a text that is clearly another format, unless `format` is given

    def __post_init__(self) -> None:
        for option in ("column", "field", "keep"):
            names = getattr(self, option)
            if len(set(names)) < len(names):
                repeated = next(name for name in names if names.count(name) > 1)
                raise UsageError(f"--{option} names {repeated} twice; name it once.")

    def of_text(self) -> "ReadOptions":
        """What of it holds for another text, whatever its format."""
        return ReadOptions(separator=self.separator, encoding_errors=self.encoding_errors, detect=False)


def parts_of(names: tuple[str, ...]) -> tuple[str, ...]:
    """The ends of the ids of a row's sentences, given the columns or fields that hold them: none where it holds one sentence."""
    return names if len(names) > 1 else ("",)


PLAIN = ReadOptions()

"""How a corpus is to be read: one value for all formats, each of which takes some of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ReadOptions:
    """The choices of a user; the defaults are what a format does unasked."""

    format: str | None = None  # by the file's suffix
    separator: str = "whitespace"  # what parts tokens: see SEPARATORS
    encoding_errors: str = "strict"  # or "replace", with U+FFFD
    column: str = "tokens"  # of a table: holds the sentences
    id_column: str | None = None  # holds their own names
    keep: tuple[str, ...] = ()  # columns that are carried over
    field: str = "tokens"  # of a JSON object: holds the sentence
    id_field: str | None = None
    token_column: int = 1  # of a column file, from 1
    ignore_ids: bool = False  # take no names from formats that have some

    def of_text(self) -> "ReadOptions":
        """What of it holds for another text, whatever its format."""
        return ReadOptions(separator=self.separator, encoding_errors=self.encoding_errors)


PLAIN = ReadOptions()

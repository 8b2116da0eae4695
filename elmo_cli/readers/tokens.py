"""Conversion of input values to sentences: texts are split, lists of tokens are checked."""

from typing import Any

from elmo_cli.errors import CorpusError
from elmo_cli.types import Sentence

SEPARATORS = {"whitespace": None, "tab": "\t", "space": " "}
MAX_TOKENS = 1 << 20  # of a sentence: with more, its end was probably missed
KINDS = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    dict: "an object",
    list: "a list",
    bytes: "binary",
}


def split_text(number: int, text: str, between: str | None) -> Sentence:
    """Return a text as a sentence.

    Args:
        number: Number of the sentence, which becomes its key.
        text: The text.
        between: The character that separates tokens; None for white space.
    """
    if between is None:
        return Sentence(str(number), text.split(), text.strip())
    return Sentence(
        str(number), [token for token in text.split(between) if token], text.strip(between)
    )


def parse_sentence(number: int, value: Any, between: str | None, place: str) -> Sentence:  # noqa: ANN401  # any value of the input
    """Return a text, which is split, or a list of tokens as a sentence.

    Args:
        number: Number of the sentence, which becomes its key.
        value: The text or list.
        between: The character that separates tokens; None for white space.
        place: Location of the value, for messages.

    Raises:
        CorpusError: The value is of another type, or a token is empty or not a string.
    """
    if isinstance(value, str):
        return split_text(number, value, between)
    if not isinstance(value, list):
        raise CorpusError(f"{place} is {_kind(value)}; it has to be a text or a list of tokens")
    if "" in value or set(map(type, value)) - {str}:
        raise CorpusError(f"{place}: {_bad_token(value)}")
    return Sentence(str(number), value, " ".join(value))


def parse_id(value: Any, place: str) -> str:  # noqa: ANN401  # any value of the input
    """Return a text or an integer as the id of a sentence.

    Args:
        value: The text or integer.
        place: Location of the value, for messages.

    Raises:
        CorpusError: The value is empty or of another type.
    """
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise CorpusError(
            f"{place} is {'empty' if value == '' else _kind(value)}; the id of a sentence has to "
            "be a text or an integer"
        )
    return str(value)


def _bad_token(tokens: list[Any]) -> str:
    number, token = next(
        (number, token)
        for number, token in enumerate(tokens, start=1)
        if not isinstance(token, str) or not token
    )
    return (
        f"token {number} is {_kind(token)}; every token has to be a text of at least one character"
    )


def _kind(value: Any) -> str:  # noqa: ANN401  # anything
    if value == "":
        return "an empty text"
    kind = KINDS.get(type(value), f"of type {type(value).__name__}")
    return f"{kind} ({value!r})" if kind == "a number" and len(repr(value)) < 20 else kind

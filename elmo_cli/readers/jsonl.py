"""JSON Lines: one object a line, a field of which holds the tokens as a list, or a text; or one list of tokens a line."""

import json
from collections.abc import Iterator
from typing import Any

from elmo_cli.errors import CorpusError
from elmo_cli.io.inputs import InputFile, display_name
from elmo_cli.readers.lines import read_lines
from elmo_cli.readers.options import PLAIN, ReadOptions
from elmo_cli.readers.problems import OnError, raise_error
from elmo_cli.readers.tokens import SEPARATORS, parse_id, parse_sentence, split_text
from elmo_cli.types import Sentence


def read_jsonl(file: InputFile, reading: ReadOptions = PLAIN, report: OnError = raise_error) -> Iterator[Sentence]:
    """Read JSON Lines; a blank line is a sentence of no tokens, keys are line numbers from 0.

    What is wrong with a line goes to `report`, and the line is left out.

    Raises:
        CorpusError: The file cannot be read, or is no text.
    """
    name, between = display_name(file), SEPARATORS[reading.separator]
    for number, line in read_lines(file, reading.encoding_errors, report):
        place = f"{name}:{number}"
        try:
            yield _sentence(number, line, reading, between, place)
        except CorpusError as problem:
            report(problem)


def _sentence(number: int, line: str, reading: ReadOptions, between: str | None, place: str) -> Sentence:
    if not line or line.isspace():
        return split_text(number - 1, "", between)
    record = _parse(line, place)
    if isinstance(record, list) and reading.id_field is None:
        sentence = parse_sentence(number - 1, record, between, f"{place}: the list")
    else:
        value = _field(record, reading.field, "--field", place)
        sentence = parse_sentence(number - 1, value, between, f"{place}: field {reading.field!r}")
    if "\\u" in line:
        _check_surrogates(sentence.text, place)
    if reading.keep:  # labels; `elmo embed` carries none over from JSON Lines
        sentence = sentence._replace(kept=tuple(_field(record, name, "--label", place) for name in reading.keep))
    if reading.id_field is None:
        return sentence
    value = _field(record, reading.id_field, "--id-field", place)
    return sentence._replace(id=parse_id(value, f"{place}: field {reading.id_field!r}"))


def _parse(line: str, place: str) -> Any:  # noqa: ANN401  # JSON
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise CorpusError(f"{place}: is no JSON ({error.msg} at character {error.pos + 1}); a line has to be one JSON object") from None
    except (ValueError, RecursionError) as error:  # a number of too many digits; brackets without end
        raise CorpusError(f"{place}: is no JSON that can be read ({error}); a line has to be one JSON object") from None


def _field(record: Any, name: str, option: str, place: str) -> Any:  # noqa: ANN401  # JSON
    if not isinstance(record, dict):
        raise CorpusError(f"{place}: is no JSON object; a line has to be one, or a list of tokens")
    if name not in record:
        names = ", ".join(list(record)[:20]) or "none"
        raise CorpusError(f"{place}: has no field {name!r}; its fields: {names}; choose one by {option}")
    return record[name]


def _check_surrogates(text: str, place: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise CorpusError(f"{place}: holds half a surrogate pair (\\u{ord(text[error.start]):04x}), which is no character") from None

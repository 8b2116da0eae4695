"""JSON Lines: one object a line, a field of which holds the tokens as a list, or a text; or one list of tokens a line.

A list of lists of tokens is a document: its sentences are called `ID/0`, `ID/1`, ... With `documents`, so is a list of texts.
"""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from elmo_cli.errors import CorpusError
from elmo_cli.io.inputs import InputFile, display_name, is_stream
from elmo_cli.readers.lines import read_lines
from elmo_cli.readers.options import PLAIN, OnError, ReadOptions, parts_of, raise_error
from elmo_cli.readers.tokens import SEPARATORS, parse_id, parse_sentence, split_text
from elmo_cli.types import Sentence

if TYPE_CHECKING:
    import pyarrow


def read_jsonl(file: InputFile, reading: ReadOptions = PLAIN, report: OnError = raise_error) -> Iterator[Sentence]:
    """Read JSON Lines; a blank line is a sentence of no tokens, keys are sentence numbers from 0.

    What is wrong with a line goes to `report`, and the line is left out.

    Raises:
        CorpusError: The file cannot be read, or is no text.
    """
    name, key = display_name(file), 0
    for number, line in read_lines(file, reading.encoding_errors, report):
        try:
            found = _sentences(line, reading, f"{name}:{number}")
        except CorpusError as problem:
            report(problem)
            continue
        for sentence in found:
            yield sentence._replace(key=str(key), row=number)
            key += 1


def kept_in_jsonl(file: InputFile, reading: ReadOptions) -> "pyarrow.Schema":
    """The kept fields and the types of their values, for which the file is read: a value that is not there is null.

    Raises:
        CorpusError: The file cannot be read, is a stream, has no object with such a field, or its values have no one type.
    """
    from elmo_cli.readers.json_types import find_types  # imports pyarrow, which other runs do without

    name = display_name(file)
    if is_stream(file):
        raise CorpusError(f"{name}: --keep looks at the fields first, which a stream does not allow; name a file")
    return find_types(_records(file, reading), reading.keep, name)


def _records(file: InputFile, reading: ReadOptions) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects, each with its line: other lines, and those that are not JSON, are left to `read_jsonl`."""
    for number, line in read_lines(file, reading.encoding_errors, lambda _: None):
        try:
            record = None if not line or line.isspace() else _parse(line, "")
        except CorpusError:
            continue
        if isinstance(record, dict):
            yield number, {name: _kept_value(value) if name in reading.keep else None for name, value in record.items()}


def _sentences(line: str, reading: ReadOptions, place: str) -> list[Sentence]:
    if not line or line.isspace():
        return [split_text(0, "", None)._replace(kept=(None,) * len(reading.keep))]
    record = _parse(line, place)
    id_ = None
    if reading.id_field is not None:
        id_ = parse_id(_field(record, reading.id_field, "--id-field", place), f"{place}: field {reading.id_field!r}")
    kept = tuple(_kept_value(_object(record, place).get(name)) for name in reading.keep)
    found = [sentence._replace(id=id_, kept=kept) for sentence in _parts(record, reading, place)]
    if "\\u" in line:
        _check_surrogates(json.dumps([id_, kept, *(sentence.text for sentence in found)], ensure_ascii=False), place)
    return found


def _kept_value(value: Any) -> Any:  # noqa: ANN401  # JSON
    """A value as a column holds it: what has objects in it, whose names may differ from line to line, as JSON."""
    return json.dumps(value, ensure_ascii=False) if _has_object(value) else value


def _has_object(value: Any) -> bool:  # noqa: ANN401  # JSON
    return isinstance(value, dict) or (isinstance(value, list) and any(map(_has_object, value)))


def _parts(record: Any, reading: ReadOptions, place: str) -> Iterator[Sentence]:  # noqa: ANN401  # JSON
    """The sentences of all fields that hold some, or of a list."""
    if isinstance(record, list) and reading.id_field is None:
        yield from _of_value(record, "", reading, f"{place}: the list")
        return
    for name, part in zip(reading.field, parts_of(reading.field), strict=True):
        yield from _of_value(_field(record, name, "--field", place), part, reading, f"{place}: field {name!r}")


def _of_value(value: Any, part: str, reading: ReadOptions, place: str) -> Iterator[Sentence]:  # noqa: ANN401  # JSON
    """The sentence, or the sentences of a document: which of both a list is, its first element decides."""
    between = SEPARATORS[reading.separator]
    if not isinstance(value, list) or not value or not (reading.documents or isinstance(value[0], list)):
        yield parse_sentence(0, value, between, place)._replace(part=part)
        return
    for number, sentence in enumerate(value):
        end = f"{part}/{number}" if part else str(number)
        yield parse_sentence(0, sentence, between, f"{place}: sentence {number + 1}")._replace(part=end)


def _parse(line: str, place: str) -> Any:  # noqa: ANN401  # JSON
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise CorpusError(f"{place}: is no JSON ({error.msg} at character {error.pos + 1}); a line has to be one JSON object") from None
    except (ValueError, RecursionError) as error:  # a number of too many digits; brackets without end
        raise CorpusError(f"{place}: is no JSON that can be read ({error}); a line has to be one JSON object") from None


def load_record(line: str, place: str) -> dict[str, Any]:
    """Parse a line that is a JSON object.

    Args:
        line: The line.
        place: Its file and number, for messages.

    Raises:
        CorpusError: It is not a JSON object.
    """
    return _object(_parse(line, place), place)


def _object(record: Any, place: str) -> dict[str, Any]:  # noqa: ANN401  # JSON
    if not isinstance(record, dict):
        raise CorpusError(f"{place}: is no JSON object; a line has to be one, or a list of tokens")
    return record


def _field(record: Any, name: str, option: str, place: str) -> Any:  # noqa: ANN401  # JSON
    if name not in _object(record, place):
        names = ", ".join(list(record)[:20]) or "none"
        raise CorpusError(f"{place}: has no field {name!r}; its fields: {names}; choose one by {option}")
    return record[name]


def _check_surrogates(text: str, place: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise CorpusError(f"{place}: holds half a surrogate pair (\\u{ord(text[error.start]):04x}), which is no character") from None

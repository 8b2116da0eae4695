"""JSON Lines reader: in each line an object with a field of tokens or text, or a list of tokens.

A list of lists of tokens is a document, whose sentences are named `ID/0`, `ID/1`, ... With
`documents`, a list of texts is a document too.
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


def read_jsonl(
    file: InputFile, reading: ReadOptions = PLAIN, report: OnError = raise_error
) -> Iterator[Sentence]:
    """Read JSON Lines; a blank line is a sentence without tokens.

    Args:
        file: The file.
        reading: Reader options.
        report: Called with the error of each bad line, which is left out.

    Yields:
        Sentences, whose keys are sentence numbers from 0.

    Raises:
        CorpusError: The file cannot be read, or is not text.
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
    """Return the schema of the fields to keep, for which the complete file is read.

    Missing values are null.

    Raises:
        CorpusError: The file cannot be read, is a stream, lacks a field in all objects, or the
            values of a field do not have a common type.
    """
    # Imports pyarrow, which other runs do not need
    from elmo_cli.readers.json_types import find_types

    name = display_name(file)
    if is_stream(file):
        raise CorpusError(
            f"{name}: --keep reads the fields first, which a stream does not allow; name a file"
        )
    return find_types(_records(file, reading), reading.keep, name)


def _records(file: InputFile, reading: ReadOptions) -> Iterator[tuple[int, dict[str, Any]]]:
    """Iterate over the objects and their line numbers.

    `read_jsonl` reports lines that are not JSON objects.
    """
    for number, line in read_lines(file, reading.encoding_errors, lambda _: None):
        try:
            record = None if not line or line.isspace() else _parse(line, "")
        except CorpusError:
            continue
        if isinstance(record, dict):
            yield (
                number,
                {
                    name: _kept_value(value) if name in reading.keep else None
                    for name, value in record.items()
                },
            )


def _sentences(line: str, reading: ReadOptions, place: str) -> list[Sentence]:
    if not line or line.isspace():
        return [split_text(0, "", None)._replace(kept=(None,) * len(reading.keep))]
    record = _parse(line, place)
    id_ = None
    if reading.id_field is not None:
        id_ = parse_id(
            _field(record, reading.id_field, "--id-field", place),
            f"{place}: field {reading.id_field!r}",
        )
    kept = tuple(_kept_value(_object(record, place).get(name)) for name in reading.keep)
    found = [sentence._replace(id=id_, kept=kept) for sentence in _parts(record, reading, place)]
    if "\\u" in line:
        _check_surrogates(
            json.dumps([id_, kept, *(sentence.text for sentence in found)], ensure_ascii=False),
            place,
        )
    return found


def _kept_value(value: Any) -> Any:  # noqa: ANN401  # JSON
    """Return a value for a column.

    One that contains objects, whose keys may differ between lines, is encoded as JSON.
    """
    return json.dumps(value, ensure_ascii=False) if _has_object(value) else value


def _has_object(value: Any) -> bool:  # noqa: ANN401  # JSON
    return isinstance(value, dict) or (isinstance(value, list) and any(map(_has_object, value)))


def _parts(record: Any, reading: ReadOptions, place: str) -> Iterator[Sentence]:  # noqa: ANN401  # JSON
    """Iterate over the sentences of the fields of an object, or of a list."""
    if isinstance(record, list) and reading.id_field is None:
        yield from _of_value(record, "", reading, f"{place}: the list")
        return
    for name, part in zip(reading.field, parts_of(reading.field), strict=True):
        yield from _of_value(
            _field(record, name, "--field", place), part, reading, f"{place}: field {name!r}"
        )


def _of_value(value: Any, part: str, reading: ReadOptions, place: str) -> Iterator[Sentence]:  # noqa: ANN401  # JSON
    """Iterate over one sentence, or those of a document.

    The first element of a list decides which it is.
    """
    between = SEPARATORS[reading.separator]
    if (
        not isinstance(value, list)
        or not value
        or not (reading.documents or isinstance(value[0], list))
    ):
        yield parse_sentence(0, value, between, place)._replace(part=part)
        return
    for number, sentence in enumerate(value):
        end = f"{part}/{number}" if part else str(number)
        yield parse_sentence(0, sentence, between, f"{place}: sentence {number + 1}")._replace(
            part=end
        )


def _parse(line: str, place: str) -> Any:  # noqa: ANN401  # JSON
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise CorpusError(
            f"{place}: is not JSON ({error.msg} at character {error.pos + 1}); a line has to be "
            "one JSON object"
        ) from None
    # A number with too many digits; brackets nested too deeply
    except (ValueError, RecursionError) as error:
        raise CorpusError(
            f"{place}: is not JSON that can be read ({error}); a line has to be one JSON object"
        ) from None


def load_record(line: str, place: str) -> dict[str, Any]:
    """Parse a line that is a JSON object.

    Args:
        line: The line.
        place: File and line number, for messages.

    Returns:
        The object.

    Raises:
        CorpusError: The line is not a JSON object.
    """
    return _object(_parse(line, place), place)


def _object(record: Any, place: str) -> dict[str, Any]:  # noqa: ANN401  # JSON
    if not isinstance(record, dict):
        raise CorpusError(
            f"{place}: is not a JSON object; a line has to be one, or a list of tokens"
        )
    return record


def _field(record: Any, name: str, option: str, place: str) -> Any:  # noqa: ANN401  # JSON
    if name not in _object(record, place):
        names = ", ".join(list(record)[:20]) or "none"
        raise CorpusError(
            f"{place}: has no field {name!r}; its fields: {names}; choose one by {option}"
        )
    return record[name]


def _check_surrogates(text: str, place: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise CorpusError(
            f"{place}: contains half a surrogate pair (\\u{ord(text[error.start]):04x}), which is "
            "not a character"
        ) from None

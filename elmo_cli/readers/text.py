"""Plain text reader: one sentence in each line, tokens separated by white space.

The tokens are exactly those of `allennlp elmo`; the text is not normalised.
"""

from collections.abc import Iterator

from elmo_cli.io.inputs import InputFile, display_name
from elmo_cli.readers.detection import NAMES, refuse_markup
from elmo_cli.readers.lines import read_lines
from elmo_cli.readers.options import PLAIN, OnError, ReadOptions, raise_error
from elmo_cli.readers.tokens import SEPARATORS, split_text
from elmo_cli.types import Sentence


def read_text(
    file: InputFile, reading: ReadOptions = PLAIN, report: OnError = raise_error
) -> Iterator[Sentence]:
    """Read a text file; a blank line is a sentence without tokens.

    Args:
        file: The file; `-` is standard input.
        reading: Reader options.
        report: Called with the error of each bad line, which is left out.

    Yields:
        Sentences, whose keys are line numbers from 0.

    Raises:
        CorpusError: The file cannot be read, is not UTF-8 text, contains a line of more than
            MAX_LINE_BYTES, or is clearly of another format.
    """
    between = SEPARATORS[reading.separator]
    lines = read_lines(file, reading.encoding_errors, report)
    if reading.detect and reading.format is None and between is None:
        lines = refuse_markup(lines, display_name(file), tuple(NAMES), "text")
    for number, line in lines:
        yield split_text(number - 1, line, between)

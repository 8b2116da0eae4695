"""Plain text: one sentence a line, its tokens parted by white space. What `allennlp elmo` reads, token for token.

Nothing is normalised.
"""

from collections.abc import Iterator

from elmo_cli.io.inputs import InputFile, display_name
from elmo_cli.readers.detection import NAMES, refuse_markup
from elmo_cli.readers.lines import read_lines
from elmo_cli.readers.options import PLAIN, OnError, ReadOptions, raise_error
from elmo_cli.readers.tokens import SEPARATORS, split_text
from elmo_cli.types import Sentence


def read_text(file: InputFile, reading: ReadOptions = PLAIN, report: OnError = raise_error) -> Iterator[Sentence]:
    """Read a text file, or standard input for `-`; a blank line is a sentence of no tokens, keys are line numbers from 0.

    What is wrong with a line goes to `report`, and the line is left out.

    Raises:
        CorpusError: The file cannot be read, is no UTF-8 text at all, holds a line above MAX_LINE_BYTES, or is clearly of another format.
    """
    between = SEPARATORS[reading.separator]
    lines = read_lines(file, reading.encoding_errors, report)
    if reading.detect and reading.format is None and between is None:
        lines = refuse_markup(lines, display_name(file), tuple(NAMES), "text")
    for number, line in lines:
        yield split_text(number - 1, line, between)

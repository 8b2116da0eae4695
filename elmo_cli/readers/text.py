"""Plain text: one sentence a line, its tokens parted by white space. What `allennlp elmo` reads, token for token.

Lines end at LF, CRLF or CR and nowhere else; a byte-order mark at the start is dropped; nothing is normalised.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from elmo_cli.compression import STDIN, read_blocks
from elmo_cli.corpus import Sentence
from elmo_cli.errors import CorpusError
from elmo_cli.readers.problems import Report, stop

SEPARATORS = {"whitespace": None, "tab": "\t", "space": " "}
MAX_LINE_BYTES = 1 << 28  # a line is held in memory whole
UTF8_MARK, UTF16_MARKS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")


def read_text(path: Path, *, separator: str = "whitespace", encoding_errors: str = "strict", report: Report = stop) -> Iterator[Sentence]:
    """Read a text file, or standard input for `-`; a blank line is a sentence of no tokens, keys are line numbers from 0.

    `encoding_errors` is "strict" or "replace" (with U+FFFD). What is wrong with a line goes to `report`, and the line is left out.

    Raises:
        CorpusError: The file cannot be read, is no UTF-8 text at all, or holds a line above MAX_LINE_BYTES.
    """
    name = "standard input" if path == STDIN else str(path)
    between = SEPARATORS[separator]
    offset = 0
    for number, line in enumerate(_lines(_checked(read_blocks(path), name), name), start=1):
        try:
            text = (line[len(UTF8_MARK) :] if offset == 0 and line.startswith(UTF8_MARK) else line).decode("utf-8", encoding_errors)
        except UnicodeDecodeError as error:
            where = offset + len(line) - len(error.object) + error.start
            report(
                CorpusError(
                    f"{name}:{number}: byte 0x{error.object[error.start]:02x} at byte offset {where} is not UTF-8; "
                    "convert the file, or pass --encoding-errors replace to keep the line"
                )
            )
        else:
            yield _sentence(number - 1, text.rstrip("\r\n"), between)
        offset += len(line)


def _sentence(index: int, line: str, separator: str | None) -> Sentence:
    if separator is None:
        return Sentence(str(index), line.split(), line.strip())
    return Sentence(str(index), [token for token in line.split(separator) if token], line.strip(separator))


def _checked(blocks: Iterable[bytes], name: str) -> Iterator[bytes]:
    for number, block in enumerate(blocks):
        if number == 0 and _is_wide(block):
            raise CorpusError(f"{name}: is UTF-16 or UTF-32, or no text at all; convert text first: iconv -f UTF-16 -t UTF-8")
        yield block


def _is_wide(block: bytes) -> bool:
    """UTF-16 or UTF-32 by its mark, or by zeros in at least two bytes of five."""
    return block.startswith(UTF16_MARKS) or (len(block) > 3 and block.count(0) * 5 >= len(block) * 2)


def _lines(blocks: Iterable[bytes], name: str) -> Iterator[bytes]:
    """The lines with their ends. bytes.splitlines, unlike str.splitlines, knows just LF, CRLF and CR."""
    pending: list[bytes] = []
    for block in blocks:
        pending.append(block)
        if b"\n" not in block and b"\r" not in block:
            if sum(map(len, pending)) > MAX_LINE_BYTES:
                raise CorpusError(f"{name}: a line has more than {MAX_LINE_BYTES >> 20} MiB; is this a text file, one sentence a line?")
            continue
        *lines, last = b"".join(pending).splitlines(keepends=True)
        pending = [last]  # it may go on in the next block, and a CR there may be half of a CRLF
        yield from lines
    if pending:
        yield from b"".join(pending).splitlines(keepends=True)

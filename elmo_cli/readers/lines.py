"""Lines of UTF-8 text files, compressed or not; only LF, CRLF and CR end a line.

A byte-order mark at the start is dropped, as is a Ctrl-Z (0x1a) at the end, which DOS programs
write.
"""

from collections.abc import Iterable, Iterator

from elmo_cli.errors import CorpusError
from elmo_cli.io.compression import read_blocks
from elmo_cli.io.inputs import InputFile, display_name
from elmo_cli.readers.options import OnError

# A complete line is in memory, and that many short tokens take thirty times as much
MAX_LINE_BYTES = 1 << 25
UTF8_MARK, UTF16_MARKS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
END_OF_FILE = b"\x1a"
MAGIC = {
    b"PAR1": "a Parquet file; pass --input-format parquet",
    b"\xff\xff\xff\xff": "an Arrow stream; pass --input-format arrow",
    b"ARROW1": "an Arrow file; pass --input-format arrow",
    b"\x1f\x8b": "compressed by gzip; give its name the suffix .gz",
    b"BZh91AY&SY": "compressed by bzip2; give its name the suffix .bz2",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; give its name the suffix .zst",
    b"\xfd7zXZ": "compressed by xz; give its name the suffix .xz",
    b"PK\x03\x04": "a zip archive, as .docx and .xlsx files are; unpack it, or export its text",
    b"\x89HDF": "an HDF5 file; name a file of tokenized text",
    b"%PDF-": "a PDF file; extract its text first",
    b"\xd0\xcf\x11\xe0": "an old Office document; export its text first",
    b"\x89PNG": "a PNG image; name a file of tokenized text",
    b"\xff\xd8\xff": "a JPEG image; name a file of tokenized text",
    b"\x7fELF": "a program; name a file of tokenized text",
}


def read_lines(file: InputFile, encoding_errors: str, report: OnError) -> Iterator[tuple[int, str]]:
    """Iterate over the lines of a text file.

    Args:
        file: The file.
        encoding_errors: "strict", or "replace" to decode bytes that are not UTF-8 as U+FFFD.
        report: Called with the error of each line that is not UTF-8, which is left out.

    Yields:
        Line number, from 1, and the line without its end.

    Raises:
        CorpusError: The file cannot be read, is not text, or contains a line of more than
            MAX_LINE_BYTES.
    """
    name = display_name(file)
    offset = 0
    for number, full in enumerate(_split(_checked(read_blocks(file), name), name), start=1):
        line = full[:-1] if full.endswith(END_OF_FILE) else full  # only at the end of the last line
        if full == END_OF_FILE:
            return
        try:
            text = (
                line[len(UTF8_MARK) :] if offset == 0 and line.startswith(UTF8_MARK) else line
            ).decode("utf-8", encoding_errors)
        except UnicodeDecodeError as error:
            where = offset + len(line) - len(error.object) + error.start
            report(
                CorpusError(
                    f"{name}:{number}: byte 0x{error.object[error.start]:02x} at byte offset "
                    f"{where} is not UTF-8; "
                    "convert the file, or pass --encoding-errors replace to keep the line"
                )
            )
        else:
            yield number, text.rstrip("\r\n")
        offset += len(full)


def _checked(blocks: Iterable[bytes], name: str) -> Iterator[bytes]:
    for number, block in enumerate(blocks):
        if number == 0:
            _check_is_text(block, name)
        yield block


def _check_is_text(block: bytes, name: str) -> None:
    for magic, what in MAGIC.items():
        if block.startswith(magic):
            raise CorpusError(f"{name}: is {what}")
    if _is_wide(block):
        raise CorpusError(
            f"{name}: is UTF-16 or UTF-32, or not text; convert text first: iconv -f UTF-16 -t "
            "UTF-8"
        )


def _is_wide(block: bytes) -> bool:
    """Return whether a block is UTF-16 or UTF-32.

    It has a byte-order mark, or two bytes of five or more are zero.
    """
    return block.startswith(UTF16_MARKS) or (
        len(block) > 3 and block.count(0) * 5 >= len(block) * 2
    )


def _split(blocks: Iterable[bytes], name: str) -> Iterator[bytes]:
    """Iterate over the lines with their ends.

    Bytes.splitlines, unlike str.splitlines, splits at LF, CRLF and CR only.
    """
    pending: list[bytes] = []
    held = 0  # bytes
    for block in blocks:
        pending.append(block)
        held += len(block)
        if b"\n" not in block and b"\r" not in block:
            if held > MAX_LINE_BYTES:
                raise CorpusError(
                    f"{name}: a line has more than {MAX_LINE_BYTES >> 20} MiB; check that it is a "
                    "text file with one sentence in each line"
                )
            continue
        *lines, last = b"".join(pending).splitlines(keepends=True)
        # It may continue in the next block, and a CR at its end may be half of a CRLF
        pending, held = [last], len(last)
        yield from lines
    if pending:
        yield from b"".join(pending).splitlines(keepends=True)

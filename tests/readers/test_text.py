import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elmo_cli.errors import CorpusError
from elmo_cli.io import compression
from elmo_cli.readers import lines
from elmo_cli.readers.corpus import Corpus
from elmo_cli.readers.options import ReadOptions
from elmo_cli.readers.text import read_text

MakeCorpus = Callable[..., Path]


def tokens_of(path: Path, **options: str) -> list[list[str]]:
    return [sentence.tokens for sentence in read_text(path, ReadOptions(**options))]


def zstd(content: bytes) -> bytes:
    return pyarrow.compress(content, codec="zstd", asbytes=True)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_lf_crlf_and_cr_end_a_line(corpus: MakeCorpus, end: bytes):
    assert tokens_of(corpus(b"a b" + end + b"c" + end)) == [["a", "b"], ["c"]]
    assert tokens_of(corpus(b"a b" + end + b"c")) == [["a", "b"], ["c"]]


def test_nothing_else_ends_a_line(corpus: MakeCorpus):
    assert tokens_of(corpus("a\u2028b\u0085c\x0bd\x0ce\x1cf\n")) == [["a", "b", "c", "d", "e", "f"]]


def test_a_leading_mark_is_dropped_and_a_later_one_kept(corpus: MakeCorpus):
    assert tokens_of(corpus("\ufeffa\n\ufeffb\n")) == [["a"], ["\ufeffb"]]


def test_the_text_is_the_stripped_line_as_it_stands(corpus: MakeCorpus):
    sentences = list(read_text(corpus("  a  b \tc \n")))
    assert [(s.key, s.tokens, s.text) for s in sentences] == [("0", ["a", "b", "c"], "a  b \tc")]


def test_other_separators_keep_white_space_inside_tokens(corpus: MakeCorpus):
    path = corpus("New York\tis\t\tbig\n")
    assert tokens_of(path, separator="tab") == [["New York", "is", "big"]]
    assert tokens_of(corpus("1\u00a0000 euros\n"), separator="space") == [["1\u00a0000", "euros"]]


@given(st.text(alphabet="ab \r\n\té", max_size=60), st.integers(1, 7))
def test_block_borders_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, content: str, block_bytes: int
):
    path = tmp_path_factory.mktemp("blocks") / "corpus.txt"
    path.write_bytes(content.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compression, "BLOCK_BYTES", block_bytes)
        with path.open(encoding="utf-8") as expected:  # Python's universal newlines
            assert [s.text for s in read_text(path)] == [line.strip() for line in expected]


COMPRESSORS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd}


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_compressed_text_is_read_by_its_suffix(corpus: MakeCorpus, suffix: str):
    compress = COMPRESSORS[suffix]
    assert tokens_of(corpus(compress(b"a b\nc\n"), "c.txt" + suffix)) == [["a", "b"], ["c"]]
    both = compress(b"a b\n") + compress(b"c\n")  # as `cat one.gz two.gz` makes it
    assert tokens_of(corpus(both, "two.txt" + suffix)) == [["a", "b"], ["c"]]


@pytest.mark.parametrize("suffix", COMPRESSORS)
@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda _: b"no archive at all"])
def test_damaged_compressed_text_is_an_error(
    corpus: MakeCorpus, suffix: str, damage: Callable[[bytes], bytes]
):
    data = COMPRESSORS[suffix]("".join(f"{i * i} {i}\n" for i in range(500)).encode())
    with pytest.raises(CorpusError, match=r"cannot be read to its end"):
        list(read_text(corpus(damage(data), "c.txt" + suffix)))


def test_bytes_that_are_not_utf8_are_named_by_file_line_and_offset(corpus: MakeCorpus):
    path = corpus(b"\xef\xbb\xbffine\r\nb\xffd\n\xc3\n")
    with pytest.raises(
        CorpusError, match=r"corpus\.txt:2: byte 0xff at byte offset 10 is not UTF-8"
    ):
        list(read_text(path))
    with pytest.raises(
        CorpusError,
        match=(
            r"2 problems:\n  .*:2: byte 0xff at byte offset 10 .*\n  .*:3: byte 0xc3 at byte "
            r"offset 13 "
        ),
    ):
        Corpus([path]).scan()
    assert tokens_of(path, encoding_errors="replace") == [["fine"], ["b\ufffdd"], ["\ufffd"]]


def test_the_scan_names_ten_problems_and_counts_the_rest(corpus: MakeCorpus):
    with pytest.raises(CorpusError) as caught:
        Corpus([corpus(b"\xff\n" * 25)]).scan()
    assert "25 problems, of which the first 10:" in str(caught.value)
    assert str(caught.value).count("is not UTF-8") == 10


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wide_text_is_told_from_utf8(corpus: MakeCorpus, encoding: str):
    with pytest.raises(CorpusError, match="UTF-16"):
        list(read_text(corpus("The cat sat .\n".encode(encoding))))


def test_blank_lines_are_refused_skipped_or_kept(corpus: MakeCorpus):
    path = corpus("a\n\n \t\nb\n")
    with pytest.raises(CorpusError, match=r"2 blank lines \(2, 3\); pass --blank-lines"):
        Corpus([path]).scan()
    with pytest.raises(CorpusError, match=r"1 blank line \(2\)"):
        list(Corpus([path]).read())
    assert [s.key for s in Corpus([path], blank_lines="skip").read()] == ["0", "3"]
    assert [s.tokens for s in Corpus([path], blank_lines="keep").read()] == [["a"], [], [], ["b"]]


def test_a_line_without_end_is_refused_before_it_fills_the_memory(
    corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 100)
    monkeypatch.setattr(compression, "BLOCK_BYTES", 10)
    with pytest.raises(CorpusError, match="a line has more than"):
        list(read_text(corpus("a" * 200)))
    assert len(list(read_text(corpus("a a\n" * 100)))) == 100


def test_what_is_no_file_is_an_error(tmp_path: Path):
    with pytest.raises(CorpusError, match="no such file"):
        list(read_text(tmp_path / "none.txt"))
    with pytest.raises(CorpusError, match="is a directory"):
        list(read_text(tmp_path))

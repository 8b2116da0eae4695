"""Properties that all readers have."""

import bz2
import gzip
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

from elmo_cli.errors import CorpusError
from elmo_cli.io.inputs import expand_input
from elmo_cli.readers import FORMATS_BY_SUFFIX, READERS, find_formats
from elmo_cli.readers.corpus import Corpus
from elmo_cli.readers.options import ReadOptions
from tests.conftest import max_difference, read_features
from tests.helpers.corpora import TEXTS, write_corpus
from tests.helpers.runs import embedding_stdin

Elmo = Callable[..., Result]
MakeCorpus = Callable[..., Path]
LETTERS = [list("MKTAYI"), list("G"), list("WVLXQM")]
WORDS = [["The", "cat", '"', "sat", "#", "."], ["Ça", "n'", "€", "𝒳"], ["x"]]
NAMES = {name: f"corpus{reader.suffixes[0]}" for name, reader in READERS.items()}
WITH_WORDS = [name for name in READERS if name != "fasta"]


def tokens_of(path: Path, **reading: str) -> list[list[str]]:
    return [sentence.tokens for sentence in Corpus([path], "keep", ReadOptions(**reading)).read()]


@pytest.mark.parametrize("name", READERS)
def test_every_reader_gives_the_same_tokens_keys_and_text(tmp_path: Path, name: str):
    sentences = LETTERS if name == "fasta" else WORDS
    path = write_corpus(name, sentences, tmp_path / NAMES[name])
    found = list(Corpus([path]).read())
    assert [sentence.tokens for sentence in found] == sentences
    assert [sentence.key for sentence in found] == ["0", "1", "2"]
    assert [sentence.text for sentence in found] == [" ".join(tokens) for tokens in sentences]


def test_every_reader_leads_to_the_same_vectors(elmo: Elmo, model: Path, tmp_path: Path):
    outputs = []
    for name in READERS:
        path = write_corpus(name, LETTERS, tmp_path / NAMES[name])
        result = elmo("embed", path, tmp_path / f"{name}.h5", "--model", model)
        assert result.exit_code == 0, result.output
        outputs.append(read_features(tmp_path / f"{name}.h5"))
    assert all(max_difference(outputs[0], other) == 0 for other in outputs[1:])


TOKEN = st.text(
    st.characters(
        exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], exclude_characters="\x1c\x1d\x1e\x1f\x85"
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("name", WITH_WORDS)
@given(sentences=st.lists(st.lists(TOKEN, min_size=1, max_size=4), max_size=4))
def test_any_tokens_come_through(
    tmp_path_factory: pytest.TempPathFactory, name: str, sentences: list[list[str]]
):
    path = write_corpus(name, sentences, tmp_path_factory.mktemp("any") / NAMES[name])
    if path.read_bytes().startswith("\ufeff".encode()):
        return  # a mark at the start of a text is no part of it
    assert tokens_of(path) == [
        tokens for tokens in sentences if name != "conll" or not tokens[0].startswith("-DOCSTART-")
    ]


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_texts_are_unpacked_by_their_suffix(
    tmp_path: Path, name: str, suffix: str, compress: Callable[[bytes], bytes]
):
    plain = write_corpus(name, LETTERS, tmp_path / NAMES[name])
    packed = tmp_path / (NAMES[name] + suffix)
    packed.write_bytes(compress(plain.read_bytes()))
    assert tokens_of(packed) == LETTERS
    packed.write_bytes(packed.read_bytes()[:-6])
    with pytest.raises(CorpusError, match="cannot be read to its end"):
        tokens_of(packed)


@pytest.mark.parametrize("name", TEXTS)
def test_line_ends_and_marks_of_other_systems_change_nothing(tmp_path: Path, name: str):
    path = write_corpus(name, LETTERS, tmp_path / NAMES[name])
    path.write_bytes(
        b"\xef\xbb\xbf" + path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    )
    assert tokens_of(path) == LETTERS


@pytest.mark.parametrize("name", TEXTS)
def test_the_mark_that_ends_a_file_of_dos_is_no_sentence(tmp_path: Path, name: str):
    path = write_corpus(name, LETTERS, tmp_path / NAMES[name])
    lines = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    for end in (b"\x1a", b"\r\n\x1a" if name in ("conll", "conllu", "fasta") else b"\x1a"):
        path.write_bytes(lines + end)
        assert tokens_of(path) == LETTERS
    path.write_bytes(lines.rstrip(b"\r\n") + b"\x1a")
    assert tokens_of(path) == LETTERS


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_of_unicode_are_one_error_that_says_so(
    tmp_path: Path, name: str, encoding: str
):
    path = write_corpus(name, LETTERS, tmp_path / NAMES[name])
    path.write_bytes(path.read_text().replace("\n", "\r\n").encode(encoding))
    with pytest.raises(
        CorpusError,
        match=r"is UTF-16 or UTF-32, or not text; convert text first: iconv -f UTF-16 -t UTF-8",
    ):
        Corpus([path]).scan()


@pytest.mark.parametrize("name", [*TEXTS, "arrow"])
def test_every_format_but_parquet_is_read_from_a_stream(tmp_path: Path, name: str):
    path = write_corpus(
        name, LETTERS, tmp_path / ("corpus.arrows" if name == "arrow" else NAMES[name])
    )
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(path.read_bytes()))
    writer.start()
    assert tokens_of(pipe, format=name) == LETTERS
    writer.join()


@pytest.mark.parametrize(
    ("name", "file"),
    [("jsonl", "corpus.jsonl"), ("arrow", "corpus.arrows"), ("fasta", "corpus.fa")],
)
def test_standard_input_takes_a_format(model: Path, tmp_path: Path, name: str, file: str):
    path = write_corpus(name, LETTERS, tmp_path / file)
    command = embedding_stdin(
        tmp_path / "out.h5",
        "--model",
        model,
        "--input-format",
        name,
    )
    with path.open("rb") as stream:
        done = subprocess.run(command, stdin=stream, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [array.shape[1] for array in read_features(tmp_path / "out.h5").values()] == [6, 1, 6]


def test_parquet_from_a_stream_is_refused(elmo: Elmo, model: Path, tmp_path: Path):
    result = elmo(
        "embed",
        "-",
        tmp_path / "out.h5",
        "--model",
        model,
        "--input-format",
        "parquet",
        stdin=b"PAR1",
    )
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "standard input: Parquet has its metadata at the end of the file" in result.stderr


@pytest.mark.parametrize("name", READERS)
def test_what_is_not_there_is_said_by_every_reader(tmp_path: Path, name: str):
    with pytest.raises(CorpusError, match="no such file"):
        tokens_of(tmp_path / NAMES[name])


@pytest.mark.parametrize("name", READERS)
def test_random_bytes_are_one_error_to_every_reader(tmp_path: Path, name: str):
    path = tmp_path / NAMES[name]
    for content in (
        bytes(range(128, 256)) * 9,
        b"\0" * 99,
        b"PAR1" + b"\xff" * 9 + b"PAR1",
        b"ARROW1\0\0" + b"\xfe" * 40,
        b"\xff" * 8,
    ):
        path.write_bytes(content)
        with pytest.raises(CorpusError, match="corpus"):
            Corpus([path]).scan()


@pytest.mark.parametrize("name", READERS)
def test_an_empty_file_is_an_empty_corpus_or_an_error(tmp_path: Path, name: str):
    path = tmp_path / NAMES[name]
    path.touch()
    if name in ("parquet", "arrow", "csv", "tsv"):
        with pytest.raises(CorpusError, match=r"is not a complete|cannot be read|has no header"):
            tokens_of(path)
    else:
        assert tokens_of(path) == []


@pytest.mark.parametrize("name", [name for name in READERS if name != "conll"])
def test_sentences_without_tokens_are_refused_skipped_or_kept(tmp_path: Path, name: str):
    path = write_corpus(name, [["A"], [], ["B"]], tmp_path / NAMES[name])
    with pytest.raises(
        CorpusError,
        match=rf"{path.name}: 1 blank {READERS[name].unit} \(2\); pass --blank-lines skip",
    ):
        Corpus([path]).scan()
    assert [sentence.key for sentence in Corpus([path], "skip").read()] == ["0", "2"]
    assert tokens_of(path) == [["A"], [], ["B"]]


def test_suffixes_name_one_format_each_and_all_others_are_text(tmp_path: Path):
    assert len(FORMATS_BY_SUFFIX) == sum(len(reader.suffixes) for reader in READERS.values())

    def format_of(name: str) -> str:
        return next(find_formats(expand_input(str(tmp_path / name)), None))[1]

    assert [
        format_of(name) for name in ("a", "a.de", "a.JSONL.GZ", "a.b.conllu.xz", "a.FA.gz")
    ] == [
        "text",
        "text",
        "jsonl",
        "conllu",
        "fasta",
    ]
    for name in ("a.h5", "a.json", "a.zip", "a.pdf.gz", "a.tar"):
        with pytest.raises(
            CorpusError,
            match=rf"{name}: the suffix .* --input-format text\|parquet\|arrow\|jsonl\|",
        ):
            format_of(name)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PAR1xxxx", "a Parquet file; pass --input-format"),
        (gzip.compress(b"a\n", mtime=0), "suffix .gz"),
        (b"\x89PNG\r\n\x1a\n\0\xff", "is a PNG image"),
    ],
)
def test_text_that_is_another_format_is_named(corpus: MakeCorpus, content: bytes, what: str):
    with pytest.raises(CorpusError, match=what):
        tokens_of(corpus(content))


@pytest.mark.parametrize(
    ("file", "options", "words"),
    [
        (
            "a.txt",
            ["--column", "words"],
            ["--column is for parquet, arrow, csv, tsv; a.txt is read as text"],
        ),
        (
            "a.jsonl",
            ["--token-column", 2],
            ["--token-column is for conll; a.jsonl is read as jsonl"],
        ),
        ("a.fasta", ["--separator", "tab"], ["--separator is for text, parquet"]),
        ("a.conllu", ["--keep", "x"], ["--keep is for parquet"]),
        ("a.txt", ["--input-format", "word"], ["'word' is not one of 'text', 'parquet'"]),
    ],
)
def test_an_option_of_another_format_is_wrong_usage(
    elmo: Elmo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    options: list[str],
    words: list[str],
):
    monkeypatch.chdir(tmp_path)
    Path(file).touch()
    result = elmo("embed", file, "out.h5", *options)
    assert result.exit_code == 2
    assert all(word in result.stderr for word in words), result.stderr


def test_the_scan_goes_on_after_a_bad_file_and_row(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text('{"tokens": null}\n{"tokens": ["ok"]}\n[]]\n')
    (tmp_path / "b.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(CorpusError) as caught:
        Corpus([tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz", tmp_path / "c.jsonl"]).scan()
    first, *problems = str(caught.value).splitlines()
    assert first.endswith("a.jsonl and 2 more inputs: 4 problems:")
    for problem, words in zip(
        problems,
        ["a.jsonl:1: field", "a.jsonl:3: is not JSON", "b.jsonl.gz: cannot", "c.jsonl: no such"],
        strict=True,
    ):
        assert words in problem

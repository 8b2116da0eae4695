import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from elmo_cli.errors import CorpusError
from elmo_cli.readers import fasta
from elmo_cli.readers.corpus import Corpus
from elmo_cli.readers.fasta import read_fasta
from elmo_cli.readers.options import ReadOptions

MakeCorpus = Callable[..., Path]


def test_a_residue_is_a_token_and_the_first_word_of_the_header_the_id(corpus: MakeCorpus):
    path = corpus(">sp|P1|X_Y Some protein\nMKt\n\nAY *\n;old\n>b\nG*A\n", "a.fasta")
    found = list(read_fasta(path))
    assert [(s.key, "".join(s.tokens), s.id, s.text) for s in found] == [
        ("0", "MKTAY", "sp|P1|X_Y", "M K T A Y"),
        ("1", "G*A", "b", "G * A"),
    ]
    assert [s.id for s in read_fasta(path, ReadOptions(ignore_ids=True))] == [None, None]


def test_residues_are_upper_case_unless_the_case_is_kept(corpus: MakeCorpus):
    path = corpus(">a\nmktLLV\n", "a.fasta")
    assert ["".join(s.tokens) for s in read_fasta(path)] == ["MKTLLV"]
    assert ["".join(s.tokens) for s in read_fasta(path, ReadOptions(keep_case=True))] == ["mktLLV"]


def test_an_id_is_a_field_of_the_headers_first_word(corpus: MakeCorpus):
    path = corpus(">sp|P00193|FER_PEPAS Ferredoxin | x\nM\n>tr|Q1|B\nK\n", "a.fasta")
    assert [s.id for s in read_fasta(path, ReadOptions(id_field="2"))] == ["P00193", "Q1"]
    assert [s.id for s in read_fasta(path, ReadOptions(id_field="3"))] == ["FER_PEPAS", "B"]
    assert [s.id for s in read_fasta(path, ReadOptions(id_field="2", ignore_ids=True))] == [
        None,
        None,
    ]
    for field in ("0", "-1", "id", ""):
        with pytest.raises(
            CorpusError,
            match=rf"a\.fasta: --id-field {field}: for FASTA it has to be a number, from 1",
        ):
            list(read_fasta(path, ReadOptions(id_field=field)))
    with pytest.raises(
        CorpusError,
        match=(
            r"a\.fa:3: the header's first word 'b' has no field 2 between '\|'; leave out "
            r"--id-field"
        ),
    ):
        list(read_fasta(corpus(">a|b\nM\n>b\nK\n", "a.fa"), ReadOptions(id_field="2")))


def test_gaps_and_inner_stops_are_tokens_and_blank_lines_and_comments_are_not(corpus: MakeCorpus):
    path = corpus(">a\n;comment\nM-K.\n\n  T*A *\n\n>b\n\nG\n", "a.fa")
    assert ["".join(s.tokens) for s in read_fasta(path)] == ["M-K.T*A", "G"]


@pytest.mark.parametrize("suffix", [".pep", ".fna", ".ffn", ".faa", ".fasta", ".fa", ".fas"])
def test_suffixes_of_fasta_are_known_packed_ones_too(corpus: MakeCorpus, suffix: str):
    for name, content in (
        (f"a{suffix}", b">a\nMK\n"),
        (f"b{suffix.upper()}.gz", gzip.compress(b">b\nMK\n")),
    ):
        assert [s.tokens for s in Corpus([corpus(content, name)]).read()] == [["M", "K"]]


BAD = {
    ">a\nMK>b\n": r"2: '>' is not a residue",
    "MKT\n>a\nM\n": (
        r"1: a sequence before the first header; a line '>' and an id has to come first"
    ),
    ">\nM\n": r"1: the header has no id; it has to follow '>' immediately",
    "> a\nM\n": r"1: the header has no id",
    ">a\nM1K\n": r"2: '1' is not a residue; a sequence has letters",
    ">a\nMÄ\n": r"2: 'Ä' is not a residue",
}


@pytest.mark.parametrize(("content", "words"), BAD.items())
def test_a_bad_line_is_named(corpus: MakeCorpus, content: str, words: str):
    with pytest.raises(CorpusError, match=rf"a\.fa:{words}"):
        Corpus([corpus(content, "a.fa")]).scan()


def test_a_sequence_without_end_is_refused(corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fasta, "MAX_TOKENS", 10)
    with pytest.raises(CorpusError, match=r"a\.fa:4: the sequence x has more than 10 residues"):
        list(read_fasta(corpus(">x\n" + "MKTA\n" * 9, "a.fa")))


def test_equal_ids_are_an_error_in_one_file_and_over_files(corpus: MakeCorpus):
    one, two = corpus(">a\nM\n>b\nK\n>a\nT\n", "1.fa"), corpus(">c\nM\n>b\nK\n", "2.fa")
    with pytest.raises(CorpusError) as caught:
        Corpus([one, two]).scan()
    assert "1.fa and 1 more input: 2 problems:" in str(caught.value)
    assert f"{one}: sequence 3 has the id 'a' of {one}: sequence 1; make ids unique" in str(
        caught.value
    )
    assert f"{two}: sequence 2 has the id 'b' of {one}: sequence 2; make ids unique" in str(
        caught.value
    )


def test_a_sequence_of_no_residues_is_blank(corpus: MakeCorpus):
    with pytest.raises(CorpusError, match=r"2 blank sequences \(1, 3\)"):
        Corpus([corpus(">a\n>b\nM\n>c\n*\n", "a.fa")]).scan()

from collections.abc import Callable
from pathlib import Path

import pytest

from elmo_cli.errors import CorpusError
from elmo_cli.readers import delimited
from elmo_cli.readers.corpus import Corpus
from elmo_cli.readers.delimited import read_csv, read_tsv
from elmo_cli.readers.options import ReadOptions

MakeCorpus = Callable[..., Path]


def test_a_column_is_chosen_by_name(corpus: MakeCorpus):
    path = corpus('id,text,label\n1,"a ""b"", c",x\n2,"d\ne",y\n', "a.csv")
    found = list(
        read_csv(path, ReadOptions(column=("text",), id_column="id", keep=("label", "id")))
    )
    assert [(s.tokens, s.id, s.kept) for s in found] == [
        (["a", '"b",', "c"], "1", ("x", "1")),
        (["d", "e"], "2", ("y", "2")),
    ]
    assert Corpus(
        [path], reading=ReadOptions(column=("text",), keep=("label",))
    ).kept_fields().names == ["label"]


def test_line_ends_of_windows_stand_in_quoted_cells_too(corpus: MakeCorpus):
    path = corpus(b'\xef\xbb\xbfid,tokens\r\n1,"a\r\nb ""c"""\r\n\r\n2,d\r\n', "a.csv")
    assert [
        (s.tokens, s.id) for s in Corpus([path], "keep", ReadOptions(id_column="id")).read()
    ] == [
        (["a", "b", '"c"'], "1"),
        ([], None),
        (["d"], "2"),
    ]


def test_a_quote_in_tsv_is_a_token(corpus: MakeCorpus):
    path = corpus('tokens\tlabel\n" Hi , " he said\tx\n"\ty\n', "a.tsv")
    assert [sentence.tokens for sentence in read_tsv(path)] == [
        ['"', "Hi", ",", '"', "he", "said"],
        ['"'],
    ]


BAD = {
    "a,b\n1,2\n": r"has no column 'tokens'; its columns: a, b; choose one by --column",
    "tokens,tokens\n1,2\n": r"has 2 columns 'tokens'",
    "": r"has no header; its first line has to name the columns",
    "\ntokens\n": r"has no header",
    "tokens,b\na,b\nc\n": r"the row has 1 cells, the header 2; quote a cell that contains a comma",
    "tokens\na, b\n": r"the row has 2 cells, the header 1",
    'tokens\na\n"never closed\nx\n': (
        r"is not valid CSV \(unexpected end of data\); check the quotes after the last complete "
        r"row"
    ),
    'tokens\n"a"b\n': r"is not valid CSV \(',' expected after '\"'\)",
}


@pytest.mark.parametrize(("content", "words"), BAD.items())
def test_a_bad_table_is_named(corpus: MakeCorpus, content: str, words: str):
    with pytest.raises(CorpusError, match=rf"a\.csv:(\d+:)? {words}"):
        list(read_csv(corpus(content, "a.csv")))


def test_an_empty_id_is_named_by_its_line(corpus: MakeCorpus):
    with pytest.raises(
        CorpusError, match=r"a\.csv:3: column 'id' is empty; the id of a sentence has to be"
    ):
        list(read_csv(corpus("id,tokens\n1,a\n,b\n", "a.csv"), ReadOptions(id_column="id")))


def test_a_blank_line_is_a_row_of_no_tokens(corpus: MakeCorpus):
    with pytest.raises(CorpusError, match=r"2 blank rows \(2, 3\)"):
        Corpus([corpus('tokens\na\n\n""\nb\n', "a.csv")]).scan()


def test_a_cell_without_end_is_refused_before_it_fills_the_memory(
    corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(delimited, "MAX_CELL", 100)
    with pytest.raises(CorpusError, match=r"field larger than field limit \(100\)"):
        list(read_csv(corpus('tokens\n"' + "a\n" * 100, "a.csv")))

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import Result

from elmo_cli import open_features
from elmo_cli.errors import CorpusError
from elmo_cli.features.resume.parts import read_part, write_part
from elmo_cli.readers import conll
from elmo_cli.readers.conll import read_conll, read_conllu
from elmo_cli.readers.corpus import Corpus
from elmo_cli.readers.options import ReadOptions
from tests.conftest import read_features, shared

Elmo = Callable[..., Result]
MakeCorpus = Callable[..., Path]

CONLLU = """\
# newdoc id = d
# newpar
# sent_id = fr-1 a
# text = Du 10 000 vu.
1-2\tDu\t_\t_\t_\t_\t_\t_\t_\t_
1\tde\tde\tADP\t_\t_\t0\t_\t_\t_
2\tle\tle\tDET\t_\t_\t0\t_\t_\t_
2.1\tnoeud\t_\t_\t_\t_\t_\t_\t_\t_
3\t10 000\t_\tNUM\t_\t_\t0\t_\t_\t_
4\t#\t_\tSYM\t_\t_\t0\t_\t_\t_


# text = no id
1\tvu\t_\t_\t_\t_\t_\t_\t_\t_
# a last comment

# the end
"""


def test_conllu_gives_words_and_ids_and_nothing_else(corpus: MakeCorpus):
    found = list(read_conllu(corpus(CONLLU, "a.conllu")))
    assert [(s.key, s.tokens, s.id, s.text) for s in found] == [
        ("0", ["de", "le", "10 000", "#"], "fr-1 a", "de le 10 000 #"),
        ("1", ["vu"], None, "vu"),
    ]
    assert [
        s.id for s in read_conllu(corpus(CONLLU, "a.conllu"), ReadOptions(ignore_ids=True))
    ] == [None, None]


def test_conllu_plus_says_where_the_form_is(corpus: MakeCorpus):
    path = corpus("# global.columns = ID LEMMA FORM\n1\tbe\tam\n", "a.conllup")
    assert [s.tokens for s in read_conllu(path)] == [["am"]]
    with pytest.raises(CorpusError, match=r"global\.columns have no FORM: ID LEMMA"):
        list(read_conllu(corpus("# global.columns = ID LEMMA\n1\tbe\n", "a.conllup")))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "1 The the",
            (
                r"has 1 of CoNLL-U's columns; they are separated by tabs \(for other files: "
                r"--input-format conll\)"
            ),
        ),
        ("The\tDET", r"'The' is not a word number, which the first column of CoNLL-U contains"),
        ("1\t\tx", r"the form is empty"),
    ],
)
def test_a_bad_line_of_conllu_is_named(corpus: MakeCorpus, line: str, words: str):
    with pytest.raises(CorpusError, match=rf"a\.conllu:2: {words}"):
        Corpus([corpus(f"1\tok\n{line}\n", "a.conllu")]).scan()


def documents(path: Path, **reading: object) -> list[tuple[str, str | None, str | None]]:
    return [
        (s.text, s.id, s.document) for s in Corpus([path], "skip", ReadOptions(**reading)).read()
    ]


def test_newdoc_names_the_document_of_the_sentences_after_it_and_leaves_their_ids(
    corpus: MakeCorpus,
):
    path = corpus(
        (
            "1\ta\n\n# newdoc id = d/1 x\n# sent_id = s1\n1\tb\n\n1\tc\n\n# newdoc\n# sent_id = "
            "s2\n1\td\n\n#newdoc id=e\n\n1\tf\n"
        ),
        "a.conllu",
    )
    assert documents(path) == [
        ("a", None, None),
        ("b", "s1", "d/1 x"),
        ("c", None, "d/1 x"),
        ("d", "s2", None),
        ("f", None, "e"),
    ]
    assert {document for *_, document in documents(path, ignore_ids=True)} == {None}


CONLL_2012 = """\
#begin document (bc/cctv/00/cctv_0000); part 000
bc/cctv/00/cctv_0000 0 0 In IN (TOP(S*
bc/cctv/00/cctv_0000 0 1 it PRP *

bc/cctv/00/cctv_0000 0 0 Yes UH *

#end document
#begin document (bc/cctv/00/cctv_0000); part 012
bc/cctv/00/cctv_0000 12 0 # SYM *
#end document
"""


@pytest.mark.parametrize("suffix", ["v4_gold_conll", "gold_conll", "v4_auto_conll", "conll"])
def test_conll_2012_has_its_words_in_the_fourth_column_and_names_documents(
    corpus: MakeCorpus, suffix: str
):
    path = corpus(CONLL_2012, f"a.{suffix}")
    assert documents(path) == [
        ("In it", None, "bc/cctv/00/cctv_0000_0"),
        ("Yes", None, "bc/cctv/00/cctv_0000_0"),
        ("#", None, "bc/cctv/00/cctv_0000_12"),
    ]
    assert documents(path, token_column=5, ignore_ids=True) == [
        ("IN PRP", None, None),
        ("UH", None, None),
        ("SYM", None, None),
    ]


@pytest.mark.parametrize(
    ("content", "name"), [(CONLLU, "a.conllu"), (CONLL_2012, "a.v4_gold_conll")]
)
def test_documents_are_groups_of_e2e_coref_and_no_id_is_lost(
    elmo: Elmo, model: Path, corpus: MakeCorpus, tmp_path: Path, content: str, name: str
):
    path, out = corpus(content, name), tmp_path / "out.h5"
    result = elmo("embed", path, out, "--model", model, "--layout", "e2e-coref")
    assert result.exit_code == 0, result.output
    is_2012 = name.endswith("gold_conll")
    groups = (
        {"bc:cctv:00:cctv_0000_0": ["0", "1"], "bc:cctv:00:cctv_0000_12": ["0"]}
        if is_2012
        else {"d": ["0", "1"]}
    )
    with h5py.File(out) as file:
        assert {name: list(group) for name, group in file.items()} == groups
    with open_features(out) as features:
        assert features.keys() == (
            [f"{g}/{i}" for g, names in groups.items() for i in names]
            if is_2012
            else ["fr-1 a", "d/1"]
        )
        arrays = list(features)
    assert (
        elmo(
            "convert", out, tmp_path / "again.h5", "--layout", "e2e-coref", "--dtype", "float16"
        ).exit_code
        == 0
    )
    with h5py.File(tmp_path / "again.h5") as file:
        assert {name: list(group) for name, group in file.items()} == groups
    assert elmo("embed", path, tmp_path / "plain.h5", "--model", model).exit_code == 0
    assert all(
        np.array_equal(array, plain)
        for array, plain in zip(arrays, read_features(tmp_path / "plain.h5").values(), strict=True)
    )
    with h5py.File(tmp_path / "plain.h5") as file:
        assert file["0"].attrs.get("id") == (None if is_2012 else "fr-1 a")


def test_documents_are_the_same_after_a_run_that_was_stopped(corpus: MakeCorpus, tmp_path: Path):
    window = list(Corpus([corpus(CONLLU, "a.conllu")]).read())
    write_part(tmp_path / "part", window, [np.zeros((1, 1, 1), np.float32)] * 2)
    assert read_part(tmp_path / "part")[0] == window
    assert [sentence.document for sentence in window] == ["d", "d"]


CONLL_2003 = "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\n\n# SYM O O\n"


def test_conll_gives_the_first_column_or_another(corpus: MakeCorpus):
    path = corpus(CONLL_2003, "eng.train")
    assert [s.tokens for s in read_conll(path)] == [["EU", "rejects"], ["#"]]
    assert [s.tokens for s in read_conll(path, ReadOptions(token_column=2))] == [
        ["NNP", "VBZ"],
        ["SYM"],
    ]


def test_conll_2012_and_tabs_are_read(corpus: MakeCorpus):
    path = corpus(
        "#begin document (x); part 000\nx 0 0 In IN\nx 0 1 it PRP\n\n#end document\n", "a.conll"
    )
    assert [s.tokens for s in read_conll(path, ReadOptions(token_column=4))] == [["In", "it"]]
    assert [s.tokens for s in read_conll(corpus("New York\tO\n", "b.conll"))] == [["New York"]]


def test_a_column_that_is_not_there_is_named(corpus: MakeCorpus):
    with pytest.raises(CorpusError, match=r"a\.conll:2: has 1 column, fewer than --token-column 2"):
        list(read_conll(corpus("a X\nb\n", "a.conll"), ReadOptions(token_column=2)))
    with pytest.raises(CorpusError, match=r"a\.conll:1: column 2 is empty"):
        list(read_conll(corpus("a\t\tX\n", "a.conll"), ReadOptions(token_column=2)))


@pytest.mark.parametrize("name", ["a.conll", "a.conllu"])
def test_sentences_that_never_end_are_refused(
    corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch, name: str
):
    monkeypatch.setattr(conll, "MAX_TOKENS", 10)
    with pytest.raises(CorpusError, match=rf"{name}:1: 10 lines follow without a blank line"):
        Corpus([corpus("1\ta\n" * 11, name)]).scan()


def test_a_sentence_without_words_is_blank(corpus: MakeCorpus):
    with pytest.raises(CorpusError, match=r"1 blank sentence \(1\)"):
        Corpus([corpus("# sent_id = 1\n\n# sent_id = 2\n1\ta\n", "a.conllu")]).scan()


def test_equal_ids_are_an_error_that_may_be_ignored(corpus: MakeCorpus):
    path = corpus("# sent_id = 1\n1\ta\n\n# sent_id = 1\n1\tb\n", "a.conllu")
    with pytest.raises(
        CorpusError,
        match=(
            r"a\.conllu: sentence 2 has the id '1' of .*a\.conllu: sentence 1; make ids unique, or "
            r"do not use them .--ignore-ids"
        ),
    ):
        Corpus([path]).scan()
    assert Corpus([path], reading=ReadOptions(ignore_ids=True)).scan().sentences == 2


def test_a_treebank_is_read_whole():
    treebank, text = (
        shared("eval", "pos_en_ewt", "dev.conllx"),
        shared("eval", "pos_en_ewt", "dev.txt"),
    )
    assert [s.tokens for s in Corpus([treebank]).read()] == [
        line.split(" ") for line in text.read_text(encoding="utf-8").splitlines()
    ]
    tags = shared("eval", "pos_en_ewt", "dev.tsv")
    assert [s.tokens for s in Corpus([tags], reading=ReadOptions(format="conll")).read()] == [
        s.tokens for s in Corpus([treebank]).read()
    ]

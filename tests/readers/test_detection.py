"""Other formats given as text: which first lines are rejected, and which are text."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
from click.testing import Result

from elmo_cli.errors import CorpusError
from elmo_cli.readers.corpus import Corpus
from elmo_cli.readers.detection import detect_format
from elmo_cli.readers.lines import read_lines
from elmo_cli.readers.options import ReadOptions, raise_error
from tests.conftest import SHARED, shared
from tests.helpers.corpora import TEXTS

MakeCorpus = Callable[..., Path]
Elmo = Callable[..., Result]

MARKUP = {
    "fasta": [
        ">a\nMKTLLV\n",
        ">sp|P1|X_Y Some protein\nMKT\nMKTAYIAKQR*\n;old\n>b\nmktayiakqr\n",
        ">a\n" + "mktayiakqr" * 3,
        "\n\n>a\nMKTLLV\n",
    ],
    "conllu": [
        "# sent_id = 1\n1\tThe\tthe\n2\tcat\tcat\n\n# a comment\n1\tx\tx\n",
        "1\tThe" + "\t_" * 8 + "\n2\tcat" + "\t_" * 8 + "\n",
        "1-2\tDu"
        + "\t_" * 8
        + "\n1\tde"
        + "\t_" * 8
        + "\n2\tle"
        + "\t_" * 8
        + "\n2.1\tx"
        + "\t_" * 8
        + "\n",
        "# newdoc id = d\n# text = The\n1\tThe\n",
        "# global.columns = ID FORM\n\n1\ta\n",
    ],
    "conll": [
        "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\n",
        "#begin document (bc/cctv/00/cctv_0000); part 000\n",
        "What O\nis O\nthis O\n\nMiramar B-LOC\n? O\n",
        "New York\tB-LOC\nis\tO\nbig\tO\n",
        "a\tO\n" * 8,
    ],
    "jsonl": ['{"tokens": ["a"]}\n', '{"text": "a b"}\n{"text": "c"}\n', '["a", "b"]\n["c"]\n'],
}
TEXT = [
    "{\n",
    "{ }\n",
    "[ 12 ]\n[ 13 ]\n",
    "[ See also ]\n",
    '["a", "b"]\n',
    '{"a": 1}\nThe cat\n',
    "> Hello there\nHELLO\n",
    ">be me\n>at home\nLOL\n",
    ">be me\n>at home\nnobody else was there\nHELLO\n",
    ">>> print\nHELLO\n",
    "# A title\nSome text .\n",
    "# 1\n# 2\n",
    "# sent_id = 1\nThe cat sat .\n",
    "1\tThe\tcat\n2\tsat\t.\n",
    "1 The cat\n2 sat .\n",
    "1\n2\n3\n",
    "-DOCSTART-\nEU rejects German call\n",
    "Jack O\nJill O\n",
    "O\nO\nO\nO\nO\nO\nO\nO\n",
    "The cat\nsat here\n\nIt slept\n",
    "",
    "\n\n\n",
]


@pytest.mark.parametrize(
    ("name", "content"),
    [(name, content) for name, contents in MARKUP.items() for content in contents],
)
def test_what_is_clearly_another_format_is_refused_unless_it_is_called_text(
    corpus: MakeCorpus, name: str, content: str
):
    path = corpus(content)
    with pytest.raises(
        CorpusError,
        match=rf"corpus\.txt: looks like .* pass --input-format {name}, or --input-format text if",
    ):
        Corpus([path], "skip").scan()
    assert Corpus([path], "skip", ReadOptions(format="text")).scan().sentences == len(
        content.splitlines()
    )


@pytest.mark.parametrize("content", TEXT)
def test_a_text_is_read_as_one(corpus: MakeCorpus, content: str):
    assert Corpus([corpus(content)], "skip").scan().sentences == len(content.splitlines())


@pytest.mark.parametrize("name", [name for name in TEXTS if name not in ("text", "csv", "tsv")])
def test_each_format_is_detected(name: str):
    sentences = [list("MKTAYI"), list("GG")]
    content = TEXTS[name](sentences).replace(" NN O", " NN B-X")
    assert detect_format(content.splitlines()) == name


def test_the_refusal_is_one_line_on_the_command_line(
    elmo: Elmo, model: Path, corpus: MakeCorpus, tmp_path: Path
):
    path = corpus(MARKUP["conll"][2])
    result = elmo("embed", path, tmp_path / "out.h5", "--model", model)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "--input-format conll" in result.stderr
    assert "--blank-lines" not in result.stderr
    assert (
        elmo(
            "embed", path, tmp_path / "out.h5", "--model", model, "--input-format", "conll"
        ).exit_code
        == 0
    )


def test_conllu_under_a_name_of_conll_is_refused(corpus: MakeCorpus):
    path = corpus(MARKUP["conllu"][0], "a.conll")
    with pytest.raises(
        CorpusError,
        match=(
            r"a\.conll: looks like CoNLL-U .* pass --input-format conllu, or --input-format conll "
            r"if"
        ),
    ):
        Corpus([path]).scan()
    assert Corpus([path], reading=ReadOptions(token_column=1)).scan().sentences == 2


def test_blank_lines_between_rows_of_one_width_are_no_reason_to_drop_them(corpus: MakeCorpus):
    with pytest.raises(
        CorpusError,
        match=r"or, if each line is a token and a blank line ends a sentence, --input-format conll",
    ):
        Corpus([corpus("The DT\ncat NN\n\nIt PRP\nslept VBD\n")]).scan()
    with pytest.raises(CorpusError, match=r"keep to write empty arrays$"):
        Corpus([corpus("The cat\n\nIt slept here\nfor an hour\n")]).scan()


MAGIC = {
    b"PAR1": "parquet",
    b"ARROW1\0\0": "arrow",
    b"\xff\xff\xff\xff\0\0": "arrow",
    b"\x1f\x8b\x08": r"\.gz",
    b"BZh91AY&SY": r"\.bz2",
}


@pytest.mark.parametrize(("start", "words"), MAGIC.items())
def test_binary_files_are_named(corpus: MakeCorpus, start: bytes, words: str):
    with pytest.raises(CorpusError, match=rf"corpus\.txt: is .*{words}"):
        Corpus([corpus(start + bytes(99))]).scan()


def texts() -> list[Path]:
    return sorted(
        [
            *SHARED.glob("eval/*/*.txt"),
            *SHARED.glob("messy/*.txt"),
            Path("sample_data/corpus.txt").resolve(),
        ]
    )


@pytest.mark.parametrize("path", texts(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_texts_at_hand_are_text(path: Path):
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        assert detect_format([line.rstrip("\r\n") for line in islice(lines, 100)]) is None


def test_a_hundred_lines_from_anywhere_in_the_held_out_corpora_are_text():
    paths = sorted(shared("corpus", "heldout").glob("*.txt.zst"))
    for path in paths:
        lines = [line for _, line in islice(read_lines(path, "strict", raise_error), 20_000)]
        assert [at for at in range(0, len(lines), 20) if detect_format(lines[at : at + 100])] == []

"""Labels: where they are read from, and how they are aligned with features."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from elmo_cli.downstream.labels import (
    LabelledSentence,
    align,
    kept_labels,
    labels_of_features,
    read_labels,
)
from elmo_cli.errors import CorpusError
from elmo_cli.features.formats import open_writer, output_target
from elmo_cli.features.reader import open_features
from elmo_cli.features.spec import FeatureSpec, WriteOptions
from elmo_cli.readers.options import ReadOptions
from elmo_cli.types import Sentence
from tests.helpers.corpora import write_arrow, write_parquet

CONLLU = """# sent_id = a
1-2\tdu\t_\t_\t_\t_\t_\t_\t_\t_
1\tde\tde\tADP\tIN\t_\t2\tcase\t_\tSpaceAfter=No
2\tle\tle\tDET\tDT\tGender=Masc|Number=Sing\t0\troot\t_\t_
2.1\t_\t_\t_\t_\t_\t_\t_\t_\t_

1\toui\toui\tINTJ\tUH\t_\t0\troot\t_\tNE=B-X
"""


def write_text(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def pairs(found: Sequence[LabelledSentence]) -> list:
    return [(sentence.tokens, sentence.labels) for sentence in found]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("upos", [["ADP", "DET"], ["INTJ"]]),
        ("xpos", [["IN", "DT"], ["UH"]]),
        ("DEPREL", [["case", "root"], ["root"]]),
        ("feats:Number", [["_", "Sing"], ["_"]]),
        ("misc:NE", [["_", "_"], ["B-X"]]),
        ("4", [["ADP", "DET"], ["INTJ"]]),
    ],
)
def test_conllu_has_labels_by_the_name_of_a_column_and_of_a_feature(
    tmp_path: Path, label: str, expected: list
):
    found = list(read_labels(write_text(tmp_path / "a.conllu", CONLLU), label))
    assert pairs(found) == [(["de", "le"], expected[0]), (["oui"], expected[1])]
    assert found[0].place(1).endswith("a.conllu:4")


def test_conllu_plus_names_its_columns(tmp_path: Path):
    text = "# global.columns = ID FORM SEM:ROLE\n1\tde\tAGENT\n2\tle\tTHEME\n"
    assert pairs(list(read_labels(write_text(tmp_path / "a.conllup", text), "sem:role"))) == [
        (["de", "le"], ["AGENT", "THEME"])
    ]


def test_a_column_file_has_labels_by_number(tmp_path: Path):
    path = write_text(
        tmp_path / "a.conll", "-DOCSTART- O\n\nU.N. NNP B-ORG\nofficial NN O\n\n# CD O\n"
    )
    assert pairs(list(read_labels(path, "3"))) == [
        (["U.N.", "official"], ["B-ORG", "O"]),
        (["#"], ["O"]),
    ]


def test_tables_have_labels_of_tokens_or_of_sentences(tmp_path: Path):
    sentences = [["the", "cat"], ["yes"]]
    table = pa.table(
        {
            "tokens": sentences,
            "tags": [["DT", "NN"], ["UH"]],
            "kind": pa.array([3, 7]).dictionary_encode(),
        }
    )
    jsonl = write_text(
        tmp_path / "a.jsonl", '{"tokens": ["the", "cat"], "tags": ["DT", "NN"], "kind": 3}\n'
    )
    for path in (
        write_parquet(table, tmp_path / "a.parquet"),
        write_arrow(table, tmp_path / "a.arrow"),
    ):
        assert pairs(list(read_labels(str(path), "tags"))) == [
            (["the", "cat"], ["DT", "NN"]),
            (["yes"], ["UH"]),
        ]
        assert pairs(list(read_labels(str(path), "kind"))) == [
            (["the", "cat"], "3"),
            (["yes"], "7"),
        ]
    assert pairs(list(read_labels(jsonl, "tags"))) == [(["the", "cat"], ["DT", "NN"])]
    assert pairs(list(read_labels(jsonl, "kind"))) == [(["the", "cat"], "3")]
    csv = write_text(tmp_path / "a.csv", 'text,kind\n"the cat, yes",x\n')
    assert pairs(list(read_labels(csv, "kind", ReadOptions(column=("text",))))) == [
        (["the", "cat,", "yes"], "x")
    ]


@pytest.mark.parametrize(
    ("name", "text", "label", "said"),
    [
        (
            "a.conllu",
            CONLLU.replace("INTJ", ""),
            "upos",
            r"a.conllu:7: the label in column 4 is empty",
        ),
        (
            "a.conllu",
            CONLLU.replace("INTJ", "_"),
            "upos",
            r"a.conllu:7: the label in column 4 is empty",
        ),
        ("a.conllu", CONLLU, "pos", "choose --label upos, xpos, deprel, feats:NAME, misc:NAME"),
        (
            "a.conllu",
            CONLLU,
            "feats:Nmber",
            "no token has 'Nmber' among its feats; there are Gender, Number",
        ),
        ("a.conll", "a O\n", "3", "a.conll:1: has 2 columns, and column 3 is wanted"),
        ("a.conll", "a O\n", "ner", "choose one by its number"),
        ("a.txt", "a b\n", "2", "is read as text, which has no labels"),
        (
            "a.tsv",
            "text\tlabel\na b\tx\n",
            "2",
            "its columns: text, label; choose one by --label .*--input-format conll",
        ),
        ("a.tsv", "tokens\tlabel\na b\t \n", "label", "row 1: its label is empty"),
        ("a.jsonl", '{"tokens": ["a"], "label": null}\n', "label", "row 1: its label is empty"),
        ("a.jsonl", '{"tokens": ["a"], "label": 0.5}\n', "label", "its label is the number 0.5"),
        (
            "a.jsonl",
            '{"tokens": ["a"], "label": ["x", "y"]}\n',
            "label",
            "has 2 labels for 1 tokens",
        ),
        (
            "a.jsonl",
            '{"tokens": ["a"], "label": "x"}\n',
            "sense",
            "its fields: tokens, label; choose one by --label",
        ),
        (
            "a.jsonl",
            '{"tokens": ["a"], "l": "x"}\n{"tokens": ["a"], "l": ["x"]}\n',
            "l",
            "row 2: has a list of labels, and the rows before one",
        ),
    ],
)
def test_labels_that_are_not_there_are_refused_in_a_line(
    tmp_path: Path, name: str, text: str, label: str, said: str
):
    with pytest.raises(CorpusError, match=said) as problem:
        list(read_labels(write_text(tmp_path / name, text), label))
    assert "\n" not in str(problem.value)


def write_features(
    path: Path,
    layout: str,
    sentences: list[Sentence],
    *,
    pooled: bool = False,
    kept: pa.Schema | None = None,
) -> Path:
    description = FeatureSpec(("layer_0", "layer_1"), 4, pooled=pooled, kept=kept)
    arrays = [
        np.full(description.shape(len(sentence.tokens)), int(sentence.key), np.float32)
        for sentence in sentences
    ]
    with open_writer(layout, output_target(path, layout), description, WriteOptions()) as store:
        store.write(sentences, arrays)
    return path


@pytest.mark.parametrize("layout", ["allennlp", "packed", "parquet", "jsonl"])
def test_features_are_aligned_with_labels_and_blank_sentences_left_out(tmp_path: Path, layout: str):
    texts = ["the cat", "", "yes"]
    sentences = [Sentence(str(i), text.split(), text) for i, text in enumerate(texts)]
    path = write_features(
        tmp_path / f"a.{'h5' if layout in ('allennlp', 'packed') else layout}", layout, sentences
    )
    labelled = [
        LabelledSentence(["the", "cat"], ["DT", "NN"], "x", (1, 2)),
        LabelledSentence(["yes"], ["UH"], "x", (4,)),
    ]
    with open_features(path) as features:
        windows = list(align(features, labelled, "x"))
        assert [i for window in windows for i in window.indices] == [0, 2]
        assert [one for window in windows for one in window.labelled] == labelled


def test_other_numbers_and_other_tokens_are_refused_with_their_place(tmp_path: Path):
    sentences = [Sentence(str(i), text.split(), text) for i, text in enumerate(["the cat", "yes"])]
    first, second = (
        LabelledSentence(["the", "cat"], ["DT", "NN"], "x", (1, 2)),
        LabelledSentence(["yes"], ["UH"], "x", (4,)),
    )
    with open_features(write_features(tmp_path / "a.h5", "packed", sentences)) as features:
        for labelled, said in [
            ([first], "x: has labels of 1 sentences, and .*a.h5 has 2"),
            ([first, second, second, second], "x: has labels of 4 sentences, and .*a.h5 has 2"),
            (
                [first._replace(tokens=["the", "dog"]), second],
                "x:2: token 2 of the sentence is 'dog', and 'cat' in .*sentence 1",
            ),
            (
                [first, second._replace(tokens=["yes", "!"], lines=(4, 5))],
                "x:4: the sentence has 2 tokens, and 1 in .*sentence 2",
            ),
        ]:
            with pytest.raises(CorpusError, match=said):
                list(align(features, labelled, "x"))


@pytest.mark.parametrize("layout", ["parquet", "arrow", "jsonl"])
def test_labels_are_found_in_a_kept_column(tmp_path: Path, layout: str):
    sentences = [
        Sentence("0", ["a", "b"], "a b", kept=("x",)),
        Sentence("1", ["c"], "c", kept=("y",)),
    ]
    path = write_features(
        tmp_path / f"a.{layout}",
        layout,
        sentences,
        pooled=True,
        kept=pa.schema([("kind", pa.string())]),
    )
    with open_features(path) as features:
        assert pairs(list(labels_of_features(features, "kind"))) == [
            (["a", "b"], "x"),
            (["c"], "y"),
        ]
        with pytest.raises(CorpusError, match=r"kind.*(--keep sense|--label)"):
            list(labels_of_features(features, "sense"))


def test_a_feature_file_without_kept_columns_advises_keep(tmp_path: Path):
    path = write_features(tmp_path / "a.h5", "packed", [Sentence("0", ["a"], "a")])
    with (
        open_features(path) as features,
        pytest.raises(CorpusError, match=r"it has no kept columns; embed with --keep kind"),
    ):
        kept_labels(features, "kind")

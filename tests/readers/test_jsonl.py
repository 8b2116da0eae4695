import json
from collections.abc import Callable
from pathlib import Path

import pytest

from elmo_cli.errors import CorpusError
from elmo_cli.readers import json_types
from elmo_cli.readers.corpus import Corpus
from elmo_cli.readers.jsonl import read_jsonl
from elmo_cli.readers.options import ReadOptions

MakeCorpus = Callable[..., Path]


def test_a_field_holds_tokens_or_a_text_and_a_line_may_be_the_list(corpus: MakeCorpus):
    path = corpus('{"tokens": ["a b", "c"]}\n{"tokens": "a b c", "x": [1e999]}\n["d"]\n', "a.jsonl")
    assert [sentence.tokens for sentence in read_jsonl(path)] == [
        ["a b", "c"],
        ["a", "b", "c"],
        ["d"],
    ]


def test_fields_are_chosen_by_name(corpus: MakeCorpus):
    path = corpus('{"text": "a\\tb c", "n": 7}\n{"n": "x", "text": "d"}\n', "a.jsonl")
    found = list(read_jsonl(path, ReadOptions(field=("text",), id_field="n", separator="tab")))
    assert [(sentence.tokens, sentence.id) for sentence in found] == [
        (["a", "b c"], "7"),
        (["d"], "x"),
    ]


def test_escapes_are_characters(corpus: MakeCorpus):
    path = corpus('["\\u00e9", "\\ud83d\\ude00", "\u2028"]\n', "a.jsonl")
    assert [sentence.tokens for sentence in read_jsonl(path)] == [["é", "😀", "\u2028"]]


def found(path: Path, **reading: object) -> list[tuple[str, list[str], str | None]]:
    return [(s.key, s.tokens, s.id) for s in Corpus([path], reading=ReadOptions(**reading)).read()]


def test_a_list_of_lists_is_a_document_whose_sentences_are_numbered(corpus: MakeCorpus):
    path = corpus(
        '{"id": "d", "tokens": [["a", "b"], ["c"]]}\n{"id": 7, "tokens": ["e"]}\n[["f"], "g h"]\n',
        "a.jsonl",
    )
    assert found(path) == [
        ("0", ["a", "b"], "0/0"),
        ("1", ["c"], "0/1"),
        ("2", ["e"], None),
        ("3", ["f"], "2/0"),
        ("4", ["g", "h"], "2/1"),
    ]
    path = corpus(
        '{"id": "d", "tokens": [["a", "b"], ["c"]]}\n{"id": 7, "tokens": ["e"]}\n', "b.jsonl"
    )
    assert [id_ for _, _, id_ in found(path, id_field="id")] == ["d/0", "d/1", "7"]


def test_a_list_of_texts_is_a_document_when_asked(corpus: MakeCorpus):
    path = corpus('{"text": ["a b", "c"]}\n{"text": "d e"}\n{"text": [["f"]]}\n', "a.jsonl")
    assert found(path, field=("text",)) == [
        ("0", ["a b", "c"], None),
        ("1", ["d", "e"], None),
        ("2", ["f"], "2/0"),
    ]
    assert found(path, field=("text",), documents=True) == [
        ("0", ["a", "b"], "0/0"),
        ("1", ["c"], "0/1"),
        ("2", ["d", "e"], None),
        ("3", ["f"], "2/0"),
    ]


def test_a_document_without_sentences_and_an_empty_sentence_are_blank_and_named_by_line(
    corpus: MakeCorpus,
):
    path = corpus('["a"]\n{"tokens": []}\n{"tokens": [["b"], []]}\n', "a.jsonl")
    with pytest.raises(CorpusError, match=r"2 blank lines \(2, 3\)"):
        Corpus([path], reading=ReadOptions(documents=True)).scan()
    with pytest.raises(
        CorpusError, match=r"a\.jsonl:2: field 'tokens': sentence 2: token 1 is a number \(5\)"
    ):
        Corpus([corpus('["a"]\n{"tokens": [["b"], [5]]}\n', "a.jsonl")]).scan()


VALUES = {
    "int64": [1, None, 2],
    "double": [1, 2.5],
    "string": ["x", "", None],
    "bool": [True, False],
    "list<item: string>": [["a"], [], None],
    "list<item: double>": [[1], [2.5]],
}


@pytest.mark.parametrize(("type_", "values"), VALUES.items())
def test_fields_that_are_kept_have_the_type_of_their_values(
    corpus: MakeCorpus, type_: str, values: list
):
    path = corpus(
        "".join(json.dumps({"tokens": "a", "x": value}) + "\n" for value in values), "a.jsonl"
    )
    source = Corpus([path], reading=ReadOptions(keep=("x",)))
    assert str(source.kept_fields().field("x").type) == type_
    assert [s.kept for s in source.read()] == [(value,) for value in values]


def test_a_field_that_is_missing_is_null_and_objects_are_kept_as_json(corpus: MakeCorpus):
    path = corpus(
        (
            '{"tokens": "a", "x": {"é": [1]}}\n{"tokens": "b"}\n\n{"tokens": "c", "x": [{}], "y": '
            "null}\n"
        ),
        "a.jsonl",
    )
    source = Corpus([path], "skip", ReadOptions(keep=("x", "y")))
    assert [s.kept for s in source.read()] == [('{"é": [1]}', None), (None, None), ("[{}]", None)]
    assert [str(field.type) for field in source.kept_fields()] == ["string", "string"]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (
            '{"tokens": "a", "x": 1}\n{"tokens": "a", "x": "b"}\n',
            r"a\.jsonl: lines 1 to 2: the values of field 'x' do not have a common type",
        ),
        ('{"tokens": "a", "x": 1}\n{"tokens": "a", "x": true}\n', "do not have a common type"),
        ('{"tokens": "a", "x": 1e400}\n{"tokens": "a", "x": [1]}\n', "do not have a common type"),
        ('{"tokens": "a", "x": 1' + "0" * 30 + "}\n", "do not have a common type"),
        (
            '{"tokens": "a", "y": 1}\n',
            r"a\.jsonl: has no field 'x'; its fields: tokens, y; choose one by --keep",
        ),
        ('["a"]\n{"tokens": "a", "x": 1}\n', r"a\.jsonl:1: is not a JSON object"),
        ('{"tokens": "a", "x": "\\ud800"}\n', "do not have a common type"),
    ],
)
def test_fields_that_cannot_be_kept_are_named(corpus: MakeCorpus, lines: str, words: str):
    with pytest.raises(CorpusError, match=words):
        Corpus([corpus(lines, "a.jsonl")], reading=ReadOptions(keep=("x",))).scan()


def test_types_are_found_over_all_lines(corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(json_types, "BATCH", 2)
    lines = [None, None, 1, 2, 2.5, None]
    path = corpus(
        "".join(json.dumps({"tokens": "a", "x": value}) + "\n" for value in lines), "a.jsonl"
    )
    assert (
        str(Corpus([path], reading=ReadOptions(keep=("x",))).kept_fields().field("x").type)
        == "double"
    )
    path.write_text(path.read_text() + '{"tokens": "a", "x": "text"}\n')
    with pytest.raises(CorpusError, match="lines 7 to 7: the values of field 'x' do not"):
        Corpus([path], reading=ReadOptions(keep=("x",))).scan()


def test_surrogates_of_fields_that_are_not_read_do_no_harm(corpus: MakeCorpus):
    assert found(corpus('{"tokens": "a", "x": "\\ud800"}\n', "a.jsonl")) == [("0", ["a"], None)]


def test_jsonlines_is_a_suffix(corpus: MakeCorpus):
    assert found(corpus('["a"]\n', "a.jsonlines")) == [("0", ["a"], None)]


BAD = {
    '{"tokens": ["a"}': r"is not JSON \(.* at character 16\); a line has to be one JSON object",
    "a b c": r"is not JSON \(Expecting value at character 1\)",
    '{"tokens": ["a"]} {"tokens": ["b"]}': r"is not JSON \(Extra data at character 19\)",
    "[" * 200_000: "is not JSON that can be read",
    "1" * 5000: "is no",
    '"a b"': "is not a JSON object; a line has to be one, or a list of tokens",
    '{"words": ["a"], "id": 1}': (
        "has no field 'tokens'; its fields: words, id; choose one by --field"
    ),
    '{"tokens": null}': "field 'tokens' is null; it has to be a text or a list of tokens",
    '{"tokens": 5}': r"field 'tokens' is a number \(5\)",
    '{"tokens": {"a": 1}}': "field 'tokens' is an object",
    '{"tokens": ["a", 5]}': (
        r"field 'tokens': token 2 is a number \(5\); every token has to be a text"
    ),
    '{"tokens": ["a", ["b"]]}': "field 'tokens': token 2 is a list",
    '["a", null]': "the list: token 2 is null",
    '["a", ""]': "the list: token 2 is an empty text",
    '["a", true]': "the list: token 2 is true or false",
    '["\\ud800"]': r"contains half a surrogate pair \(\\ud800\)",
}


@pytest.mark.parametrize(("line", "words"), BAD.items(), ids=[line[:20] for line in BAD])
def test_a_bad_line_is_named(corpus: MakeCorpus, line: str, words: str):
    with pytest.raises(CorpusError, match=rf"a\.jsonl:2:? {words}"):
        list(read_jsonl(corpus(f'["ok"]\n{line}\n', "a.jsonl")))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"tokens": "a"}', "has no field 'id'; its fields: tokens; choose one by --id-field"),
        (
            '{"tokens": "a", "id": null}',
            "field 'id' is null; the id of a sentence has to be a text or an integer",
        ),
        ('{"tokens": "a", "id": ""}', "field 'id' is empty"),
        ('{"tokens": "a", "id": 1.5}', r"field 'id' is a number \(1.5\)"),
        ('{"tokens": "a", "id": false}', "field 'id' is true or false"),
        ('["a"]', "is not a JSON object"),
    ],
)
def test_a_bad_id_is_named(corpus: MakeCorpus, line: str, words: str):
    with pytest.raises(CorpusError, match=rf"a\.jsonl:1: {words}"):
        list(read_jsonl(corpus(line, "a.jsonl"), ReadOptions(id_field="id")))

from collections.abc import Callable
from pathlib import Path

import pytest

from elmo_cli.errors import CorpusError
from elmo_cli.readers.jsonl import read_jsonl
from elmo_cli.readers.options import ReadOptions

Corpus = Callable[..., Path]


def test_a_field_holds_tokens_or_a_text_and_a_line_may_be_the_list(corpus: Corpus):
    path = corpus('{"tokens": ["a b", "c"]}\n{"tokens": "a b c", "x": [1e999]}\n["d"]\n', "a.jsonl")
    assert [sentence.tokens for sentence in read_jsonl(path)] == [["a b", "c"], ["a", "b", "c"], ["d"]]


def test_fields_are_chosen_by_name(corpus: Corpus):
    path = corpus('{"text": "a\\tb c", "n": 7}\n{"n": "x", "text": "d"}\n', "a.jsonl")
    found = list(read_jsonl(path, ReadOptions(field=("text",), id_field="n", separator="tab")))
    assert [(sentence.tokens, sentence.id) for sentence in found] == [(["a", "b c"], "7"), (["d"], "x")]


def test_escapes_are_characters(corpus: Corpus):
    path = corpus('["\\u00e9", "\\ud83d\\ude00", "\u2028"]\n', "a.jsonl")
    assert [sentence.tokens for sentence in read_jsonl(path)] == [["é", "😀", "\u2028"]]


BAD = {
    '{"tokens": ["a"}': r"is no JSON \(.* at character 16\); a line has to be one JSON object",
    "a b c": r"is no JSON \(Expecting value at character 1\)",
    '{"tokens": ["a"]} {"tokens": ["b"]}': r"is no JSON \(Extra data at character 19\)",
    "[" * 200_000: "is no JSON that can be read",
    "1" * 5000: "is no",
    '"a b"': "is no JSON object; a line has to be one, or a list of tokens",
    '{"words": ["a"], "id": 1}': "has no field 'tokens'; its fields: words, id; choose one by --field",
    '{"tokens": null}': "field 'tokens' is null; it has to be a text or a list of tokens",
    '{"tokens": 5}': r"field 'tokens' is a number \(5\)",
    '{"tokens": {"a": 1}}': "field 'tokens' is an object",
    '{"tokens": ["a", 5]}': r"field 'tokens': token 2 is a number \(5\); every token has to be a text",
    '{"tokens": ["a", ["b"]]}': "field 'tokens': token 2 is a list",
    '["a", null]': "the list: token 2 is null",
    '["a", ""]': "the list: token 2 is an empty text",
    '["a", true]': "the list: token 2 is true or false",
    '["\\ud800"]': r"holds half a surrogate pair \(\\ud800\)",
}


@pytest.mark.parametrize(("line", "words"), BAD.items(), ids=[line[:20] for line in BAD])
def test_a_bad_line_is_named(corpus: Corpus, line: str, words: str):
    with pytest.raises(CorpusError, match=rf"a\.jsonl:2:? {words}"):
        list(read_jsonl(corpus(f'["ok"]\n{line}\n', "a.jsonl")))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"tokens": "a"}', "has no field 'id'; its fields: tokens; choose one by --id-field"),
        ('{"tokens": "a", "id": null}', "field 'id' is null; a sentence's id has to be a text or a whole number"),
        ('{"tokens": "a", "id": ""}', "field 'id' is empty"),
        ('{"tokens": "a", "id": 1.5}', r"field 'id' is a number \(1.5\)"),
        ('{"tokens": "a", "id": false}', "field 'id' is true or false"),
        ('["a"]', "is no JSON object"),
    ],
)
def test_a_bad_id_is_named(corpus: Corpus, line: str, words: str):
    with pytest.raises(CorpusError, match=rf"a\.jsonl:1: {words}"):
        list(read_jsonl(corpus(line, "a.jsonl"), ReadOptions(id_field="id")))

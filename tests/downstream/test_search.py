import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click import unstyle
from click.testing import Result
from rich.cells import cell_len

from elmo_cli.cli.commands.search import WIDTH, _concordance_line
from elmo_cli.downstream.hits import Best, Hit
from elmo_cli.downstream.query import parse_query
from elmo_cli.downstream.sentence_search import SentenceIndex, read_blocks
from elmo_cli.downstream.whitening import fit_transform
from elmo_cli.features.reader import open_features
from tests.downstream.conftest import Write, two_senses

Elmo = Callable[..., Result]
TEXT = """The bank refused to lend money .
He sat on the muddy bank of the river .
By Monday the bank had approved the loan .
A duck swam along the bank of the river .
The cat slept .
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of TEXT by the built-in model: of tokens, and pooled with a label."""
    from click.testing import CliRunner

    from elmo_cli.cli.main import main

    folder = tmp_path_factory.mktemp("search")
    (folder / "corpus.txt").write_text(TEXT)
    rows = [f"{line}\t{'river' if 'river' in line else 'other'}\n" for line in TEXT.splitlines()]
    (folder / "corpus.tsv").write_text("text\tsense\n" + "".join(rows))
    kept = ["--column", "text", "--keep", "sense"]
    for command in (
        [folder / "corpus.txt", folder / "tokens.h5"],
        [folder / "corpus.tsv", folder / "mean.parquet", *kept, "--pool", "mean"],
        [folder / "corpus.txt", folder / "max.parquet", "--pool", "max"],
        [folder / "corpus.txt", folder / "average.parquet", "--layers", "average"],
        [folder / "corpus.txt", folder / "mix.parquet", "--mix", "1,2,0.5,2.0", "--pool", "mean"],
        [folder / "corpus.txt", folder / "state.h5", "--stateful"],
    ):
        assert CliRunner().invoke(main, ["embed", *map(str, command)]).exit_code == 0
    return folder


def hits(result: Result) -> list[dict]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def one_line(result: Result, code: int, *words: str) -> None:
    assert result.exit_code == code, result.output
    assert result.stderr.strip().splitlines()[-1].startswith("Error: ")
    assert code == 2 or len(result.stderr.strip().splitlines()) == 1
    assert all(word in result.stderr for word in words), result.stderr


@pytest.mark.parametrize("name", ["tokens.h5", "mean.parquet", "average.parquet", "mix.parquet"])
@pytest.mark.parametrize("raw", [[], ["--raw"]])
def test_a_sentence_of_the_corpus_is_nearest_to_itself(
    folder: Path, elmo: Elmo, name: str, raw: list[str]
):
    found = hits(elmo("search", folder / name, "-", "--json", "-n", 2, *raw, stdin=TEXT.encode()))
    assert [(hit["key"], hit["text"], hit["position"]) for hit in found[::2]] == [
        (str(i), line, None) for i, line in enumerate(TEXT.splitlines())
    ]
    assert [hit["score"] for hit in found[::2]] == pytest.approx([1] * 5, abs=1e-4)
    assert all(hit["score"] < 0.999 for hit in found[1::2])


def test_a_bracket_that_stands_alone_is_a_token():
    assert parse_query("from [ country ] ?").position is None
    assert parse_query("from [ country ] to the [bank] .").tokens[6] == "bank"


def test_scores_equal_a_computation_on_all_vectors_at_once(folder: Path, elmo: Elmo):
    with open_features(folder / "mean.parquet") as features:
        vectors = np.stack(list(features), axis=1)[[0, 2]].astype(np.float64)
    beside = []
    for layer in vectors:
        values, basis = np.linalg.eigh(np.cov(layer.T, bias=True))
        white = (
            (layer - layer.mean(axis=0))
            @ (basis * (values + 0.1 * values.mean()) ** -0.25)
            @ basis.T
        )
        beside.append(white / np.linalg.norm(white, axis=1, keepdims=True))
    expected = sorted(
        (sum(part[1] @ part[i] for part in beside) / 2 for i in range(5)), reverse=True
    )
    found = hits(elmo("search", folder / "mean.parquet", TEXT.splitlines()[1], "--json"))
    assert [hit["score"] for hit in found] == pytest.approx(expected, abs=1e-3)
    assert found[0]["label"] == "river"


def test_queries_of_a_pipe_are_answered_in_order(folder: Path, elmo: Elmo):
    queries = b"The [bank] of the river\nThe cat slept .\nThe river [bank]\n"
    found = hits(elmo("search", folder / "tokens.h5", "-", "--json", "-n", 1, stdin=queries))
    assert [hit["query"] for hit in found] == queries.decode().splitlines()
    assert [hit["position"] is None for hit in found] == [False, True, False]
    assert found[1]["text"] == "The cat slept ."


@pytest.mark.parametrize("label", [None, "river"])
def test_a_line_of_a_found_word_fits_the_width_with_complete_tokens(label: str | None):
    tokens = [f"{'日本' * (i % 4)}token{i}" for i in range(40)]
    line = unstyle(_concordance_line(Hit(1, 0.5, 0, "0", tokens, 20, label)))
    assert WIDTH - 40 < cell_len(line) <= WIDTH
    *shown, last = line.split()[2:]
    assert {*shown, last} <= {*tokens, "[river]"}
    assert (last == "[river]") == (label is not None)


def test_a_word_in_brackets_finds_its_occurrences(folder: Path, elmo: Elmo):
    query = "He sat on the muddy [BANK] of the river ."
    found = hits(elmo("search", folder / "tokens.h5", query.lower(), "--json"))
    assert len(found) == 4
    assert {hit["text"].split()[hit["position"]] for hit in found} == {"bank"}
    assert found[0]["key"] == "1"
    everywhere = hits(
        elmo("search", folder / "tokens.h5", "The [cat] slept .", "--any-word", "--json")
    )
    assert (everywhere[0]["key"], everywhere[0]["position"], len(everywhere)) == ("4", 1, 10)
    lines = elmo("search", folder / "tokens.h5", query.replace("BANK", "bank")).stdout.splitlines()
    assert len({line.index(" bank ") for line in lines}) == 1


def test_blocks_and_a_file_that_is_read_anew_give_the_same_hits(
    write_features: Write, monkeypatch: pytest.MonkeyPatch
):
    sentences, arrays, _ = two_senses(50)
    path = write_features(sentences, arrays)
    with open_features(path) as features:
        queries = next(read_blocks(features, [0, 2])).vectors[:, :7]
        held = SentenceIndex(features, [0, 2]).search(queries, 5)
        monkeypatch.setattr("elmo_cli.downstream.sentence_search.BLOCK", 8)
        streamed = SentenceIndex(features, [0, 2], held_bytes=0).search(queries, 5)
    assert (held.places == streamed.places).all()
    assert np.allclose(held.scores, streamed.scores, atol=1e-4)


def test_whitening_in_blocks_is_that_of_all():
    random = np.random.default_rng(0)
    vectors = (random.standard_normal((2, 300, 6)) * np.arange(1, 7) + 40).astype(np.float32)
    whole = fit_transform([vectors], 2, 6)
    parts = fit_transform([vectors[:, :7], vectors[:, 7:200], vectors[:, 200:]], 2, 6)
    assert np.allclose(whole(vectors), parts(vectors), atol=1e-4)
    assert np.isfinite(fit_transform([vectors[:, :1].repeat(3, axis=1)], 2, 6)(vectors)).all()


def test_the_best_are_those_of_sorting_all():
    scores = np.random.default_rng(1).integers(0, 9, (3, 40)).astype(np.float32)
    best = Best(3, 6)
    for first in range(0, 40, 7):
        best.add(scores[:, first : first + 7], np.arange(first, min(first + 7, 40)))
    expected = [sorted(range(40), key=lambda i: (-row[i], i))[:6] for row in scores.tolist()]
    assert best.places.tolist() == expected


@pytest.mark.parametrize(
    ("name", "arguments", "code", "words"),
    [
        ("mean.parquet", ["  "], 2, ["is empty"]),
        ("mean.parquet", ["the [river] [bank]"], 2, ["not exactly one bracketed word"]),
        ("mean.parquet", ["the [river bank]"], 2, ["not exactly one bracketed word"]),
        ("mean.parquet", ["the [bank] here"], 1, ["one vector a sentence (mean)"]),
        ("tokens.h5", ["the [bnak] here"], 1, ["'bnak' does not occur", "bank"]),
        ("tokens.h5", ["the bank", "--any-word"], 2, ["one word in [brackets]"]),
        ("tokens.h5", ["the bank", "--layers", "9"], 1, ["layer 9"]),
        ("mean.parquet", ["the bank", "--label", "tone"], 1, ["no column 'tone'", "sense"]),
        ("max.parquet", ["the bank"], 1, ["max-pooled", "--pool mean"]),
        ("state.h5", ["the bank"], 1, ["zero state", "--stateful"]),
    ],
)
def test_a_mistake_is_one_line(
    folder: Path, elmo: Elmo, name: str, arguments: list[str], code: int, words: list[str]
):
    one_line(elmo("search", folder / name, *arguments), code, *words)


def test_an_empty_query_of_a_pipe_is_named_by_its_line(folder: Path, elmo: Elmo):
    one_line(elmo("search", folder / "mean.parquet", "-", stdin=b"The cat\n\n"), 2, "-:2: is empty")


def test_a_model_that_is_not_here_or_another_one_is_told(write_features: Write, elmo: Elmo):
    sentences, arrays, _ = two_senses(3)
    told = {"model": "gone", "model_sha256": "0" * 64, "start_state": "zero", "layers": "all"}
    path = write_features(sentences, arrays, metadata=told)
    one_line(elmo("search", path, "the bank"), 1, "'gone' is not here", "--model DIR")
    one_line(
        elmo("search", path, "the bank", "--model", "tiny"),
        1,
        "a different model than tiny",
        "sha256",
    )
    one_line(
        elmo("search", write_features(sentences, arrays), "the bank"),
        1,
        "does not record its model",
    )
    one_line(
        elmo("search", write_features(sentences, arrays), "the bank", "--model", "tiny"),
        1,
        "12 dimensions",
    )

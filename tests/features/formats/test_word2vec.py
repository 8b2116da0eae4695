"""word2vec's text format: the values of the file, and the features that it cannot represent."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from elmo_cli import open_features
from elmo_cli.errors import FeaturesError, OutputError
from elmo_cli.features.formats import open_writer, output_target
from elmo_cli.features.spec import FeatureSpec, WriteOptions
from elmo_cli.types import Sentence
from tests.cli.test_main import assert_one_line_error
from tests.conftest import read_features

Elmo = Callable[..., Result]
TEXT = "b a b\nc a b .\n"


def parse(path: Path) -> dict[str, np.ndarray]:
    """The words and vectors, by the format's definition."""
    head, *lines = path.read_text(encoding="utf-8").split("\n")
    n, dim = map(int, head.split(" "))
    assert lines.pop() == ""
    assert len(lines) == n
    words = {
        word: np.array(values, dtype=np.float32)
        for word, *values in (line.split(" ") for line in lines)
    }
    assert {len(vector) for vector in words.values()} == {dim}
    return words


def write(
    path: Path, sentences: list[list[str]], arrays: list[np.ndarray], description: FeatureSpec
) -> list[str]:
    with open_writer(
        "word2vec", output_target(path, "word2vec"), description, WriteOptions()
    ) as store:
        store.write(
            [Sentence(str(i), tokens, " ".join(tokens)) for i, tokens in enumerate(sentences)],
            arrays,
        )
    return store.warnings


def test_a_word_type_has_its_vector_of_layer_0(
    elmo: Elmo, model: Path, corpus: Callable[..., Path], tmp_path: Path
):
    path = corpus(TEXT)
    assert elmo("embed", path, tmp_path / "out.vec", "--model", model).exit_code == 0
    assert elmo("embed", path, tmp_path / "all.h5", "--model", model).exit_code == 0
    words, arrays = parse(tmp_path / "out.vec"), read_features(tmp_path / "all.h5")
    assert list(words) == ["b", "a", "c", "."]  # by frequency, then as they occur
    for word, (key, position) in {
        "b": ("0", 0),
        "a": ("0", 1),
        "c": ("1", 0),
        ".": ("1", 3),
    }.items():
        np.testing.assert_allclose(words[word], arrays[key][0, position], atol=1e-6)
    # `convert` takes layer 0
    assert elmo("convert", tmp_path / "all.h5", tmp_path / "converted.txt").exit_code == 0
    np.testing.assert_array_equal(parse(tmp_path / "converted.txt")["c"], arrays["1"][0, 0])


@pytest.mark.parametrize(
    "choice", [["--layers", "top"], ["--layers", "1"], ["--layers", "average"], ["--mix", "0,1,2"]]
)
def test_of_another_layer_it_is_the_mean_over_the_occurrences(
    elmo: Elmo, model: Path, corpus: Callable[..., Path], tmp_path: Path, choice: list[str]
):
    path = corpus(TEXT)
    assert (
        elmo(
            "embed",
            path,
            tmp_path / "words",
            "--output-format",
            "word2vec",
            "--model",
            model,
            *choice,
        ).exit_code
        == 0
    )
    assert elmo("embed", path, tmp_path / "all.h5", "--model", model, *choice).exit_code == 0
    assert elmo("convert", tmp_path / "all.h5", tmp_path / "converted.vec").exit_code == 0
    first, second = (
        array.reshape(-1, array.shape[-1]) for array in read_features(tmp_path / "all.h5").values()
    )
    for name in ("words", "converted.vec"):
        words = parse(tmp_path / name)
        np.testing.assert_allclose(words["b"], (first[0] + first[2] + second[2]) / 3, atol=1e-6)
        np.testing.assert_allclose(words["a"], (first[1] + second[1]) / 2, atol=1e-6)
        np.testing.assert_allclose(words["c"], second[0], atol=1e-6)


def test_white_space_in_a_token_is_written_as_an_underscore(tmp_path: Path):
    arrays = [np.array([[2.0, 0], [4, 0], [6, 2], [1, 1]], np.float32)]
    warnings = write(
        tmp_path / "a.vec",
        [["New York", "New_York", "10\u00a0000", "a"]],
        arrays,
        FeatureSpec(("top",), 2),
    )
    words = parse(tmp_path / "a.vec")
    assert list(words) == ["New_York", "10_000", "a"]
    np.testing.assert_array_equal(words["New_York"], [3, 0])
    [warning] = warnings
    assert "in 2 word types, such as 'New_York' for 'New York'" in warning


def test_the_warning_is_shown(elmo: Elmo, model: Path, corpus: Callable[..., Path], tmp_path: Path):
    path = corpus('{"tokens": ["New York", "is"]}\n', "a.jsonl")
    result = elmo("embed", path, tmp_path / "a.vec", "--field", "tokens", "--model", model)
    assert result.exit_code == 0
    assert "such as 'New_York' for 'New York'" in result.stderr
    assert list(parse(tmp_path / "a.vec")) == ["New_York", "is"]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_values_come_back_bit_for_bit(tmp_path: Path, dtype: str):
    values = np.random.default_rng(0).standard_normal((3, 7)).astype(dtype)
    write(tmp_path / "a.vec", [["x", "é", "日本"]], [values], FeatureSpec(("layer_2",), 7, dtype))
    with open_features(tmp_path / "a.vec") as features:
        assert (features.layout, features.keys(), list(features.token_counts())) == (
            "word2vec",
            ["x", "é", "日本"],
            [1, 1, 1],
        )
        np.testing.assert_array_equal(np.concatenate(list(features)).astype(dtype), values)
        np.testing.assert_array_equal(features[1].astype(dtype), values[1:2])
        assert features.tokens(2) == ["日本"]


def test_what_it_cannot_hold_is_refused_before_anything_is_computed(
    elmo: Elmo, model: Path, corpus: Callable[..., Path], tmp_path: Path
):
    path = corpus(TEXT)
    for options in (["--layers", "all"], ["--layers", "0,2"]):
        assert_one_line_error(
            elmo("embed", path, tmp_path / "a.vec", "--model", model, *options),
            "one vector per word",
            "--layers 0, top",
        )
    assert_one_line_error(
        elmo("embed", path, tmp_path / "a.vec", "--pool", "mean"), "contradict", code=2
    )
    assert_one_line_error(
        elmo("embed", path, tmp_path / "a.vec", "--keys", "id"), "does not name sentences", code=2
    )
    assert_one_line_error(
        elmo("embed", path, "-", "--output-format", "word2vec"),
        "cannot be written to standard output",
        code=2,
    )
    assert (
        elmo("embed", path, tmp_path / "a.h5", "--model", model, "--forget-sentences").exit_code
        == 0
    )
    assert_one_line_error(elmo("convert", tmp_path / "a.h5", tmp_path / "a.vec"), "needs words")
    assert (
        elmo("embed", path, tmp_path / "b.h5", "--model", model, "--layers", "1,2").exit_code == 0
    )
    assert_one_line_error(
        elmo("convert", tmp_path / "b.h5", tmp_path / "a.vec"), "one vector per word"
    )
    assert {p.name for p in tmp_path.iterdir()} == {"corpus.txt", "a.h5", "b.h5"}
    with pytest.raises(OutputError, match="sentence 0 has a token without text"):
        write(
            tmp_path / "a.vec", [["a", ""]], [np.ones((2, 2), np.float32)], FeatureSpec(("top",), 2)
        )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("2 2\na 1 2\n", "has 1 of 2 declared words"),
        ("1 2\na 1\n", r":2: has 1 of 2 values"),
        ("1 2\na 1 x\n", r":2: contains values that are not numbers"),
        ("1 0\na\n", "is damaged"),
    ],
)
def test_damage_is_named(tmp_path: Path, content: str, words: str):
    (tmp_path / "a.vec").write_text(content)
    with pytest.raises(FeaturesError, match=words), open_features(tmp_path / "a.vec") as features:
        list(features)


def test_the_file_of_another_program_is_inspected(elmo: Elmo, tmp_path: Path):
    # word2vec's own has a space at the end
    (tmp_path / "theirs.txt").write_text("2 3\n</s> 0 0 0 \nthe 1 2 -3e-1 \n")
    result = elmo("inspect", tmp_path / "theirs.txt")
    assert result.exit_code == 0, result.output
    assert "layout        word2vec" in result.stdout
    with open_features(tmp_path / "theirs.txt") as features:
        np.testing.assert_array_equal(features[1], np.array([[1, 2, -0.3]], np.float32))

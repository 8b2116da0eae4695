"""Every malformed input of ../shared/messy has the outcome of its manifest."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.conftest import SHARED, max_difference, read_features, shared

MANIFEST = SHARED / "messy" / "MANIFEST.json"
CASES = json.loads(MANIFEST.read_text(encoding="utf-8")) if MANIFEST.exists() else []
Elmo = Callable[..., Result]


@pytest.mark.skipif(not CASES, reason="needs ../shared/messy")
@pytest.mark.parametrize("case", CASES, ids=[case["file"] for case in CASES])
def test_messy_input_does_what_it_ought(elmo: Elmo, model: Path, tmp_path: Path, case: dict):
    out = tmp_path / "out.h5"
    result = elmo("embed", MANIFEST.parent / case["file"], out, "--model", model)
    if case["expect"] == "error":
        assert result.exit_code == 1
        first, *details = result.stderr.splitlines()
        assert first.startswith("Error: ")
        assert case["file"] in first
        assert all(line.startswith("  ") and case["file"] in line for line in details)
        assert list(tmp_path.iterdir()) == []
        return
    assert result.exit_code == 0, result.output
    features = read_features(out)
    assert sorted(features, key=int) == [str(i) for i in range(case["sentences"])]
    expected = case["tokens_per_sentence"] or []
    assert [features[str(i)].shape[1] for i in range(len(expected))] == expected


def embed(elmo: Elmo, model: Path, out: Path, name: str, *options: str) -> Result:
    return elmo("embed", shared("messy", name), out, "--model", model, *options)


@pytest.mark.parametrize(
    "name", ["02_bom.txt", "03_crlf.txt", "36_gzip.txt.gz", "37_file name with space ü.txt"]
)
def test_the_same_text_in_another_coat_gives_the_same_vectors(
    elmo: Elmo, model: Path, tmp_path: Path, name: str
):
    embed(elmo, model, tmp_path / "plain.h5", "01_plain.txt")
    embed(elmo, model, tmp_path / "coat.h5", name)
    assert (
        max_difference(read_features(tmp_path / "plain.h5"), read_features(tmp_path / "coat.h5"))
        == 0
    )


@pytest.mark.parametrize(
    ("name", "blank", "kept"),
    [("09_blank_lines.txt", {1, 3, 4}, {0, 2, 5}), ("10_whitespace_only_lines.txt", {1}, {0, 2})],
)
def test_blank_lines_can_be_kept_or_skipped(
    elmo: Elmo, model: Path, tmp_path: Path, name: str, blank: set[int], kept: set[int]
):
    embed(elmo, model, tmp_path / "kept.h5", name, "--blank-lines", "keep")
    embed(elmo, model, tmp_path / "skipped.h5", name, "--blank-lines", "skip")
    assert {
        int(key)
        for key, array in read_features(tmp_path / "kept.h5").items()
        if array.shape[1] == 0
    } == blank
    assert {int(key) for key in read_features(tmp_path / "skipped.h5")} == kept


def test_all_bad_lines_are_named_at_once(elmo: Elmo, model: Path, tmp_path: Path):
    result = embed(elmo, model, tmp_path / "out.h5", "14_invalid_utf8.txt")
    assert result.stderr.count("is not UTF-8") > 1
    assert (
        embed(
            elmo, model, tmp_path / "out.h5", "14_invalid_utf8.txt", "--encoding-errors", "replace"
        ).exit_code
        == 0
    )


def test_cut_tokens_are_counted_with_an_example(elmo: Elmo, model: Path, tmp_path: Path):
    result = embed(elmo, model, tmp_path / "out.h5", "27_48_49_50_bytes.txt")
    tokens = [
        token
        for line in shared("messy", "27_48_49_50_bytes.txt").read_bytes().splitlines()
        for token in line.split()
    ]
    cut = [token.decode() for token in tokens if len(token) > 48]
    shown = cut[0] if len(cut[0]) <= 60 else cut[0][:60] + "..."
    assert (
        f"tokens truncated to the model's 48 bytes: {len(cut)}, such as {shown!r}" in result.stderr
    )


def test_no_break_spaces_part_tokens_unless_told_otherwise(elmo: Elmo, model: Path, tmp_path: Path):
    counts = []
    for separator in ("whitespace", "space"):
        embed(elmo, model, tmp_path / f"{separator}.h5", "19_nbsp.txt", "--separator", separator)
        counts.append(
            sum(array.shape[1] for array in read_features(tmp_path / f"{separator}.h5").values())
        )
    assert counts[0] > counts[1]


def test_equal_sentences_have_equal_vectors(elmo: Elmo, model: Path, tmp_path: Path):
    embed(elmo, model, tmp_path / "out.h5", "29_duplicates.txt")
    features = read_features(tmp_path / "out.h5")
    assert abs(features["0"] - features["2"]).max() < 1e-6

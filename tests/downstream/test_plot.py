import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import Result

from elmo_cli.downstream.figures import new_figure
from elmo_cli.downstream.islands import name_islands, stop_words
from elmo_cli.downstream.label_places import place_labels
from elmo_cli.downstream.occurrences import Occurrence, WordScan
from elmo_cli.downstream.projection import map_vectors
from elmo_cli.features.reader import open_features
from tests.conftest import SAMPLE
from tests.downstream.conftest import HOSTILE, Write, two_senses

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")
Elmo = Callable[..., Result]


def one_line(result: Result, code: int, *words: str) -> None:
    assert result.exit_code == code, result.output
    assert result.stderr.strip().splitlines()[-1].startswith("Error: ")
    assert code == 2 or len(result.stderr.strip().splitlines()) == 1
    assert all(word in result.stderr for word in words), result.stderr


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def few(write_features: Write) -> Path:
    return write_features(*two_senses(6))


@pytest.fixture
def many(write_features: Write) -> Path:
    return write_features(*two_senses(60))


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf", "html"])
def test_a_picture_of_few_occurrences_is_the_same_twice(
    few: Path, elmo: Elmo, tmp_path: Path, suffix: str
):
    for name in ("a", "b"):
        result = elmo(
            "plot", few, tmp_path / f"{name}.{suffix}", "--word", "BANK", "--color", "sense"
        )
        assert result.exit_code == 0, result.output
        assert "6 occurrences" in result.stderr
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_maps_and_labels_of_many_occurrences_are_in_the_table(
    write_features: Write, elmo: Elmo, tmp_path: Path
):
    sentences, arrays, senses = two_senses(60)
    others = [["the", "cat"]] * 240
    many = write_features(
        sentences + others, arrays + [np.ones((3, 2, 12))] * 240, senses + [""] * 240
    )
    assert (
        elmo(
            "plot",
            many,
            tmp_path / "t.parquet",
            "--word",
            "bank",
            "--color",
            "sense",
            "--context",
            1,
        ).exit_code
        == 0
    )
    table = pq.read_table(tmp_path / "t.parquet").to_pydict()
    assert table["label"] == ["river" if i % 3 == 0 else "money" for i in range(60)]
    assert set(table["context"]) == {"the bank of", "the bank near"}
    assert len(set(zip(table["x_layer_0"], table["y_layer_0"], strict=True))) == 1
    points = np.stack([table["x_layer_2"], table["y_layer_2"]], axis=1)
    distances = np.linalg.norm(points[:, None] - points, axis=-1) + np.eye(60) * 1e9
    assert all(
        table["label"][i] == table["label"][j] for i, j in enumerate(distances.argmin(axis=1))
    )
    assert any("river" in (island or "") for island in table["island"])


def test_an_island_is_named_by_content_words_not_by_function_words():
    sentences = [["an", "bank", "of", "river"]] * 12 + [["the", "bank", "of", "money"]] * 12
    occurrences = [Occurrence(i, 1, str(i), tokens) for i, tokens in enumerate(sentences)]
    places = np.array([[i, 1] for i in range(24)])
    counts = Counter(token for tokens in sentences for token in tokens)
    scan = WordScan(places, counts, n_sentences=200)  # of which the others have other words
    islands = np.repeat([0, 1], 12)
    assert name_islands(islands, occurrences, stop_words(scan)) == ["river", "money"]


def test_labels_of_islands_cover_neither_points_nor_each_other():
    random = np.random.default_rng(0)
    groups = [random.uniform((0, -2), (4, 2), (40, 2)) for _ in range(4)]
    points = np.concatenate(groups)
    figure = new_figure(4.6, 4.7)
    axis = figure.add_subplot()
    axis.scatter(*points.T)
    axis.set(xlim=(-0.2, 4.2), ylim=(-2.8, 2.8))
    texts = [axis.text(0, 0, "three\nshort\nwords", ha="center", va="center") for _ in groups]
    place_labels(axis, texts, points, groups)
    boxes = [text.get_window_extent() for text in axis.texts]
    assert len(boxes) == 4
    pixels = axis.transData.transform(points)
    assert not any(box.contains(*point) for box in boxes for point in pixels)
    assert not any(box.overlaps(other) for i, box in enumerate(boxes) for other in boxes[:i])


def test_a_picture_of_many_occurrences_says_of_how_many(many: Path, elmo: Elmo, tmp_path: Path):
    result = elmo(
        "plot", many, tmp_path / "a.svg", "--word", "bank", "--sample", 45, "--layers", "0,2"
    )
    assert "a sample of 45 of 60 occurrences" in result.stderr
    drawn = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert "45 of 60 occurrences" in drawn
    assert "layer 2" in drawn
    assert "layer 1" not in drawn


@pytest.mark.parametrize("suffix", ["png", "csv", "html"])
def test_hostile_tokens_are_drawn_as_text(
    write_features: Write, elmo: Elmo, tmp_path: Path, suffix: str
):
    sentences, arrays, _ = two_senses(len(HOSTILE))
    sentences = [[*tokens[:4], hostile] for tokens, hostile in zip(sentences, HOSTILE, strict=True)]
    path = write_features(sentences, arrays, [f"{hostile}'\"" for hostile in HOSTILE])
    result = elmo("plot", path, tmp_path / f"a.{suffix}", "--word", "bank", "--color", "sense")
    assert result.exit_code == 0, result.output
    if suffix == "csv":
        rows = read_csv(tmp_path / "a.csv")
        assert {row["right"].split(" ")[-1] for row in rows} == set(HOSTILE)
    if suffix == "html":
        page = (tmp_path / "a.html").read_text(encoding="utf-8")
        assert page.count("</script>") == 2
        data = page.split('id="data">')[1].split("</script>")[0]
        assert not set("<>&\u2028") & set(data)
        assert {right.split(" ")[-1] for right in json.loads(data)["right"]} == set(HOSTILE)


def test_a_list_column_has_a_label_for_each_token(
    write_features: Write, elmo: Elmo, tmp_path: Path
):
    sentences, arrays, _ = two_senses(4)
    path = write_features(sentences, arrays, [[f"{i}{j}" for j in range(5)] for i in range(4)])
    assert (
        elmo("plot", path, tmp_path / "a.parquet", "--word", "bank", "--color", "sense").exit_code
        == 0
    )
    assert set(pq.read_table(tmp_path / "a.parquet")["label"].to_pylist()) == {
        "01",
        "11",
        "21",
        "31",
    }
    path = write_features(sentences, arrays, [["a"]] * 4)
    one_line(
        elmo("plot", path, tmp_path / "b.parquet", "--word", "bank", "--color", "sense"),
        1,
        "1 labels for 5 tokens",
    )


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--word", "bnak"], 1, ["'bnak' does not occur", "bank"]),
        (["--word", "Bank", "--exact"], 1, ["without --exact"]),
        (["--word", "w3"], 1, ["occurs once"]),
        (["--word", "bank", "--layers", "7"], 1, ["layer 7", "layer_0, layer_1, layer_2"]),
        (["--word", "bank", "--layers", "a"], 2, ["is not a list of layers"]),
        (["--word", "bank", "--color", "tone"], 1, ["no column 'tone'", "sense"]),
        (["--word", "the bank"], 2, ["is not one token"]),
        (["--word", "bank", "--layers-overview"], 2, ["pass one of them"]),
        ([], 2, ["Missing option: pass --word"]),
    ],
)
def test_a_mistake_is_one_line(
    few: Path, elmo: Elmo, tmp_path: Path, arguments: list[str], code: int, words: list[str]
):
    one_line(elmo("plot", few, tmp_path / "a.png", *arguments), code, *words)
    assert not (tmp_path / "a.png").exists()


def test_features_without_tokens_and_pooled_ones_are_refused(
    write_features: Write, elmo: Elmo, tmp_path: Path
):
    sentences, arrays, _ = two_senses(3)
    pooled = write_features(
        sentences, [array.mean(axis=1) for array in arrays], pooled=True, metadata={"pool": "mean"}
    )
    one_line(
        elmo("plot", pooled, tmp_path / "a.png", "--word", "bank"),
        1,
        "one vector a sentence (mean)",
    )
    silent = write_features([[""] * 5] * 3, arrays, name="silent.npz")
    one_line(
        elmo("plot", silent, tmp_path / "a.png", "--word", "bank"), 1, "does not record tokens"
    )


def test_a_missing_extra_and_an_unknown_suffix_are_named(
    few: Path, elmo: Elmo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    one_line(elmo("plot", few, tmp_path / "a.gif", "--word", "bank"), 2, ".png")
    monkeypatch.setattr("elmo_cli.downstream.projection.find_spec", lambda name: None)  # noqa: ARG005  # its signature
    one_line(
        elmo("plot", few, tmp_path / "a.png", "--word", "bank"),
        1,
        "pip install 'elmo-cli[analysis]'",
    )


def test_values_that_are_no_numbers_are_told(write_features: Write, elmo: Elmo, tmp_path: Path):
    sentences, arrays, _ = two_senses(3)
    arrays[1][2, 1, 0] = np.nan
    one_line(
        elmo("plot", write_features(sentences, arrays), tmp_path / "a.png", "--word", "bank"),
        1,
        "sentence 1",
        "NaN",
    )


def test_one_vector_and_two_have_a_map():
    assert (map_vectors(np.ones((50, 4), np.float32)) == 0).all()
    points = map_vectors(np.array([[1, 0], [0, 1]], np.float32))
    assert np.isfinite(points).all()
    assert not np.allclose(points[0], points[1])


def test_a_top_layer_alone_has_a_picture(write_features: Write, elmo: Elmo, tmp_path: Path):
    sentences, arrays, _ = two_senses(5)
    path = write_features(sentences, [array[2] for array in arrays], layers=["top"], name="top.h5")
    assert elmo("plot", path, tmp_path / "a.png", "--word", "bank").exit_code == 0
    one_line(
        elmo("plot", path, tmp_path / "a.png", "--word", "bank", "--layers", "2"),
        1,
        "does not contain layer 2; it has top",
    )


@pytest.mark.parametrize("suffix", ["png", "csv"])
def test_the_layers_have_an_overview(few: Path, elmo: Elmo, tmp_path: Path, suffix: str):
    result = elmo("plot", few, tmp_path / f"a.{suffix}", "--layers-overview")
    assert result.exit_code == 0, result.output
    assert "3 layers, 30 vectors" in result.stderr
    if suffix == "csv":
        rows = read_csv(tmp_path / "a.csv")
        with open_features(few) as features:
            lengths = np.concatenate([np.linalg.norm(array, axis=-1) for array in features], axis=1)
        assert [float(row["norm_median"]) for row in rows] == pytest.approx(
            np.median(lengths, axis=1).tolist(), rel=1e-5
        )
        assert float(rows[1]["cka_to_layer_1"]) == pytest.approx(1)
        assert 0 < float(rows[1]["cka_to_layer_2"]) < 1
        assert float(rows[0]["anisotropy"]) == pytest.approx(1)


def test_a_training_run_has_a_curve(elmo: Elmo, tmp_path: Path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "options.json").write_text("{}")
    one_line(elmo("plot", model, tmp_path / "a.png"), 1, "has no log of a training run")
    (model / "log.jsonl").write_text(
        "".join(json.dumps({"step": s, "words": s, "perplexity": 9.0 / s}) + "\n" for s in (1, 2))
    )
    assert elmo("plot", model, tmp_path / "a.png").exit_code == 0
    assert (tmp_path / "a.png").stat().st_size > 1000
    one_line(elmo("plot", model, tmp_path / "a.html"), 2, ".png, .svg, .pdf")
    one_line(elmo("plot", model, tmp_path / "a.png", "--word", "bank"), 2, "need a feature file")


def test_the_sample_corpus_has_a_picture_of_bank(elmo: Elmo, tmp_path: Path):
    text = tmp_path / "sample.txt"
    text.write_text("".join(SAMPLE.read_text(encoding="utf-8").splitlines(keepends=True)[:60]))
    assert elmo("embed", text, tmp_path / "out.h5").exit_code == 0
    assert elmo("plot", tmp_path / "out.h5", tmp_path / "bank.png", "--word", "bank").exit_code == 0

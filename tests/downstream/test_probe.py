"""`elmo probe` on features with a layer that carries the label."""

import json
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from elmo_cli.downstream.fitting import epochs_for
from elmo_cli.downstream.linear import KINDS, LinearProbes, Trainer
from elmo_cli.downstream.moments import Moments
from elmo_cli.features.formats import open_writer, output_target
from elmo_cli.features.spec import FeatureSpec, WriteOptions
from elmo_cli.models.formats.scalar_mix import read_mix
from elmo_cli.nn.scalar_mix import FixedMix
from elmo_cli.types import Sentence

DIM = 8
PLANTED = 2  # the layer that carries the label; layer 0 carries the word
LABELS = ("A", "B", "C")
LAYERS = ("layer_0", "layer_1", "layer_2")
Corpus = list[tuple[list[str], list[str]]]


def make_corpus(n_sentences: int = 120, seed: int = 0) -> Corpus:
    random = np.random.default_rng(seed)
    corpus = []
    for _ in range(n_sentences):
        words = [f"w{number}" for number in random.integers(0, 30, random.integers(2, 8))]
        corpus.append((words, [str(random.choice(LABELS)) for _ in words]))
    return corpus


def vectors(words: Sequence[str], labels: Sequence[str], random: np.random.Generator) -> np.ndarray:
    """(layer, token, dim): layer 0 by the word, layer 1 noise, layer 2 by the label.

    Of different scales and means.
    """
    array = random.standard_normal((3, len(words), DIM)) * 0.3
    for i, (word, label) in enumerate(zip(words, labels, strict=True)):
        array[0, i] += np.random.default_rng(int(word[1:])).standard_normal(DIM)
        array[PLANTED, i, LABELS.index(label)] += 2
    return (array * np.array([5, 1, 0.2])[:, None, None] + 3).astype(np.float32)


def write(
    folder: Path,
    name: str,
    corpus: Corpus,
    *,
    pooled: bool = False,
    suffix: str = ".h5",
    layout: str = "packed",
    **changes: object,
) -> Path:
    """Features of a corpus, and the corpus itself as a column file."""
    random = np.random.default_rng(5)
    kept = pa.schema([("kind", pa.string())]) if suffix == ".parquet" else None
    description = FeatureSpec(
        LAYERS, DIM, pooled=pooled, kept=kept, **{"metadata": {"model_sha256": "1"}, **changes}
    )
    sentences = [
        Sentence(str(i), words, " ".join(words), kept=(labels[0],) if kept else ())
        for i, (words, labels) in enumerate(corpus)
    ]
    arrays = [vectors(words, labels, random) for words, labels in corpus]
    path = folder / f"{name}{suffix}"
    with open_writer(layout, output_target(path, layout), description, WriteOptions()) as store:
        for start in range(0, len(sentences), 10):
            window = [array[:, 0] for array in arrays] if pooled else arrays
            store.write(sentences[start : start + 10], window[start : start + 10])
    lines = (
        "".join(f"{word}\t{label}\n" for word, label in zip(*sentence, strict=True))
        for sentence in corpus
    )
    (folder / f"{name}.conll").write_text("\n".join(lines))
    return path


@pytest.fixture
def train(tmp_path: Path) -> list[Path]:
    return [write(tmp_path, "train", make_corpus()), tmp_path / "train.conll"]


@pytest.fixture
def test(tmp_path: Path) -> list[Path]:
    return [write(tmp_path, "test", make_corpus(60, seed=1)), tmp_path / "test.conll"]


def scores(stdout: str) -> dict[str, float]:
    return {row["name"]: row["score"] for row in json.loads(stdout)["rows"]}


@pytest.fixture(autouse=True)
def _short_training(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("elmo_cli.downstream.fitting.LEAST_STEPS", 60)
    monkeypatch.setattr("elmo_cli.downstream.linear.LEARNING_RATE", 0.05)


def test_the_planted_layer_is_found_and_the_mix_learns_it(
    elmo: Callable, train: list, test: list, tmp_path: Path
):
    result = elmo(
        "probe",
        *train,
        "--label",
        2,
        "--test",
        *test,
        "--json",
        "--control",
        "--mix-output",
        tmp_path / "mix.json",
        "-o",
        tmp_path / "report.json",
    )
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    rows = {row["name"]: row for row in told["rows"]}
    assert list(rows) == [
        "majority",
        "majority by word",
        "layer 0",
        "layer 1",
        "layer 2",
        "average",
        "mix",
        "all layers",
    ]
    assert told["best_layer"] == "layer 2"
    assert min(rows[name]["score"] for name in ("layer 2", "mix", "all layers")) > 0.95
    assert (
        max(rows[name]["score"] for name in ("majority", "majority by word", "layer 0", "layer 1"))
        < 0.6
    )
    assert all(row["low"] <= row["score"] <= row["high"] for row in told["rows"])
    assert rows["layer 2"]["difference"] is None
    assert rows["layer 0"]["difference"]["high"] < 0
    assert rows["layer 0"]["control"] > rows["layer 2"]["control"] + 0.2  # the word is in layer 0
    assert rows["layer 2"]["selectivity"] == pytest.approx(
        rows["layer 2"]["accuracy"] - rows["layer 2"]["control"]
    )
    assert told["mix"]["shares"][PLANTED] > 0.6
    assert told["mix"]["center_of_gravity"] > 1.4
    assert json.loads((tmp_path / "report.json").read_text()) == told
    assert read_mix(str(tmp_path / "mix.json"), 3).weights == tuple(told["mix"]["file"]["weights"])


def test_a_run_is_repeated_bit_for_bit_under_a_seed(elmo: Callable, train: list):
    first, again, other, fewer = (
        elmo("probe", *train, "--label", 2, "--json", *more).stdout
        for more in ([], [], ["--seed", 9], ["--seeds", 1])
    )
    assert first == again != other
    assert scores(fewer) == scores(first)


def test_without_a_test_file_equal_sentences_are_on_one_side(elmo: Callable, tmp_path: Path):
    corpus = make_corpus(60)
    write(tmp_path, "twice", corpus + corpus)
    told = json.loads(
        elmo(
            "probe", tmp_path / "twice.h5", tmp_path / "twice.conll", "--label", 2, "--json"
        ).stdout
    )
    assert told["train"]["sentences"] + told["test"]["sentences"] == 120
    assert told["test"]["sentences"] % 2 == 0
    assert 10 < told["test"]["sentences"] < 40


@pytest.mark.parametrize(
    ("suffix", "layout"), [(".parquet", "parquet"), (".jsonl", "jsonl"), (".h5", "allennlp")]
)
def test_any_format_gives_the_same_scores(
    elmo: Callable, train: list, suffix: str, layout: str, tmp_path: Path
):
    other = write(tmp_path, "other", make_corpus(), suffix=suffix, layout=layout)
    expected = scores(elmo("probe", *train, "--label", 2, "--json", "--seeds", 1).stdout)
    assert (
        scores(elmo("probe", other, train[1], "--label", 2, "--json", "--seeds", 1).stdout)
        == expected
    )


def test_blocks_from_the_disk_are_learned_from_as_well_as_memory(
    elmo: Callable, train: list, test: list, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("elmo_cli.downstream.fitting.MEMORY_BYTES", 0)
    monkeypatch.setattr("elmo_cli.downstream.fitting.GROUP_ROWS", 100)
    monkeypatch.setattr("elmo_cli.downstream.labelled_features.BLOCK_ROWS", 50)
    result = elmo("probe", *train, "--label", 2, "--test", *test, "--json", "--seeds", 1)
    assert scores(result.stdout)["layer 2"] > 0.95


def test_sentences_have_labels_in_a_kept_column(elmo: Callable, tmp_path: Path):
    path = write(
        tmp_path, "pooled", make_corpus(200), pooled=True, suffix=".parquet", layout="parquet"
    )
    told = json.loads(elmo("probe", path, "--label", "kind", "--json", "--seeds", 1).stdout)
    rows = {row["name"]: row for row in told["rows"]}
    assert told["unit"] == "sentence"
    assert "majority by word" not in rows
    assert rows["layer 2"]["score"] > 0.95
    assert rows["layer 2"]["unseen"] is None


def test_labels_that_training_lacks_count_as_wrong_and_are_reported(
    elmo: Callable, train: list, tmp_path: Path
):
    corpus = make_corpus(60, seed=1)
    path = write(tmp_path, "test", corpus)
    (tmp_path / "test.conll").write_text(
        (tmp_path / "test.conll").read_text().replace("\tA\n", "\tNEW\n")
    )
    result = elmo("probe", *train, "--label", 2, "--test", path, tmp_path / "test.conll", "--json")
    share = sum(label != "A" for _, labels in corpus for label in labels) / sum(
        len(labels) for _, labels in corpus
    )
    assert scores(result.stdout)["layer 2"] <= share
    assert "labels that the training part does not have (NEW)" in result.stderr


def test_max_tokens_limits_the_training_part(elmo: Callable, train: list, test: list):
    told = json.loads(
        elmo(
            "probe",
            *train,
            "--label",
            2,
            "--test",
            *test,
            "--json",
            "--max-tokens",
            100,
            "--seeds",
            1,
        ).stdout
    )
    assert told["train"]["rows"] == 100
    split = json.loads(
        elmo("probe", *train, "--label", 2, "--json", "--max-tokens", 100, "--seeds", 1).stdout
    )
    assert split["train"]["rows"] == 100


def test_the_table_is_aligned_text_and_the_options_may_stand_first(
    elmo: Callable, train: list, test: list
):
    result = elmo("probe", "--quiet", "--seeds", 1, "--label", 2, "--test", *test, *train)
    header, *rows = result.stdout.splitlines()
    assert header.split()[:2] == ["features", "accuracy"]
    assert [row[:10].strip() for row in rows[2:5]] == ["layer 0", "layer 1", "layer 2"]
    assert re.search(r" [01]\.\d{3} \[[01]\.\d{3}, [01]\.\d{3}\] ", rows[0])
    assert "mix, center of gravity" in result.stdout
    assert not result.stderr


def test_the_table_has_100_columns_and_no_name_twice(elmo: Callable, train: list):
    result = elmo("probe", *train, "--label", 2, "--control", "--seeds", 1, "--max-tokens", 200)
    assert result.stderr.startswith("column 2: 3 labels; learning from 200 tokens, ")
    header, *rows = result.stdout.partition("\n\n")[0].splitlines()
    assert re.split(r"  +", header) == [
        "features",
        "accuracy",
        "less layer 2",
        "control",
        "selectivity",
    ]
    assert max(map(len, [header, *rows])) <= 100


def test_a_picture_is_drawn_and_is_the_same_each_time(elmo: Callable, train: list, tmp_path: Path):
    pytest.importorskip("matplotlib")
    for name in ("a.svg", "b.svg"):
        assert (
            elmo(
                "probe",
                *train,
                "--label",
                2,
                "--seeds",
                1,
                "--max-tokens",
                200,
                "--plot",
                tmp_path / name,
            ).exit_code
            == 0
        )
    assert b"<svg" in (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    drawn = (tmp_path / "a.svg").read_text(encoding="utf-8")
    for mark in ("tokens with its 95 % interval", "baselines", "layers", "learned mix"):
        assert f"{mark}</text>" in drawn


def test_bio_labels_are_scored_as_entities(elmo: Callable, train: list, tmp_path: Path):
    text = (
        train[1]
        .read_text()
        .replace("\tA\n", "\tO\n")
        .replace("\tB\n", "\tB-X\n")
        .replace("\tC\n", "\tI-X\n")
    )
    (tmp_path / "bio.conll").write_text(text)
    result = elmo("probe", train[0], tmp_path / "bio.conll", "--label", 2, "--json", "--seeds", 1)
    assert json.loads(result.stdout)["metric"] == "f1"
    assert "strict IOB2 takes them for no entity" in result.stderr


@pytest.mark.parametrize(
    ("options", "said", "code"),
    [
        (["--label", 3], "train.conll:1: has 2 columns, and column 3 is wanted", 1),
        (["--label", 2, "--metric", "f1"], "--metric f1 is for entities", 2),
        (["--label", 2, "--plot", "a.gif"], "is drawn as .png, .svg, .pdf", 2),
        (
            ["--label", 2, "-o", "a.json", "--mix-output", "a.json"],
            "two of them name the same file",
            2,
        ),
        (["--label", 2, "-o", "missing/a.json"], "no such folder", 1),
        (["--label", 1, "--test", "none.h5"], "none.h5: no such file", 1),
    ],
)
def test_wrong_options_are_refused_in_a_line(
    elmo: Callable, train: list, options: list, said: str, code: int
):
    result = elmo("probe", *train, *options)
    assert result.exit_code == code
    assert said in result.stderr
    assert not result.stdout


def test_bad_input_is_refused_in_a_line(elmo: Callable, train: list, tmp_path: Path):
    pooled = write(tmp_path, "pooled", make_corpus(), pooled=True)
    other_model = write(tmp_path, "model", make_corpus(), metadata={"model_sha256": "2"})
    (tmp_path / "one.conll").write_text(
        train[1].read_text().replace("\tB", "\tA").replace("\tC", "\tA")
    )
    (tmp_path / "short.conll").write_text(train[1].read_text().partition("\n\n")[0])
    for arguments, said in [
        (
            [pooled, train[1]],
            "labels tokens, and .*has one vector a sentence; embed without --pool",
        ),
        ([train[0], tmp_path / "one.conll"], "the training part has one label only, 'A'"),
        ([train[0], tmp_path / "short.conll"], "has labels of 1 sentences, and .*train.h5 has 120"),
        (
            [*train, "--test", other_model, train[1]],
            "model.h5: has in its metadata the model_sha256 2, and .*train.h5 1",
        ),
        (
            [*train, "--test", pooled, train[1]],
            "pooled.h5: has one vector a sentence, and .*train.h5 token",
        ),
        ([train[0]], "has no kept column '2'; it has no kept columns"),
    ]:
        result = elmo("probe", *arguments, "--label", 2, "-q")
        assert result.exit_code == 1, result.output
        assert len(result.stderr.splitlines()) == 1
        assert re.search(said, result.stderr)


def test_vectors_that_are_no_numbers_are_refused(
    elmo: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        f"{__name__}.vectors", lambda words, *_: np.full((3, len(words), DIM), np.nan, np.float32)
    )
    path = write(tmp_path, "nan", make_corpus(5))
    result = elmo("probe", path, tmp_path / "nan.conll", "--label", 2)
    assert (
        result.exit_code,
        "sentence 1: its vectors have NaN or infinite values" in result.stderr,
    ) == (1, True)


def test_the_exported_mix_is_the_trained_one_up_to_a_constant_vector(
    elmo: Callable, train: list, tmp_path: Path
):
    result = elmo(
        "probe", *train, "--label", 2, "--json", "--seeds", 1, "--mix-output", tmp_path / "mix.json"
    )
    shares = json.loads(result.stdout)["mix"]["shares"]
    mix = read_mix(str(tmp_path / "mix.json"), 3)
    random = np.random.default_rng(5)  # as they were written
    layers = [vectors(words, labels, random) for words, labels in make_corpus()]
    moments, is_train = (
        Moments(),
        [
            array
            for array, (words, _) in zip(layers, make_corpus(), strict=True)
            if not is_tested(words)
        ],
    )
    moments.add(torch.from_numpy(np.concatenate(is_train, axis=1)))
    scales = moments.scales()
    tokens = np.concatenate(layers, axis=1)
    trained = sum(
        s * (h - m) / d
        for s, h, m, d in zip(
            shares, tokens, scales.mean.numpy(), scales.layer.numpy(), strict=True
        )
    )
    difference = FixedMix(mix.weights, mix.gamma)(tokens) - trained
    assert np.ptp(trained, axis=0).min() > 1
    assert np.ptp(difference, axis=0).max() < 1e-4


def is_tested(words: Sequence[str]) -> bool:
    return zlib.crc32("\0".join(words).encode()) % 5 == 0


def test_classifiers_trained_together_are_those_trained_alone():
    """Their losses are added, and they share no parameter."""
    random = torch.Generator().manual_seed(0)
    layers, labels = (
        torch.randn(2, 64, 4, generator=random),
        torch.randint(0, 3, (64, 1), generator=random),
    )
    moments = Moments()
    moments.add(layers)
    together = LinearProbes(moments.scales(), 3)
    alone = {kind: LinearProbes(moments.scales(), 3, kinds=(kind,)) for kind in KINDS}
    for kind, one in alone.items():
        one.weights[kind].data.copy_(together.weights[kind])
    for step in range(5):
        for probes in (together, *alone.values()):
            trainers.setdefault(id(probes), Trainer(probes)).step(layers, labels, step / 5)
    expected = torch.cat([alone[kind](layers) for kind in KINDS])
    torch.testing.assert_close(together(layers), expected, rtol=1e-4, atol=1e-5)


trainers: dict[int, Trainer] = {}


def test_moments_are_those_of_all_rows_at_once():
    rows = torch.randn(3, 5000, 4, generator=torch.Generator().manual_seed(1)) * 3 + 100
    moments = Moments()
    for part in rows.split(700, dim=1):
        moments.add(part)
    scales = moments.scales()
    exact = rows.double()
    torch.testing.assert_close(scales.mean, exact.mean(dim=1).float())
    torch.testing.assert_close(
        scales.dim, exact.std(dim=1, correction=0).float(), rtol=1e-4, atol=0
    )
    torch.testing.assert_close(
        scales.layer, exact.var(dim=1, correction=0).mean(dim=1).sqrt().float(), rtol=1e-4, atol=0
    )
    torch.testing.assert_close(
        scales.average, exact.mean(dim=0).std(dim=0, correction=0).float(), rtol=1e-4, atol=0
    )


def test_small_training_parts_are_repeated_more_often():
    assert epochs_for(204_577) == 6
    assert epochs_for(512) == 60 > epochs_for(1024) == 30

"""`elmo fit`: classifiers of labels that depend on the words alone."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from sklearn.metrics import accuracy_score, f1_score

import elmo_cli
from elmo_cli.downstream import fine_tuning, penalty_search
from elmo_cli.downstream.evaluation import evaluate
from elmo_cli.downstream.examples import Example, split_examples
from elmo_cli.downstream.feature_cache import FeatureCache
from elmo_cli.downstream.fine_tuning import FineTuning
from elmo_cli.downstream.fit_work import FitWork
from elmo_cli.downstream.penalty_search import PenaltySearch
from elmo_cli.downstream.tag_schemes import convert_tags, find_invalid
from elmo_cli.downstream.token_head import TokenHead
from elmo_cli.downstream.token_training import TokenTraining
from elmo_cli.errors import DiskError
from elmo_cli.inference.embedder_spec import EmbedderSpec
from elmo_cli.inference.engines.local import LocalEngine
from tests.helpers.fit_corpus import PEOPLE, make_tagged, make_texts, run, write_conll, write_tsv


def fit(folder: Path, *args: object) -> Result:
    return run("fit", folder / "out", *args, "--seed", 0, "--quiet")


def metrics(folder: Path) -> dict:
    return json.loads((folder / "out" / "metrics.json").read_text())


@pytest.mark.parametrize(("head", "least"), [("linear", 0.4), ("crf", 0.7), ("lstm-crf", 0.25)])
def test_each_head_learns_tags_and_never_predicts_an_invalid_sequence(
    head: str, least: float, tmp_path: Path, model: Path
):
    train = write_conll(tmp_path / "train.conll", make_tagged(40, 0))
    test = write_conll(tmp_path / "test.conll", make_tagged(20, 1))
    result = fit(
        tmp_path,
        train,
        "--label",
        2,
        "--test",
        test,
        "--head",
        head,
        "--epochs",
        16,
        "--model",
        model,
    )
    assert result.exit_code == 0, result.output
    found = metrics(tmp_path)
    assert found["test"]["metric"] == "entity F1"
    assert found["test"]["score"] > least
    assert {row["label"] for row in found["test"]["by_label"]} == {"PER", "LOC"}
    predictor = elmo_cli.load_predictor(tmp_path / "out")
    random = np.random.default_rng(0)
    for tags in predictor.predict(
        [list(random.permutation([*PEOPLE, "x", "y"])) for _ in range(20)]
    ):
        assert find_invalid(tags, "iob2") is None


def test_iob1_is_learned_as_iob2_and_predicted_as_iob1(tmp_path: Path, model: Path):
    corpus = [(tokens, convert_tags(tags, "iob1")) for tokens, tags in make_tagged(40, 0)]
    result = fit(
        tmp_path,
        write_conll(tmp_path / "t.conll", corpus),
        "--label",
        2,
        "--head",
        "crf",
        "--epochs",
        8,
        "--model",
        model,
    )
    assert result.exit_code == 0, result.output
    assert "tags are IOB1, and are converted to IOB2" in result.stderr
    settings = elmo_cli.load_predictor(tmp_path / "out").settings
    assert (settings.scheme, settings.output_scheme) == ("iob2", "iob1")
    assert elmo_cli.load_predictor(tmp_path / "out").predict([["Ada", "x"]]) == [["I-PER", "O"]]


def test_sentence_labels_are_learned_and_scored_as_scikit_learn_does(tmp_path: Path, model: Path):
    train = write_tsv(tmp_path / "train.tsv", make_texts(80, 0))
    texts = make_texts(30, 1)
    test = write_tsv(tmp_path / "test.tsv", texts)
    result = fit(
        tmp_path,
        train,
        "--column",
        "text",
        "--label",
        "label",
        "--test",
        test,
        "--model",
        model,
        "--json",
        "--balanced",
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    predictor = elmo_cli.load_predictor(tmp_path / "out")
    predicted = predictor.predict([text for text, _ in texts])
    gold = [label for _, label in texts]
    assert found["test"]["score"] == pytest.approx(accuracy_score(gold, predicted))
    assert found["test"]["score"] == pytest.approx(
        predictor.score([text for text, _ in texts], gold)
    )
    assert found["test"]["macro_f1"] == pytest.approx(
        f1_score(gold, list(predicted), average="macro")
    )
    assert found["test"]["score"] > 0.9
    chances = predictor.predict_proba([text for text, _ in texts])
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-5)
    assert (predictor.classes_[chances.argmax(axis=1)] == predicted).all()
    assert np.sum(found["test"]["confusion"]["counts"]) == 30


def test_sets_of_labels_and_numbers_are_learned(tmp_path: Path, model: Path):
    texts = make_texts(80, 0)
    lines = [
        {"text": text, "topics": [label, "all"], "length": len(text.split()) / 2}
        for text, label in texts
    ]
    train = tmp_path / "train.jsonl"
    train.write_text("".join(json.dumps(line) + "\n" for line in lines))
    args = [train, "--field", "text", "--test", train, "--model", model]
    assert fit(tmp_path, *args, "--label", "topics", "--multi-label").exit_code == 0
    assert metrics(tmp_path)["test"]["exact_match"] > 0.9
    assert set(elmo_cli.load_predictor(tmp_path / "out").predict([texts[0][0]])[0]) == {
        texts[0][1],
        "all",
    }
    result = fit(tmp_path, *args, "--label", "length", "--regression", "--overwrite")
    assert result.exit_code == 0, result.output
    assert metrics(tmp_path)["test"]["score"] > 0.5
    large = [{**line, "length": 1e30 * line["length"]} for line in lines]
    train.write_text("".join(json.dumps(line) + "\n" for line in large))
    assert fit(tmp_path, *args, "--label", "length", "--regression", "--overwrite").exit_code == 0
    assert metrics(tmp_path)["test"]["score"] > 0.5
    assert elmo_cli.load_predictor(tmp_path / "out").predict(["a b c"]).shape == (1,)


def test_fine_tuning_writes_a_bilm_that_elmo_embed_takes(tmp_path: Path, model: Path):
    train = write_tsv(tmp_path / "train.tsv", make_texts(40, 0))
    args = [
        train,
        "--column",
        "text",
        "--label",
        "label",
        "--test",
        train,
        "--model",
        model,
        "--fine-tune",
        "--epochs",
        2,
    ]
    result = fit(tmp_path, *args)
    assert result.exit_code == 0, result.output
    folder = tmp_path / "out"
    assert (folder / "bilm" / "weights.hdf5").read_bytes() != (model / "weights.hdf5").read_bytes()
    (tmp_path / "a.txt").write_text("Ada x\n")
    assert (
        run("embed", tmp_path / "a.txt", tmp_path / "a.h5", "--model", folder, "-q").exit_code == 0
    )
    assert elmo_cli.load_predictor(folder).settings.fixed_mix is not None
    tagged = write_conll(tmp_path / "train.conll", make_tagged(12, 0))
    result = fit(
        tmp_path,
        tagged,
        "--label",
        2,
        "--head",
        "crf",
        "--model",
        model,
        "--fine-tune",
        "--epochs",
        1,
        "--overwrite",
    )
    assert result.exit_code == 0, result.output
    assert len(elmo_cli.load_predictor(folder).predict(["Ada x"])[0]) == 2


def test_the_same_seed_gives_the_same_weights(tmp_path: Path, model: Path):
    train = write_conll(tmp_path / "train.conll", make_tagged(20, 0))
    states = []
    for _ in range(2):
        assert (
            fit(
                tmp_path, train, "--label", 2, "--epochs", 2, "--model", model, "--overwrite"
            ).exit_code
            == 0
        )
        states.append(elmo_cli.load_predictor(tmp_path / "out").trained.head.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


TAGGING = ["--label", 2, "--epochs", 5]
TEXTS = ["--column", "text", "--label", "label"]
FINE_TUNING = [*TEXTS, "--fine-tune", "--epochs", 3]
TRAININGS = {
    "tags": (TokenTraining, "_run_epoch"),
    "texts": (PenaltySearch, "_try"),
    "fine-tuning": (FineTuning, "_run_epoch"),
}


def interruptible(kind: str, folder: Path) -> list[object]:
    """Return the arguments of a training of the kind."""
    if kind == "tags":
        return [write_conll(folder / "train.conll", make_tagged(20, 0)), *TAGGING]
    return [
        write_tsv(folder / "train.tsv", make_texts(40, 0)),
        *(TEXTS if kind == "texts" else FINE_TUNING),
    ]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return elmo_cli.load_predictor(folder / "out").trained.head.state_dict()


def stop_at_step(monkeypatch: pytest.MonkeyPatch, kind: str, number: int) -> None:
    """Raise KeyboardInterrupt in a step of the training."""
    training, name = TRAININGS[kind]
    complete, calls = getattr(training, name), []

    def step(self: object, *args: object) -> object:
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt
        return complete(self, *args)

    monkeypatch.setattr(training, name, step)


@pytest.mark.parametrize("kind", TRAININGS)
def test_ctrl_c_leaves_the_best_so_far_and_resume_gives_the_same_weights(
    kind: str, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
):
    args = [*interruptible(kind, tmp_path), "--model", model]
    assert fit(tmp_path, *args).exit_code == 0
    expected = weights(tmp_path)
    assert fit(tmp_path, *args, "--resume").exit_code == 0  # is complete: nothing to do
    shutil.rmtree(tmp_path / "out")
    with monkeypatch.context() as patched:
        stop_at_step(patched, kind, 3)
        result = fit(tmp_path, *args)
    assert result.exit_code == 130
    assert "the best classifier so far is in" in result.stderr
    assert "pass --resume to continue" in result.stderr
    assert metrics(tmp_path)["stopped"] is True
    assert len(elmo_cli.load_predictor(tmp_path / "out").predict(["Ada"])) == 1
    with monkeypatch.context() as patched:
        stop_at_step(patched, kind, 99)
        patched.setattr(LocalEngine, "load", raise_interrupt)  # the features are there
        result = fit(tmp_path, *args, "--resume")
    assert result.exit_code == 0, result.output
    assert metrics(tmp_path)["stopped"] is False
    assert len(metrics(tmp_path)["history"]) > 2
    found = weights(tmp_path)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_features_are_computed_from_where_a_killed_run_has_stopped(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
):
    args = [*interruptible("tags", tmp_path), "--model", model]
    assert fit(tmp_path, *args).exit_code == 0
    expected = weights(tmp_path)
    written, write = [], FeatureCache.write

    def stop(self: FeatureCache, window: list, arrays: list) -> None:
        write(self, window[:-3], arrays[:-3])
        raise KeyboardInterrupt

    def record(self: FeatureCache, window: list, arrays: list) -> None:
        written.append(len(window))
        write(self, window, arrays)

    monkeypatch.setattr(EmbedderSpec, "max_window_tokens", property(lambda _self: 30))

    def record_two(*given: object) -> None:
        (stop if len(written) == 2 else record)(*given)

    monkeypatch.setattr(FeatureCache, "write", record_two)
    assert fit(tmp_path, *args, "--overwrite").exit_code == 130
    (left,) = tmp_path.glob(".out.elmo-fit")
    assert written.pop() > 0
    (left / "output").mkdir()  # as after a kill
    monkeypatch.setattr(FeatureCache, "write", record)
    result = fit(tmp_path, *args, "--overwrite", "--resume")
    assert result.exit_code == 0, result.output
    found = weights(tmp_path)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not left.exists()


def test_what_a_killed_run_has_left_is_removed_or_refused(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
):
    args = [*interruptible("tags", tmp_path), "--model", model]
    with monkeypatch.context() as patched:
        stop_at_step(patched, "tags", 2)
        assert fit(tmp_path, *args).exit_code == 130
    result = fit(tmp_path, *args, "--overwrite", "--balanced", "--head", "linear", "--resume")
    assert result.exit_code == 1
    assert "differs in the options; pass --overwrite instead of --resume" in result.stderr
    assert (tmp_path / ".out.elmo-fit" / "checkpoint.pt").is_file()
    shutil.rmtree(tmp_path / "out")
    result = fit(tmp_path, *args)
    assert result.exit_code == 1
    assert "pass --resume to continue it, or --overwrite to start over" in result.stderr
    assert fit(tmp_path, *args, "--overwrite").exit_code == 0
    assert not (tmp_path / ".out.elmo-fit").exists()


def test_a_full_disk_loses_no_work(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch):
    args = [*interruptible("tags", tmp_path), "--model", model]

    def fail(*_: object) -> None:
        raise DiskError("checkpoint.pt: no space left")

    with monkeypatch.context() as patched:
        patched.setattr(FitWork, "save", fail)
        result = fit(tmp_path, *args)
    assert result.exit_code == 1
    assert "checkpoint.pt: no space left; pass --resume to continue\n" in result.stderr
    with monkeypatch.context() as patched:
        patched.setattr(LocalEngine, "load", raise_interrupt)  # the features are there
        assert fit(tmp_path, *args, "--resume").exit_code == 0
    assert not (tmp_path / ".out.elmo-fit").exists()


def test_a_complete_classifier_is_not_taken_for_tested_or_drawn(tmp_path: Path, model: Path):
    args = [*interruptible("tags", tmp_path), "--model", model]
    assert fit(tmp_path, *args).exit_code == 0
    for more in ("--test", args[0]), ("--plot", tmp_path / "curve.png"):
        result = fit(tmp_path, *args, *more, "--resume")
        assert result.exit_code == 2
        assert f"trained without {more[0]}; leave out {more[0]}, or pass" in result.stderr


def raise_interrupt(*_: object) -> float:
    raise KeyboardInterrupt


def test_the_card_names_data_figures_and_the_bilm(tmp_path: Path, model: Path):
    train = write_tsv(tmp_path / "train.tsv", make_texts(30, 0))
    plot = tmp_path / "curve.svg"
    assert (
        fit(
            tmp_path,
            train,
            "--column",
            "text",
            "--label",
            "label",
            "--test",
            train,
            "--model",
            model,
            "--plot",
            plot,
        ).exit_code
        == 0
    )
    card = (tmp_path / "out" / "README.md").read_text()
    assert re.search(r"training part \| .*train.tsv, sha256 [0-9a-f]{64}", card)
    assert re.search(r"test: accuracy \| [01]\.\d{4} \(95 % interval", card)
    assert "Licence:" in card
    assert plot.read_text().startswith("<?xml")
    assert (tmp_path / "out" / "bilm" / "weights.hdf5").is_file()


def test_labels_that_only_the_test_part_has_are_counted_as_wrong(tmp_path: Path, model: Path):
    train = write_tsv(tmp_path / "train.tsv", make_texts(30, 0))
    test = write_tsv(tmp_path / "test.tsv", [*make_texts(9, 1), ("w1 w2", "new")])
    result = fit(
        tmp_path, train, "--column", "text", "--label", "label", "--test", test, "--model", model
    )
    assert (
        "has labels that the training part does not have (new): their 1 sentences count as wrong"
        in result.stderr
    )
    assert metrics(tmp_path)["test"]["score"] <= 0.9


BAD = {
    "broken tags": (
        "Ada B-PER\nx O\nx I-PER\n\nx O\n\n",
        ":3: the tag 'I-PER' continues no span of PER; correct it, or pass --repair",
    ),
    "one sentence": ("Ada B-PER\nx O\n\n", "has 1 labelled sentence; a classifier needs 2 or more"),
    "one class": ("a X\n\nb X\n\n", "every label is 'X'; a classifier needs two different ones"),
    "only O": ("a O\n\nb O\n\n", "every label is 'O'; a classifier needs two different ones"),
    "two sentences": (
        "Ada B-PER\n\nx O\n\n",
        "no sentence can be held out without losing its labels",
    ),
    "distinct labels": (
        "".join(f"x id{i}\n\n" for i in range(30)),
        "no sentence can be held out without losing its labels",
    ),
    "broken IOBES": (
        "Ada B-PER\nx O\nOslo S-LOC\n\n" * 4,
        ":2: the tag before or at 'O' leaves a span open",
    ),
    "empty": ("", "does not contain labelled sentences"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case: str, tmp_path: Path, model: Path):
    content, expected = BAD[case]
    path = tmp_path / "bad.conll"
    path.write_text(content)
    result = fit(tmp_path, path, "--label", 2, "--model", model)
    assert result.exit_code == 1
    assert expected in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert sorted(one.name for one in tmp_path.iterdir()) == ["bad.conll"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("tags", "epoch 1: the loss is nan; check the model and its vectors"),
        ("texts", "the loss is nan with the penalty 10; check the model and its vectors"),
        ("fine-tuning", "epoch 1: the loss is nan; pass a lower --learning-rate"),
    ],
)
def test_a_loss_that_is_not_a_number_is_one_line(
    kind: str, expected: str, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
):
    args = interruptible(kind, tmp_path)
    monkeypatch.setattr(TokenHead, "loss", lambda self, *_: self.emit.bias.sum() * torch.nan)
    for module in (penalty_search, fine_tuning):
        monkeypatch.setattr(
            module, "target_loss", lambda _task, logits, *_: logits.sum() * torch.nan
        )
    result = fit(tmp_path, *args, "--model", model)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [f"Error: {expected}"]
    assert [path.name for path in tmp_path.iterdir()] == [Path(str(args[0])).name]


def test_broken_tags_are_repaired_when_asked(tmp_path: Path, model: Path):
    path = tmp_path / "bad.conll"
    path.write_text(BAD["broken tags"][0] * 4)
    assert (
        fit(tmp_path, path, "--label", 2, "--repair", "--epochs", 1, "--model", model).exit_code
        == 0
    )


def test_labels_that_are_all_distinct_are_taken_for_ids(tmp_path: Path, model: Path):
    path = write_tsv(tmp_path / "ids.tsv", [(f"w{i}", f"id{i}") for i in range(20)])
    result = fit(tmp_path, path, "--column", "text", "--label", "label", "--model", model)
    assert (
        "each of its 20 rows has a different label (id0, id1, id2, ...), as ids do; check --label"
        in result.stderr
    )


def test_a_folder_that_fit_has_not_made_is_not_replaced(tmp_path: Path, model: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("x")
    path = write_tsv(tmp_path / "t.tsv", make_texts(20, 0))
    result = fit(
        tmp_path, path, "--column", "text", "--label", "label", "--model", model, "--overwrite"
    )
    assert "is not a folder of elmo fit" in result.stderr
    assert (tmp_path / "out" / "thesis.tex").is_file()


def test_equal_sentences_are_held_out_together_and_no_label_is_lost():
    examples = [Example([f"w{i % 20}"], "AB"[i % 2] if i else "rare", "f") for i in range(60)]
    for seed in range(5):
        train, held_out = split_examples(examples, "sentences", seed)
        assert sorted(train + held_out) == list(range(60))
        assert held_out
        assert {examples[i].target for i in train} == {"A", "B", "rare"}


def test_span_scores_are_those_of_strict_matching():
    gold = [["B-X", "I-X", "O", "B-Y"], ["O", "B-X"]]
    predicted = [["B-X", "I-X", "O", "B-X"], ["B-X", "I-X"]]
    found = evaluate("tags", gold, predicted, 0)
    assert found.interval.score == pytest.approx(2 * 1 / (3 + 3))
    assert {(row.label, row.precision, row.recall, row.support) for row in found.by_label} == {
        ("X", 1 / 3, 1 / 2, 2),
        ("Y", 0, 0, 1),
    }

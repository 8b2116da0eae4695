"""`elmo train` and `elmo evaluate` from end to end, on a model that trains in a second."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from click.testing import Result

from elmo_cli.errors import OutputError
from elmo_cli.inference.embedder import Embedder
from elmo_cli.io.lock import locked
from elmo_cli.models.formats.bilm_tf import load_bilm
from elmo_cli.models.resolve import find_model
from elmo_cli.readers.corpus import Corpus
from elmo_cli.training import log
from elmo_cli.training.initialization import load_language_model
from elmo_cli.training.perplexity import score_text
from elmo_cli.training.trainer import Trainer
from elmo_cli.types import Sentence
from tests.cli.test_main import assert_one_line_error
from tests.conftest import SAMPLE, make_model, make_options, sentences_of
from tests.helpers.runs import raising

Elmo = Callable[..., Result]
TEXT = "the cat sat on the mat .\na dog ran to the cat and sat .\nwho let the dog out ?\n"
QUICK = (
    "--threads",
    1,
    "--streams",
    4,
    "--unroll",
    5,
    "--warm-up",
    1,
    "--dropout",
    0.1,
    "--precision",
    "fp32",
    "--learning-rate",
    0.01,
)


def quick(*changes: object) -> tuple[object, ...]:
    """QUICK with some of its options changed: each may be given once."""
    options = {
        **dict(zip(QUICK[::2], QUICK[1::2], strict=True)),
        **dict(zip(changes[::2], changes[1::2], strict=True)),
    }
    return tuple(word for pair in options.items() for word in pair)


@pytest.fixture
def options(tmp_path: Path) -> Path:
    path = tmp_path / "arch.json"
    path.write_text(json.dumps(make_options(projection_dim=12, dim=24)))
    return path


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT * 4)
    return path


@pytest.fixture(autouse=True)
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """The curve takes longer than the training."""
    monkeypatch.setattr("elmo_cli.training.log.draw", lambda folder: True)  # noqa: ARG005  # its signature


def weights(folder: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for name in ("weights.hdf5", "softmax.hdf5"):
        with h5py.File(folder / name) as file:
            file.visititems(
                lambda key, item: (
                    found.update({key: item[:]}) if isinstance(item, h5py.Dataset) else None
                )
            )
    return found


def test_a_small_text_is_learnt_by_heart_in_both_directions(
    elmo: Elmo, text: Path, options: Path, tmp_path: Path
):
    folder = tmp_path / "model"
    result = elmo(
        *(
            "train",
            text,
            folder,
            "--options",
            options,
            "--sentences",
            "--steps",
            150,
            "--softmax",
            "full",
            "--held-out",
            text,
        ),
        *(
            "--streams",
            4,
            "--unroll",
            21,
            "--warm-up",
            10,
            "--dropout",
            0,
            "--precision",
            "fp32",
            "--learning-rate",
            0.02,
            "--threads",
            1,
        ),
    )
    assert result.exit_code == 0, result.output
    result = elmo("evaluate", folder, text, "--json")
    figures = json.loads(result.stdout)
    assert (figures["tokens"], figures["sentences"], figures["unknown"]) == (88, 12, 0.0)
    # The first word of a sentence cannot be known: 3 sentences, 24 words
    assert figures["forward"] < 1.5
    assert figures["backward"] < 1.5
    logged = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert logged[-1]["held_out"]["zero"]["average"] == pytest.approx(figures["average"], rel=1e-5)
    assert logged[0]["perplexity"] > 2 * logged[-1]["perplexity"]
    assert {path.name for path in folder.iterdir()} - {"curve.png"} == {
        *("options.json", "weights.hdf5", "softmax.hdf5", "vocab.txt", "log.jsonl", "README.md")
    }


def test_the_folder_is_a_model_for_embed_and_its_forward_pass_is_the_trained_one(
    elmo: Elmo, text: Path, options: Path, tmp_path: Path
):
    folder = tmp_path / "model"
    assert elmo("train", text, folder, "--options", options, "--steps", 3, *QUICK).exit_code == 0
    files = find_model(str(folder))
    assert files.files["weights"].name == "weights.hdf5"
    model, words = load_language_model(files)
    ids = {word: i for i, word in enumerate(words)}
    sentences = sentences_of(text)[:3]
    # The losses that `elmo evaluate` computes with the training kernels, computed from the vectors
    # of `elmo embed`
    losses = np.zeros(2)
    for tokens in sentences:
        layers, _ = Embedder(load_bilm(folder / "options.json", folder / "weights.hdf5")).run(
            [["<S>", *tokens, "</S>"]], model.bilm.zero_state(1)
        )
        forward, backward = np.split(layers[0][-1], 2, axis=-1)
        for direction, (top, targets) in enumerate(
            [(forward[:-1], [*tokens, "</S>"]), (backward[1:], ["<S>", *tokens])]
        ):
            logits = torch.from_numpy(top) @ model.softmax.weight.T + model.softmax.bias
            wanted = torch.tensor([ids[token] for token in targets])
            losses[direction] += float(
                torch.nn.functional.cross_entropy(logits, wanted, reduction="sum")
            )
    score = score_text(model, ids, sentences, carried=False)
    assert (score.forward_loss, score.backward_loss) == pytest.approx(tuple(losses), rel=1e-5)
    assert elmo("embed", text, tmp_path / "out.h5", "--model", folder).exit_code == 0


def test_float16_halves_the_file_and_loads(elmo: Elmo, text: Path, options: Path, tmp_path: Path):
    assert (
        elmo(
            "train",
            text,
            tmp_path / "model",
            "--options",
            options,
            "--steps",
            2,
            "--float16",
            *QUICK,
        ).exit_code
        == 0
    )
    types = {
        (name.rpartition("/")[2] == "B", array.dtype.name)
        for name, array in weights(tmp_path / "model").items()
    }
    # AllenNLP adds 1 to the LSTMs' biases as they are
    assert types == {(True, "float32"), (False, "float16")}
    assert elmo("embed", text, tmp_path / "out.h5", "--model", tmp_path / "model").exit_code == 0


def stop_at(
    monkeypatch: pytest.MonkeyPatch, step: int, number: signal.Signals = signal.SIGINT
) -> None:
    """A signal, Ctrl-C's by default, during that step, once."""
    train_step = Trainer.train_step

    def interrupted(self: Trainer, *arguments: object, **options: object) -> object:
        if self.step == step - 1:
            monkeypatch.setattr(Trainer, "train_step", train_step)
            signal.raise_signal(number)
        return train_step(self, *arguments, **options)

    monkeypatch.setattr(Trainer, "train_step", interrupted)


@pytest.mark.parametrize(
    ("optimizer", "number", "code"),
    [("adamw", signal.SIGINT, 130), ("adagrad", signal.SIGTERM, 143)],
)
def test_a_resumed_run_ends_as_one_never_interrupted(
    elmo: Elmo,
    text: Path,
    options: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    optimizer: str,
    number: signal.Signals,
    code: int,
):
    shared = (
        "--options",
        options,
        "--steps",
        24,
        "--reset",
        0.5,
        "--softmax-first",
        0.2,
        "--optimizer",
        optimizer,
        *QUICK,
    )
    assert elmo("train", text, tmp_path / "whole", *shared).exit_code == 0
    stop_at(monkeypatch, 7, number)
    stopped = elmo("train", text, tmp_path / "parts", *shared)
    assert stopped.exit_code == code, stopped.output
    assert (
        f"elmo train --resume {tmp_path / 'parts'}\nStopped by {number.name}.\n" in stopped.stderr
    )
    text.unlink()  # a run has read its corpus once and for all
    assert (
        elmo("embed", SAMPLE, tmp_path / "early.h5", "--model", tmp_path / "parts").exit_code == 0
    )
    resumed = elmo("train", "--resume", tmp_path / "parts")
    assert resumed.exit_code == 0
    assert f"{tmp_path / 'parts'}: continues after step 8\n" in resumed.stderr
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)


def test_a_stopped_run_ends_without_an_evaluation(
    elmo: Elmo, text: Path, options: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    stop_at(monkeypatch, 2)
    folder = tmp_path / "model"
    given = ("--options", options, "--steps", 5, "--held-out", text, *QUICK)
    assert elmo("train", text, folder, *given).exit_code == 130
    assert "held_out" not in (folder / "log.jsonl").read_text()
    assert elmo("train", "--resume", folder).exit_code == 0
    assert "held_out" in (folder / "log.jsonl").read_text()


def test_ctrl_c_while_the_corpus_is_read_leaves_nothing(
    elmo: Elmo, text: Path, options: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    read = Corpus.read

    def interrupted(self: Corpus) -> Iterator[Sentence]:
        signal.raise_signal(signal.SIGINT)
        yield from read(self)

    monkeypatch.setattr(Corpus, "read", interrupted)
    assert elmo("train", text, tmp_path / "model", "--options", options, *QUICK).exit_code == 130
    assert not (tmp_path / "model").exists()


def test_a_damaged_checkpoint_is_one_error(
    elmo: Elmo, text: Path, options: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    stop_at(monkeypatch, 2)
    assert elmo("train", text, tmp_path / "model", "--options", options, *QUICK).exit_code == 130
    path = tmp_path / "model" / ".training" / "checkpoint.pt"
    for damaged in (path.read_bytes()[:1000], b"no checkpoint", b""):
        path.write_bytes(damaged)
        assert_one_line_error(
            elmo("train", "--resume", tmp_path / "model"),
            "checkpoint.pt: not a complete checkpoint",
        )


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_help_needs_no_torch_and_ends_with_an_example(command: str):
    program = (
        f"import sys; from elmo_cli.cli.main import main; sys.argv = ['elmo', '{command}', "
        "'--help']\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program + "try: main()\nfinally: sys.exit('torch' in sys.modules)"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"elmo {command}" in done.stdout.split("Examples:")[1]


def test_a_second_run_on_one_model_is_refused(
    elmo: Elmo, text: Path, options: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    stop_at(monkeypatch, 2)
    folder = tmp_path / "model"
    assert elmo("train", text, folder, "--options", options, "--steps", 9, *QUICK).exit_code == 130
    with locked(folder / ".training", folder):
        assert_one_line_error(
            elmo("train", "--resume", folder, "--steps", 4),
            "model: is being written by another run",
        )
    assert json.loads((folder / ".training" / "run.json").read_text())["settings"]["steps"] == 9


def test_what_does_not_fit_the_checkpoint_is_refused(
    elmo: Elmo, text: Path, options: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    stop_at(monkeypatch, 2)
    folder = tmp_path / "model"
    command = ["train", text, folder, "--options", options]
    assert elmo(*command, "--steps", 9, *QUICK).exit_code == 130
    assert_one_line_error(
        elmo(*command, "--steps", 9, *QUICK), "model: exists already; continue it with --resume"
    )
    assert_one_line_error(
        elmo("train", "--resume", folder, "--preset", "small"),
        "--preset does not match the checkpoint",
    )
    assert_one_line_error(
        elmo("train", "--resume", folder, "--unroll", 7),
        "--unroll does not match the checkpoint, whose run has 5",
    )
    assert_one_line_error(
        elmo("train", "--resume", SAMPLE, folder), "CORPUS does not match the checkpoint"
    )
    assert elmo(*command, *quick("--steps", 4, "--learning-rate", 0.001), "--resume").exit_code == 0
    assert "4:" in (folder / "README.md").read_text()
    assert_one_line_error(elmo("train", "--resume", folder), "has no checkpoint", "--from")


@pytest.mark.parametrize("vocabulary", ["old", "new"])
def test_training_goes_on_from_a_model_with_its_words_or_new_ones(
    elmo: Elmo,
    text: Path,
    options: Path,
    corpus: Callable[..., Path],
    tmp_path: Path,
    vocabulary: str,
):
    old, new = tmp_path / "old", tmp_path / "new"
    assert elmo("train", text, old, "--options", options, "--steps", 80, *QUICK).exit_code == 0
    more = corpus(text.read_text() + "a new word .\n")
    result = elmo(
        "train", more, new, "--from", old, "--vocabulary", vocabulary, "--steps", 1, *QUICK
    )
    assert result.exit_code == 0, result.output
    assert ("new" in (new / "vocab.txt").read_text().split()) == (vocabulary == "new")
    before, after = (
        json.loads(elmo("evaluate", folder, text, "--json").stdout)["average"]
        for folder in (old, new)
    )
    assert after < 1.5 * before < 15


@pytest.mark.parametrize(("share", "changed"), [(0.9, False), (1, False), (0, True), (None, True)])
def test_the_softmax_may_learn_alone_before_the_rest(
    elmo: Elmo, model: Path, text: Path, tmp_path: Path, share: float | None, changed: bool
):
    given = [] if share is None else ["--softmax-first", share]
    result = elmo("train", text, tmp_path / "more", "--from", model, "--steps", 5, *given, *QUICK)
    before, after = (
        find_model(str(folder)).load().state_dict() for folder in (model, tmp_path / "more")
    )
    assert any(not torch.equal(before[name], after[name]) for name in before) == changed
    assert (
        "has no softmax, so that the first 20% of the run train only a new one" in result.stderr
    ) == (share is None)
    assert ("the softmax alone in the first" in (tmp_path / "more" / "README.md").read_text()) == (
        share != 0
    )


def test_a_model_without_its_softmax_is_trained_on_but_not_evaluated(
    elmo: Elmo, model: Path, text: Path, tmp_path: Path
):
    assert (
        elmo("train", text, tmp_path / "more", "--from", model, "--steps", 1, *QUICK).exit_code == 0
    )
    assert_one_line_error(
        elmo("evaluate", model, text), "lacks vocab.txt", "published models do not include"
    )
    again = elmo(
        "train",
        text,
        tmp_path / "again",
        "--from",
        model,
        "--vocabulary",
        "old",
        "--steps",
        1,
        *QUICK,
    )
    assert_one_line_error(again, "has no vocabulary (vocab.txt); pass --vocabulary new")
    other = make_model(tmp_path / "other", projection_dim=5)
    for name in ("softmax.hdf5", "vocab.txt"):
        (other / name).write_bytes((tmp_path / "more" / name).read_bytes())
    assert_one_line_error(elmo("evaluate", other, text), "softmax.hdf5", "(18, 6)", "(18, 5)")


DAMAGED_SOFTMAX: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "group": (lambda file: file.create_group("softmax/W"), "lacks the tensor softmax/W"),
    "strings": (
        lambda file: file.create_dataset(
            "softmax/W", data=np.full((18, 6), "a", h5py.string_dtype())
        ),
        "has type object",
    ),
    "scalar": (lambda file: file.create_dataset("softmax/W", data=1.0), "has shape ()"),
    "huge": (
        lambda file: file.create_dataset("softmax/W", (10**9, 10**4), "f4", chunks=(1, 10**4)),
        "has shape (1000000000, 10000)",
    ),
    "not stored": (
        lambda file: file.create_dataset("softmax/W", (18, 6), "f4"),
        "of which 0 are stored",
    ),
    "elsewhere": (
        lambda file: file.create_dataset(
            "softmax/W", (18, 6), "f4", external=[("/etc/passwd", 0, 432)]
        ),
        "another file",
    ),
    "link": (
        lambda file: file.update({"softmax/W": h5py.ExternalLink("softmax.old.hdf5", "softmax/W")}),
        "lacks the tensor softmax/W",
    ),
    "NaN": (
        lambda file: file.update({"softmax/W": np.full((18, 6), np.nan, np.float32)}),
        "NaN or infinite",
    ),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGED_SOFTMAX.values(), ids=DAMAGED_SOFTMAX.keys())
def test_a_damaged_softmax_is_one_error(
    elmo: Elmo, model: Path, text: Path, tmp_path: Path, damage: Callable, words: str
):
    folder = tmp_path / "damaged"
    shutil.copytree(model, folder)
    (folder / "vocab.txt").write_text(
        "".join(f"{word}\n" for word in ["<S>", "</S>", "<UNK>", *"abcdefghijklmno"])
    )
    with h5py.File(folder / "softmax.hdf5", "w") as file:
        file["softmax/b"] = np.zeros(18, np.float32)
        damage(file)
    for command in (
        ["evaluate", folder, text],
        ["train", text, tmp_path / "more", "--from", folder, *QUICK],
    ):
        assert_one_line_error(elmo(*command), "softmax.hdf5: ", "softmax/W", words)


def test_evaluate_writes_a_table_of_all_corpora(
    elmo: Elmo, text: Path, options: Path, tmp_path: Path
):
    elmo("train", text, tmp_path / "model", "--options", options, "--steps", 1, *QUICK)
    result = elmo("evaluate", tmp_path / "model", text, SAMPLE, "--state", "carried")
    assert result.exit_code == 0, result.output
    header, *rows = result.stdout.splitlines()
    assert header.split() == [
        "corpus",
        "sentences",
        "tokens",
        "unknown",
        "forward",
        "backward",
        "average",
    ]
    assert [row.split()[0] for row in rows] == ["text.txt", "corpus.txt", "all"]
    assert "carried" in result.stderr


BAD = {
    "empty corpus": (["empty.txt", "new"], 1, ["the corpus has no tokens"]),
    "one word": (["one.txt", "new"], 1, ["keeps 'a' of the corpus's 1 words, but needs two"]),
    "not UTF-8": (["latin1.txt", "new"], 1, ["latin1.txt:1: byte 0xe9"]),
    "missing corpus": (["none.txt", "new"], 1, ["none.txt: no such file"]),
    "existing folder": (["good.txt", "old"], 1, ["old: exists already; choose another"]),
    "missing parent": (["good.txt", "none/new"], 1, ["none: no such folder"]),
    "empty held-out text": (
        ["good.txt", "new", "--held-out", "empty.txt"],
        1,
        ["empty.txt: has no tokens"],
    ),
    "loss no number": (
        ["good.txt", "new", "--learning-rate", "1e38", "--gradient-clip", "1e38"],
        1,
        ["new: the loss at step", "step 0"],
    ),
    "nothing to resume": (["--resume", "old"], 1, ["old: has no checkpoint"]),
    "missing model": (["good.txt", "new", "--from", "none"], 1, ["none: no such model"]),
    "options of no network": (
        ["good.txt", "new", "--options", "good.txt"],
        1,
        ["good.txt: not a JSON file"],
    ),
    "two architectures": (
        ["good.txt", "new", "--preset", "tiny", "--options", "arch.json"],
        2,
        ["pass one of them"],
    ),
    "two lengths": (["good.txt", "new", "--steps", "1", "--epochs", "1"], 2, ["pass one of them"]),
    "no corpus": (["new"], 2, ["Missing argument 'CORPUS'"]),
    "old words of nothing": (["good.txt", "new", "--vocabulary", "old"], 2, ["needs --from"]),
}


@pytest.mark.parametrize(("arguments", "code", "words"), BAD.values(), ids=BAD.keys())
def test_a_mistake_is_one_clear_line(
    elmo: Elmo,
    tmp_path: Path,
    options: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    words: list[str],
):
    monkeypatch.chdir(tmp_path)
    for name, content in {
        "empty.txt": b"\n\n",
        "one.txt": b"a a\na\n",
        "latin1.txt": b"caf\xe9 b\n",
        "good.txt": b"a b c\n" * 30,
    }.items():
        Path(name).write_bytes(content)
    Path("old").mkdir()
    Path("old/file").touch()
    with_options = (
        [] if {"--options", "--from", "--resume"} & set(arguments) else ["--options", options.name]
    )
    quick = (
        []
        if "--resume" in arguments
        else ["--warm-up", "0", "--streams", "2", "--unroll", "5", "--precision", "fp32"]
    )
    assert_one_line_error(elmo("train", *arguments, *with_options, *quick), *words, code=code)
    assert Path("new").exists() == ("loss" in words[0])  # whose checkpoint is kept


@pytest.mark.parametrize("room", [100, 4_000, 30_000, 60_000])
def test_a_full_disk_is_one_error(elmo: Elmo, text: Path, options: Path, tmp_path: Path, room: int):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        result = elmo("train", text, tmp_path / "model", "--options", options, "--steps", 5, *QUICK)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_one_line_error(result, "cannot be written")


def test_a_curve_is_drawn_where_matplotlib_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.undo()
    pytest.importorskip("matplotlib")
    for step in (1, 2):
        log.append(
            tmp_path,
            {
                "step": step,
                "words": step,
                "perplexity": 9.0,
                "held_out": {"zero": {"average": 8.0}},
            },
        )
    assert log.draw(tmp_path)
    assert (tmp_path / "curve.png").stat().st_size > 1000
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # noqa: ARG005  # its signature
    assert not log.draw(tmp_path)


@pytest.mark.parametrize(
    ("first", "last", "ticks"),
    [
        (400.0, 60.0, ["100", "200"]),
        (6900.0, 3100.0, ["3,000", "4,000", "5,000", "6,000", "7,000"]),
        (9e5, 30.0, ["100", "1,000", "10,000", "100,000", "1,000,000"]),
    ],
)
def test_a_curve_has_few_ticks_with_plain_numbers(
    tmp_path: Path, first: float, last: float, ticks: list[str]
):
    pytest.importorskip("matplotlib")
    for step, perplexity in enumerate((first, last), 1):
        log.append(tmp_path, {"step": step, "words": step, "perplexity": perplexity})
    axes = log.curve(tmp_path).axes[0]
    low, high = axes.get_ylim()
    labels = zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
    assert [label.get_text() for value, label in labels if low < value < high] == ticks
    assert not axes.get_yticklabels(minor=True)


def test_two_processes_train_the_model_of_one(
    text: Path, options: Path, elmo: Elmo, tmp_path: Path
):
    shared = [
        "train",
        text,
        "--options",
        options,
        "--steps",
        4,
        "--reset",
        0.5,
        "--softmax",
        "full",
        *quick("--dropout", 0),
    ]
    assert elmo(*shared, tmp_path / "one").exit_code == 0
    command = [
        sys.executable,
        "-m",
        "elmo_cli",
        *map(str, shared),
        str(tmp_path / "two"),
        "--device",
        "cpu",
    ]
    rendezvous = {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(20_000 + os.getpid() % 20_000),
    }
    processes = [
        subprocess.Popen(
            command,
            env={**os.environ, **rendezvous, "RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    words = [process.communicate(timeout=100)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], words
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name in one:
        # AdamW divides small sums, which round
        np.testing.assert_allclose(one[name], two[name], atol=5e-5)
    assert len(re.findall(r"steps, ", "".join(words))) == 1


@pytest.mark.parametrize("failing", ["export_model", "write_card"])
def test_a_run_stopped_between_its_last_checkpoint_and_its_model_still_makes_it(
    elmo: Elmo,
    text: Path,
    options: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failing: str,
):
    shared = ("--options", options, "--steps", 5, "--held-out", text, *QUICK)
    assert elmo("train", text, tmp_path / "whole", *shared).exit_code == 0
    with monkeypatch.context() as patch:
        patch.setattr(f"elmo_cli.training.loop.{failing}", raising(OutputError("the disk is full")))
        assert elmo("train", text, tmp_path / "parts", *shared).exit_code == 1
    assert elmo("train", "--resume", tmp_path / "parts").exit_code == 0
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)
    assert "the run is not complete" not in (tmp_path / "parts" / "README.md").read_text()
    assert {path.name for path in (tmp_path / "parts").iterdir()} == {
        path.name for path in (tmp_path / "whole").iterdir()
    }


def test_weights_that_give_no_loss_are_never_kept(
    elmo: Elmo, text: Path, options: Path, tmp_path: Path
):
    command = (
        "train",
        text,
        tmp_path / "model",
        "--options",
        options,
        "--steps",
        3,
        "--checkpoint-minutes",
        0,
    )
    assert_one_line_error(
        elmo(*command, *quick("--learning-rate", 1e30)),
        "the loss at step 2 is nan",
        "checkpoint of step 0 with --resume",
    )
    assert elmo("train", "--resume", tmp_path / "model", "--learning-rate", 0.01).exit_code == 0
    assert all(np.isfinite(array).all() for array in weights(tmp_path / "model").values())


def test_a_word_that_holds_line_ends_is_in_no_vocabulary(
    elmo: Elmo, options: Path, corpus: Callable[..., Path], tmp_path: Path
):
    lines = corpus(
        '{"tokens": ["a", "b\\rc", "d\\n", "a"]}\n{"tokens": ["d", "b\\rc"]}\n' * 4,
        name="lines.jsonl",
    )
    assert (
        elmo(
            "train", lines, tmp_path / "model", "--options", options, "--steps", 2, *QUICK
        ).exit_code
        == 0
    )
    assert (tmp_path / "model" / "vocab.txt").read_text().split() == [
        "<S>",
        "</S>",
        "<UNK>",
        "a",
        "d",
    ]


@pytest.mark.parametrize(
    "option",
    ["--learning-rate", "--epochs", "--minutes", "--dropout", "--reset", "--gradient-clip"],
)
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_numbers_that_are_none_are_no_settings(
    elmo: Elmo, text: Path, tmp_path: Path, option: str, value: str
):
    assert elmo("train", text, tmp_path / "model", option, value).exit_code == 2


def test_a_run_killed_before_its_first_checkpoint_is_begun_anew(
    elmo: Elmo, text: Path, options: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "model"
    command = ("train", text, folder, "--options", options, "--steps", 2, *QUICK)
    with monkeypatch.context() as patch:
        patch.setattr(
            "elmo_cli.training.job.save_checkpoint", raising(OutputError("the disk is full"))
        )
        assert elmo(*command).exit_code == 1
    assert [path.name for path in folder.iterdir()] == [".training"]
    with locked(folder / ".training", folder):
        assert_one_line_error(elmo(*command), "model: is being written by another run")
        assert (folder / ".training" / "run.json").exists()
    assert elmo(*command).exit_code == 0


def cut(content: bytes) -> bytes:
    return content[:-4]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *(
            (name, change)
            for name in ("forward.i32", "backward.i32", "characters.i16", "text.json")
            for change in (cut, lambda _: b"")
        ),
        ("forward.i32", lambda content: b"\xff" * 4 + content[4:]),
        ("text.json", lambda _: b"[]"),
        ("text.json", lambda content: content.replace(b'"types": ', b'"types": 7')),
        ("vocab.txt", cut),
    ],
)
def test_a_damaged_corpus_of_a_run_is_one_clear_error(
    elmo: Elmo,
    text: Path,
    options: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    change: Callable[[bytes], bytes],
):
    stop_at(monkeypatch, 2)
    folder = tmp_path / "model"
    assert elmo("train", text, folder, "--options", options, "--steps", 4, *QUICK).exit_code == 130
    path = folder / ".training" / name
    path.write_bytes(change(path.read_bytes()))
    assert_one_line_error(elmo("train", "--resume", folder), ".training", "start a new run")

"""The command line: output, messages and exit codes."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import Result

import elmo_cli
from tests.conftest import SAMPLE, max_difference, read_features, sentences_of
from tests.helpers.runs import embedding_stdin

Elmo = Callable[..., Result]
Corpus = Callable[..., Path]


def assert_one_line_error(result: Result, *words: str, code: int = 1) -> None:
    assert result.exit_code == code, result.output
    assert all(word in result.stderr for word in words), result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    if code == 1:
        assert result.stderr.count("\n") == 1, result.stderr


def test_a_mistyped_command_is_answered_with_the_name_it_resembles(elmo: Elmo):
    result = elmo("emebd", SAMPLE, "out.h5")
    assert result.exit_code == 2
    assert "No such command 'emebd'; did you mean 'embed'?" in result.stderr
    assert "did you mean" not in elmo("compress").stderr


def test_the_main_job_writes_every_sentence_and_says_so(elmo: Elmo, model: Path, tmp_path: Path):
    out = tmp_path / "out.h5"
    result = elmo("embed", SAMPLE, out, "--model", model)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    sentences = sentences_of(SAMPLE)
    n_tokens = sum(map(len, sentences))
    pattern = (
        rf"{len(sentences)} sentences, {n_tokens:,} tokens in [\d.]+ s \([\d,]+ tokens/s\): "
        r".*out\.h5, [\d.]+ kB, by tiny, "
    )
    pattern += rf"sha256 {hashlib.sha256((model / 'weights.hdf5').read_bytes()).hexdigest()[:12]}\n"
    assert re.fullmatch(pattern, result.stderr)
    features = read_features(out)
    assert [features[str(i)].shape for i in range(len(sentences))] == [
        (3, len(tokens), 12) for tokens in sentences
    ]


def test_metadata_is_in_attributes_only(elmo: Elmo, model: Path, corpus: Corpus, tmp_path: Path):
    elmo("embed", corpus("a b\n"), tmp_path / "out.h5", "--model", model)
    with h5py.File(tmp_path / "out.h5") as file:
        assert set(file) == {"0", "sentence_to_index"}
        assert file.attrs["elmo_version"] == elmo_cli.__version__
        assert file.attrs["model"] == "tiny"
        assert len(file.attrs["model_sha256"]) == 64
        assert json.loads(file.attrs["options"]) == json.loads((model / "options.json").read_text())
        assert (file.attrs["layers"], file.attrs["dtype"], file.attrs["start_state"]) == (
            "all",
            "float32",
            "zero",
        )


def test_layers_are_chosen_as_named(elmo: Elmo, model: Path, corpus: Corpus, tmp_path: Path):
    path = corpus("a b c\n")

    def run(*options: str) -> np.ndarray:
        assert (
            elmo(
                "embed", path, tmp_path / "out.h5", "--model", model, "--overwrite", *options
            ).exit_code
            == 0
        )
        return read_features(tmp_path / "out.h5")["0"]

    everything = run()
    assert everything.shape == (3, 3, 12)
    for options, expected in [
        (["--layers", "all"], everything),
        (["--all"], everything),
        (["--top"], everything[2]),
        (["--layers", "average"], everything.mean(axis=0)),
        (["--layers", "2,0"], everything[[2, 0]]),
        (["--layers", "-1"], everything[[2]]),
    ]:
        np.testing.assert_allclose(run(*options), expected, rtol=1e-6)


def test_the_spellings_of_allennlp_elmo_are_taken(
    elmo: Elmo, model: Path, corpus: Corpus, tmp_path: Path
):
    result = elmo(
        *(
            "embed",
            "--average",
            corpus("a b\nc\n"),
            tmp_path / "out.h5",
            "--cuda-device",
            "-1",
            "--batch-size",
            "2",
            "--forget-sentences",
        ),
        *(
            "--options-file",
            model / "options.json",
            "--weight-file",
            model / "weights.hdf5",
            "--file-friendly-logging",
        ),
        *("--vocab-path", "unused", "--include-package", "unused"),
    )
    assert result.exit_code == 0, result.output
    assert {name: array.shape for name, array in read_features(tmp_path / "out.h5").items()} == {
        "0": (2, 12),
        "1": (1, 12),
    }


def test_sentence_keys_keep_the_first_of_equal_sentences_and_say_so(
    elmo: Elmo, model: Path, corpus: Corpus, tmp_path: Path
):
    result = elmo(
        "embed",
        corpus("a / b\nc\nc\n"),
        tmp_path / "out.h5",
        "--model",
        model,
        "--use-sentence-keys",
    )
    assert ": 1 left out" in result.stderr
    assert set(read_features(tmp_path / "out.h5")) == {"a \\s b", "c"}


def test_stdin_is_read_and_gives_the_same(elmo: Elmo, model: Path, tmp_path: Path):
    elmo("embed", SAMPLE, tmp_path / "file.h5", "--model", model)
    result = elmo("embed", "-", tmp_path / "stdin.h5", "--model", model, stdin=SAMPLE.read_bytes())
    assert result.exit_code == 0, result.output
    assert (
        max_difference(read_features(tmp_path / "file.h5"), read_features(tmp_path / "stdin.h5"))
        == 0
    )


def test_a_bad_line_of_stdin_stops_the_run_and_leaves_nothing(
    elmo: Elmo, model: Path, tmp_path: Path
):
    result = elmo(
        "embed",
        "-",
        tmp_path / "out.h5",
        "--model",
        model,
        "--window-tokens",
        2,
        "--no-resume",
        stdin=b"a b\nc d\n\xff\n",
    )
    assert_one_line_error(result, "standard input:3: byte 0xff at byte offset 8")
    assert list(tmp_path.iterdir()) == []


def test_blank_lines_keep_their_numbers(elmo: Elmo, model: Path, corpus: Corpus, tmp_path: Path):
    path = corpus("a b\n\nc\n")
    kept = elmo("embed", path, tmp_path / "kept.h5", "--model", model, "--blank-lines", "keep")
    skipped = elmo(
        "embed", path, tmp_path / "skipped.h5", "--model", model, "--blank-lines", "skip"
    )
    assert kept.exit_code == skipped.exit_code == 0
    assert {name: array.shape for name, array in read_features(tmp_path / "kept.h5").items()} == {
        "0": (3, 2, 12),
        "1": (3, 0, 12),
        "2": (3, 1, 12),
    }
    assert set(read_features(tmp_path / "skipped.h5")) == {"0", "2"}
    assert "skipped 1 blank line (2)" in skipped.stderr


def test_starts_are_told_apart_in_numbers_and_metadata(
    elmo: Elmo, model: Path, corpus: Corpus, tmp_path: Path
):
    path, seen = corpus("a b\na b\n"), {}
    for name, options in {
        "zero": [],
        "primed": ["--prime", SAMPLE],
        "carried": ["--stateful", "--batch-size", 1],
    }.items():
        assert (
            elmo("embed", path, tmp_path / f"{name}.h5", "--model", model, *options).exit_code == 0
        )
        seen[name] = read_features(tmp_path / f"{name}.h5")
        with h5py.File(tmp_path / f"{name}.h5") as file:
            assert file.attrs["start_state"].startswith(name)
    for name in ("zero", "primed"):
        np.testing.assert_allclose(seen[name]["0"], seen[name]["1"], atol=1e-6)
    assert np.abs(seen["carried"]["0"] - seen["carried"]["1"]).max() > 1e-3
    assert np.abs(seen["zero"]["0"][1:] - seen["primed"]["0"][1:]).max() > 1e-3
    np.testing.assert_allclose(seen["zero"]["0"], seen["carried"]["0"], atol=1e-6)


def test_an_empty_corpus_makes_an_empty_file_and_a_warning(
    elmo: Elmo, model: Path, corpus: Corpus, tmp_path: Path
):
    result = elmo("embed", corpus(""), tmp_path / "out.h5", "--model", model)
    assert result.exit_code == 0
    assert "Warning" in result.stderr
    assert read_features(tmp_path / "out.h5") == {}


def test_quiet_says_nothing(elmo: Elmo, model: Path, tmp_path: Path):
    result = elmo("embed", SAMPLE, tmp_path / "out.h5", "--model", model, "--quiet")
    assert (result.exit_code, result.stderr, result.stdout) == (0, "", "")


BAD = {
    "missing input": (["none.txt", "out.h5"], 1, ["none.txt: no such file"]),
    "folder of all sorts": (
        [".", "out.h5"],
        1,
        ["old.h5: the suffix .h5 is not one of a supported format", "--input-format text|parquet|"],
    ),
    "not UTF-8": (["latin1.txt", "out.h5"], 1, ["latin1.txt:1: byte 0xe9 at byte offset 3"]),
    "UTF-16": (["utf16.txt", "out.h5"], 1, ["utf16.txt: is UTF-16"]),
    "blank lines": (["blank.txt", "out.h5"], 1, ["blank.txt: 1 blank line (2)"]),
    "damaged gzip": (["bad.txt.gz", "out.h5"], 1, ["bad.txt.gz: cannot be read to its end"]),
    "existing output": (["good.txt", "old.h5"], 1, ["old.h5: exists already; pass --overwrite"]),
    "output folder missing": (["good.txt", "none/out.h5"], 1, ["none: no such folder"]),
    "output a directory": (["good.txt", "."], 1, [".: is a directory"]),
    "output to stdout": (["good.txt", "-"], 2, ["-: HDF5 cannot be written to standard output"]),
    "priming from stdin": (
        ["good.txt", "out.h5", "--prime", "-"],
        1,
        ["--prime -: must be one file"],
    ),
    "output is input": (
        ["good.txt", "good.txt", "--overwrite"],
        1,
        ["good.txt: is read by this run"],
    ),
    "output is priming text": (
        ["good.txt", "blank.txt", "--prime", "blank.txt", "--overwrite"],
        1,
        ["blank.txt: is read by this run"],
    ),
    "output is a pipe": (["good.txt", "pipe", "--overwrite"], 1, ["pipe: is not a regular file"]),
    "empty priming text": (
        ["good.txt", "out.h5", "--prime", "empty.txt"],
        1,
        ["--prime empty.txt: contains no tokens"],
    ),
    "name too long": (["x" * 5000, "out.h5"], 1, ["File name too long"]),
    "missing model": (["good.txt", "out.h5", "--model", "none"], 1, ["none: no such model"]),
    "folder without model": (
        ["good.txt", "out.h5", "--model", "."],
        1,
        ["no model found", "found"],
    ),
    "options without weights": (
        ["good.txt", "out.h5", "--options", "good.txt"],
        1,
        ["--options and --weights are used together"],
    ),
    "missing weights": (
        ["good.txt", "out.h5", "--options", "good.txt", "--weights", "none"],
        1,
        ["none: no such weights file"],
    ),
    "options no JSON": (
        ["good.txt", "out.h5", "--options", "good.txt", "--weights", "good.txt"],
        1,
        ["good.txt: not a JSON file"],
    ),
    "unknown layer": (
        ["good.txt", "out.h5", "--layers", "0,3"],
        1,
        ["layers '0,3': the model has layers 0 to 2"],
    ),
    "no layer": (
        ["good.txt", "out.h5", "--layers", "topp"],
        1,
        ["layers 'topp': takes all, top, average"],
    ),
    "missing priming text": (["good.txt", "out.h5", "--prime", "none"], 1, ["none: no such file"]),
    "absent device": (
        ["good.txt", "out.h5", "--device", "cuda:77"],
        1,
        ["--device cuda:77: not available here"],
    ),
    "unknown device": (
        ["good.txt", "out.h5", "--device", "gpu"],
        2,
        ["'gpu' is none of auto, all, cpu, cuda"],
    ),
    "two layer choices": (["good.txt", "out.h5", "--all", "--top"], 2, ["pass one of them"]),
    "two starts": (
        ["good.txt", "out.h5", "--stateful", "--prime", "good.txt"],
        2,
        ["pass one of them"],
    ),
    "no output": (["good.txt"], 2, ["Missing argument 'OUTPUT'"]),
    "unknown option": (["good.txt", "out.h5", "--colour"], 2, ["No such option"]),
    "escape in a name": (["no\x1b[31m\n.txt", "out.h5"], 1, ["no\\x1b[31m\\n.txt: no such file"]),
    "too long a sentence": (
        ["good.txt", "out.h5", "--max-sentence-tokens", "1"],
        1,
        ["good.txt:1: has 2 tokens, more than"],
    ),
    "too many threads": (
        ["good.txt", "out.h5", "--threads", "5000"],
        2,
        ["5000 is not in the range 1 to 1024"],
    ),
}


@pytest.mark.parametrize(("arguments", "code", "words"), BAD.values(), ids=BAD.keys())
def test_a_mistake_is_one_clear_line_and_leaves_nothing(
    elmo: Elmo,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    words: list[str],
):
    monkeypatch.chdir(tmp_path)
    files = {
        "good.txt": b"a b\n",
        "latin1.txt": b"caf\xe9\n",
        "utf16.txt": "ab\n".encode("utf-16"),
        "blank.txt": b"a\n\nb\n",
        "old.h5": b"old",
    }
    for name, content in {**files, "bad.txt.gz": b"\x1f\x8b no", "empty.txt": b""}.items():
        Path(name).write_bytes(content)
    os.mkfifo("pipe")
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.iterdir()}
    with_model = [] if {"--model", "--options"} & set(arguments) else ["--model", model]
    assert_one_line_error(elmo("embed", *arguments, *with_model), *words, code=code)
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.iterdir()} == before


def test_weights_of_another_model_are_one_error(
    elmo: Elmo, model: Path, corpus: Corpus, tmp_path: Path
):
    options = tmp_path / "options.json"
    options.write_text((model / "options.json").read_text().replace('"dim": 10', '"dim": 11'))
    result = elmo(
        "embed",
        corpus("a\n"),
        tmp_path / "out.h5",
        "--options",
        options,
        "--weights",
        model / "weights.hdf5",
    )
    assert_one_line_error(
        result,
        "RNN_0/RNN/MultiRNNCell/Cell0/LSTMCell/W_0",
        "(12, 40)",
        "(12, 44)",
        "options.json",
        "weights.hdf5",
    )


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_an_error(
    elmo: Elmo, model: Path, corpus: Corpus, tmp_path: Path
):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert_one_line_error(
        elmo("embed", corpus("a\n"), locked / "out.h5", "--model", model),
        "cannot be written (Permission denied)",
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_exits_by_its_signal_and_leaves_nothing(
    model: Path, tmp_path: Path, number: signal.Signals, code: int
):
    command = embedding_stdin(
        tmp_path / "out.h5",
        "--model",
        model,
        "--window-tokens",
        "1",
        "--no-resume",
    )
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        process.stdin.write("a b\n" * 10_000)
        process.stdin.flush()
        deadline = time.monotonic() + 60
        while (
            not any(path.stat().st_size > 10_000 for path in tmp_path.glob(".out.h5.*/*"))
            and time.monotonic() < deadline
        ):
            time.sleep(0.05)  # until windows have been written
        process.send_signal(number)
        _, words = process.communicate(timeout=60)
    assert (process.returncode, words) == (code, f"Stopped by {number.name}.\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse the name")
def test_names_that_are_no_utf8_are_taken(model: Path, tmp_path: Path):
    corpus = Path(os.fsdecode(os.fsencode(tmp_path) + b"/s\xff.txt"))
    corpus.write_text("a b\n")
    command = [
        sys.executable,
        "-m",
        "elmo_cli",
        "embed",
        corpus,
        tmp_path / "out.h5",
        "--model",
        model,
    ]
    assert subprocess.run(command, check=False).returncode == 0
    with h5py.File(tmp_path / "out.h5") as file:
        assert "s\\udcff.txt" in file.attrs["command"]


@pytest.mark.parametrize(
    ("layers", "shape"),
    [("all", (3, 0, 12)), ("top", (0, 12)), ("average", (0, 12)), ("0,2", (2, 0, 12))],
)
def test_a_kept_blank_line_is_an_empty_array_of_every_choice(
    elmo: Elmo, model: Path, corpus: Corpus, tmp_path: Path, layers: str, shape: tuple[int, ...]
):
    result = elmo(
        "embed",
        corpus("a\n\n"),
        tmp_path / "out.h5",
        "--model",
        model,
        "--blank-lines",
        "keep",
        "--layers",
        layers,
    )
    assert result.exit_code == 0, result.output
    assert read_features(tmp_path / "out.h5")["1"].shape == shape


def test_a_link_is_followed_and_stays(elmo: Elmo, model: Path, corpus: Corpus, tmp_path: Path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out.h5").symlink_to(tmp_path / "disk" / "real.h5")
    assert elmo("embed", corpus("a\n"), tmp_path / "out.h5", "--model", model).exit_code == 0
    assert (tmp_path / "out.h5").is_symlink()
    assert h5py.is_hdf5(tmp_path / "disk" / "real.h5")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read anything")
def test_an_unreadable_file_is_an_error(elmo: Elmo, model: Path, corpus: Corpus, tmp_path: Path):
    path = corpus("a\n")
    path.chmod(0)
    assert_one_line_error(
        elmo("embed", path, tmp_path / "out.h5", "--model", model), "permission denied"
    )


@pytest.mark.parametrize("room", [1_000, 200_000, 980_000])
def test_a_full_disk_is_one_error_and_leaves_nothing(model: Path, tmp_path: Path, room: int):
    resource = pytest.importorskip("resource")
    command = [
        sys.executable,
        "-m",
        "elmo_cli",
        "embed",
        SAMPLE,
        tmp_path / "out.h5",
        "--model",
        model,
        "--window-tokens",
        "100",
        "--no-resume",
    ]

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "out.h5: cannot be written (File too large)" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_words_that_nobody_reads_do_not_end_the_work(model: Path, tmp_path: Path):
    command = [
        sys.executable,
        "-m",
        "elmo_cli",
        "embed",
        SAMPLE,
        tmp_path / "out.h5",
        "--model",
        model,
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        assert process.stderr
        process.stderr.close()
    assert process.returncode == 0
    assert h5py.is_hdf5(tmp_path / "out.h5")


def test_a_closed_standard_error_loses_words_only(model: Path, tmp_path: Path):
    command = [
        sys.executable,
        "-m",
        "elmo_cli",
        "embed",
        SAMPLE,
        tmp_path / "out.h5",
        "--model",
        model,
    ]
    for code in (0, 1):  # the second time it exists already
        assert (
            subprocess.run(
                ["/bin/sh", "-c", 'exec "$@" 2>&-', "sh", *map(str, command)], check=False
            ).returncode
            == code
        )
        assert h5py.is_hdf5(tmp_path / "out.h5")


def test_help_needs_no_torch_and_every_help_ends_with_an_example():
    program = (
        "import sys; from elmo_cli.cli.main import main; sys.argv = ['elmo', {}]\ntry: "
        "main()\nfinally: sys.exit('torch' in sys.modules)"
    )
    for arguments in ("'--help'", "'embed', '--help'"):
        done = subprocess.run(
            [sys.executable, "-c", program.format(arguments)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Example" in done.stdout
        assert "elmo embed" in done.stdout


def test_the_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "elmo_cli", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"elmo {elmo_cli.__version__}\n"


@pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="the system has no disk that is always full"
)
def test_a_full_disk_behind_standard_output_is_one_line():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "elmo_cli", "models"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (
        1,
        "Error: cannot write (No space left on device); free disk space, or write elsewhere\n",
    )

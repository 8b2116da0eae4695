"""Unusual machines: no home, permission, memory or threads; names not in UTF-8; wrong clocks."""

import errno
import json
import os
import pwd
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from elmo_cli.cli import main as cli
from elmo_cli.cli.refusals import describe_refusal
from elmo_cli.errors import DiskError, FeaturesError
from elmo_cli.features.reader import open_features
from elmo_cli.inference import pipeline
from elmo_cli.inference.embedder import Embedder
from elmo_cli.io.atomic import check_disk_space
from elmo_cli.models.cache import RECORD
from elmo_cli.training import log
from tests.cli.test_main import assert_one_line_error
from tests.conftest import make_options
from tests.training.test_run import QUICK, TEXT

Elmo = Callable[..., Result]
Corpus = Callable[..., Path]
NOT_UTF8 = os.fsdecode(b"na\xffme")
WITHOUT_HOME = (
    "import pwd, sys\ndef none(_): raise KeyError\npwd.getpwuid = none\nfrom elmo_cli.cli.main "
    "import main\nmain()"
)
OUTPUTS = ("out.h5", "packed.h5", "out.parquet", "out.arrow", "out.npz", "out.jsonl", "shards")


@pytest.fixture
def options(tmp_path: Path) -> Path:
    path = tmp_path / "arch.json"
    path.write_text(json.dumps(make_options(projection_dim=12, dim=24)))
    return path


@pytest.fixture
def text(corpus: Corpus) -> Path:
    return corpus(TEXT * 4, "text.txt")


@pytest.fixture(autouse=True)
def no_picture(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "options" in request.fixturenames:
        monkeypatch.setattr(log, "draw", lambda _: True)


def refuse(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, *refused: Path) -> None:
    """Let a function that opens files meet the permissions that root is exempt from."""
    original = getattr(owner, name)

    def opened(path: object, *arguments: object, **others: object) -> object:
        if Path(os.fspath(path)) in refused:  # type: ignore[call-overload]
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return original(path, *arguments, **others)

    monkeypatch.setattr(owner, name, opened)


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: object) -> None:
        raise KeyError("no such user")

    monkeypatch.setattr(pwd, "getpwuid", none)
    for name in ("HOME", "XDG_CACHE_HOME", "ELMO_CACHE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_home")
def test_a_local_model_needs_no_home_folder(
    elmo: Elmo, model: Path, corpus: Corpus, tmp_path: Path
):
    assert elmo("embed", corpus("a b\n"), tmp_path / "out.h5", "--model", model).exit_code == 0
    assert elmo("embed", corpus("a b\n"), tmp_path / "tiny.h5").exit_code == 0


@pytest.mark.usefixtures("no_home")
@pytest.mark.parametrize(
    "command",
    [
        ("models",),
        ("models", "path", "small"),
        ("models", "verify"),
        ("models", "show", "small"),
        ("models", "remove", "small"),
    ],
)
def test_a_cache_without_a_home_folder_is_one_line(elmo: Elmo, command: tuple[str, ...]):
    assert_one_line_error(elmo(*command), "home folder", "--cache-dir", "ELMO_CACHE")


@pytest.mark.usefixtures("no_home")
def test_a_known_model_without_a_home_folder_is_one_line(
    elmo: Elmo, corpus: Corpus, tmp_path: Path
):
    result = elmo("embed", corpus("a b\n"), tmp_path / "out.h5", "--model", "small", "--offline")
    assert_one_line_error(result, "home folder", "--cache-dir", "ELMO_CACHE")
    result = elmo(
        "embed",
        corpus("a b\n"),
        tmp_path / "out.h5",
        "--model",
        "small",
        "--offline",
        "--cache-dir",
        tmp_path,
    )
    assert_one_line_error(result, "small: is not in the cache")


def test_a_process_of_an_unknown_user_lists_a_cache_that_is_named(tmp_path: Path):
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "ELMO_CACHE": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_HOME, "models"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "original" in done.stdout


@pytest.mark.parametrize("refused", ["small", f"small/{RECORD}"])
def test_a_cache_that_may_not_be_read_is_not_called_damaged(
    elmo: Elmo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
):
    place = tmp_path / "small"
    place.mkdir()
    (place / RECORD).write_text("{}")
    for method in ("iterdir", "read_bytes"):
        refuse(monkeypatch, Path, method, tmp_path / refused)
    result = elmo("models", "show", "small", "--cache-dir", tmp_path)
    assert_one_line_error(result, refused, "permission denied", "--cache-dir", "ELMO_CACHE")
    assert "damaged" not in result.stderr


def test_a_cache_that_may_not_be_written_names_its_settings(
    elmo: Elmo, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    place = tmp_path / "cache" / "small"
    refuse(monkeypatch, Path, "mkdir", place)
    result = elmo(
        "embed",
        corpus("a\n"),
        tmp_path / "out.h5",
        "--model",
        "small",
        "--cache-dir",
        tmp_path / "cache",
    )
    assert_one_line_error(result, str(place), "permission denied", "--cache-dir", "ELMO_CACHE")


def features(elmo: Elmo, model: Path, corpus: Corpus, folder: Path, name: str) -> Path:
    chosen = {"packed.h5": ["--layout", "packed"], "shards": ["--output-format", "parquet"]}.get(
        name, []
    )
    assert (
        elmo("embed", corpus("a b\nc\n"), folder / name, "--model", model, *chosen).exit_code == 0
    )
    return folder / name


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("command", ["inspect", "verify", "convert"])
def test_features_that_may_not_be_read_are_one_line(
    elmo: Elmo,
    model: Path,
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    command: str,
):
    path = features(elmo, model, corpus, tmp_path, name)
    file = path / "part-00000.parquet" if path.is_dir() else path
    refuse(monkeypatch, Path, "open", file)
    further = [tmp_path / "again.jsonl"] if command == "convert" else []
    result = elmo(command, path, *further)
    assert_one_line_error(
        result, f"{file}: cannot be read (permission denied); check its permissions"
    )


def test_a_folder_of_shards_that_may_not_be_listed_is_one_line(
    elmo: Elmo, model: Path, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = features(elmo, model, corpus, tmp_path, "shards")
    refuse(monkeypatch, os, "scandir", path)
    assert_one_line_error(elmo("inspect", path), f"{path}: cannot be read (permission denied)")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run as somebody else")
def test_another_user_is_told_that_a_file_may_not_be_read(
    elmo: Elmo, model: Path, corpus: Corpus, tmp_path: Path
):
    path = features(elmo, model, corpus, tmp_path, "out.h5")
    path.chmod(0)
    tmp_path.chmod(0o711)
    if (child := os.fork()) == 0:
        code = 70
        try:
            os.chdir(tmp_path)  # the folders above are root's alone
            os.setuid(12345)
            open_features(path.name)
        except FeaturesError as error:
            code = 0 if "permission denied" in str(error).lower() else 1
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def test_what_is_stored_as_it_is_needs_no_room_for_temporary_files(
    elmo: Elmo, model: Path, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = features(elmo, model, corpus, tmp_path, "out.npz")
    assert elmo("convert", path, tmp_path / "gzip.npz", "--compression", "gzip").exit_code == 0

    def full(*_: object, **__: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    for name in ("gettempdir", "TemporaryFile"):
        monkeypatch.setattr(f"elmo_cli.features.formats.npz.tempfile.{name}", full)
    assert elmo("verify", path).exit_code == 0
    assert_one_line_error(elmo("inspect", tmp_path / "gzip.npz"), "set TMPDIR")


@pytest.mark.parametrize("name", OUTPUTS)
def test_memory_that_does_not_suffice_is_no_damage(
    elmo: Elmo,
    model: Path,
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
):
    path = features(elmo, model, corpus, tmp_path, name)

    def none(*_: object, **__: object) -> None:
        raise MemoryError

    for where in (
        "_hdf5.h5py.File",
        "parquet.pq.ParquetFile",
        "arrow.pa.memory_map",
        "npz.ZipSource",
        "jsonl.find_line_starts",
    ):
        monkeypatch.setattr(f"elmo_cli.features.formats.{where}", none)
    result = elmo("inspect", path)
    assert_one_line_error(result, "memory")
    assert "damaged" not in result.stderr


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"step": "x", "words": 1}',
        b"[" * 9999,
        b'{"held_out": 3}',
    ],
)
def test_a_damaged_line_of_a_log_is_passed_over(tmp_path: Path, line: bytes):
    good = [
        {"step": step, "words": step, "perplexity": 9.0, "held_out": {"zero": {"average": 8.0}}}
        for step in (1, 2, 3)
    ]
    lines = [json.dumps(entry).encode() for entry in good]
    (tmp_path / log.LOG).write_bytes(b"\n".join([lines[0], line, *lines[1:], line, b""]))
    log.rewind(tmp_path, 2)
    assert list(log.read(tmp_path)) == good[:2]
    assert (tmp_path / log.LOG).read_bytes().count(b"\n") == 2


def test_a_held_out_figure_that_is_none_is_not_drawn(tmp_path: Path):
    pytest.importorskip("matplotlib")
    log.append(
        tmp_path,
        {
            "step": 1,
            "words": 1,
            "perplexity": None,
            "held_out": {"zero": {"average": "x"}, "carried": 3},
        },
    )
    assert log.draw(tmp_path)


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_name_that_is_not_utf8_is_taken(
    elmo: Elmo, model: Path, corpus: Corpus, tmp_path: Path, name: str
):
    folder = tmp_path / NOT_UTF8
    folder.mkdir()
    path = features(elmo, model, corpus, folder, name)
    assert elmo("inspect", path).exit_code == 0
    assert elmo("verify", path).exit_code == 0
    assert json.loads(elmo("inspect", path, "--json").stdout)["sentences"] == 2
    assert elmo("convert", path, folder / "again.npz").exit_code == 0


def test_a_model_is_trained_in_a_folder_whose_name_is_not_utf8(
    elmo: Elmo, text: Path, options: Path, tmp_path: Path
):
    result = elmo("train", text, tmp_path / NOT_UTF8, "--options", options, *QUICK, "--steps", 1)
    assert result.exit_code == 0, result.output
    assert (tmp_path / NOT_UTF8 / "README.md").read_text("utf-8").startswith(r"# na\udcffme")
    assert elmo("evaluate", tmp_path / NOT_UTF8, text).exit_code == 0


def test_paths_on_standard_output_are_the_bytes_that_they_are(
    elmo: Elmo, tmp_path: Path, model: Path
):
    cache = tmp_path / NOT_UTF8
    shutil.copytree(model, cache / "original")
    result = elmo("models", "path", "original", "--cache-dir", cache)
    assert (result.exit_code, result.stdout_bytes) == (0, os.fsencode(cache / "original") + b"\n")


def test_characters_that_the_terminal_lacks_are_escaped(
    elmo: Elmo, model: Path, corpus: Corpus, tmp_path: Path
):
    elmo("embed", corpus("Łódź\n"), tmp_path / "out.h5", "--model", model)
    result = CliRunner(charset="latin-1").invoke(cli.main, ["inspect", str(tmp_path / "out.h5")])
    assert result.exit_code == 0
    assert rb"\u0141" + b"\xf3d" + rb"\u017a" in result.stdout_bytes


@pytest.mark.parametrize(
    "epoch", ["253402300800", "9" * 40, "-1", "abc", "1.5", "\u0663", "\u00b2"]
)
def test_a_date_that_is_none_is_refused(
    elmo: Elmo,
    model: Path,
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    epoch: str,
):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    result = elmo("embed", corpus("a\n"), tmp_path / "out.h5", "--model", model)
    assert_one_line_error(result, "SOURCE_DATE_EPOCH", "seconds since 1970", code=2)
    assert not (tmp_path / "out.h5").exists()


@pytest.mark.parametrize(("epoch", "date"), [("0", "1970-01-01"), ("253402300799", "9999-12-31")])
def test_a_date_is_taken_up_to_the_year_9999(
    elmo: Elmo,
    model: Path,
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    epoch: str,
    date: str,
):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    assert elmo("embed", corpus("a\n"), tmp_path / "out.h5", "--model", model).exit_code == 0
    with open_features(tmp_path / "out.h5") as found:
        assert found.metadata["created"].startswith(date)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError("Unable to allocate 9 GiB"), ["memory is insufficient", "9 GiB", "ulimit -v"]),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
            ["memory is insufficient", "ulimit -v"],
        ),
        (
            ImportError("libtorch_cpu.so: failed to map segment from shared object"),
            ["memory is insufficient"],
        ),
        # The message of oneDNN
        (RuntimeError("could not create a primitive"), ["memory is insufficient"]),
        (
            RuntimeError("can't start new thread"),
            ["refuses more threads", "ulimit -u", "--threads 1"],
        ),
        (
            BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
            ["resource temporarily unavailable", "ulimit -u"],
        ),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), ["cannot allocate memory", "ulimit -v"]),
        (
            FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"),
            ["set TMPDIR"],
        ),
        (OSError(errno.EMFILE, "Too many open files"), ["too many open files", "ulimit -n"]),
    ],
)
def test_what_the_system_refuses_is_one_line(
    elmo: Elmo,
    model: Path,
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    words: list[str],
):
    def refused(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("elmo_cli.inference.job.CorpusScan", refused)
    assert_one_line_error(
        elmo("embed", corpus("a\n"), tmp_path / "out.h5", "--model", model), *words
    )


def test_a_bug_keeps_its_traceback():
    assert describe_refusal(RuntimeError("dictionary changed size during iteration")) is None


def test_a_sentence_that_memory_does_not_suffice_for_is_named(
    elmo: Elmo, model: Path, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = Embedder.run

    def little(self: Embedder, batch: list[list[str]], *arguments: object) -> object:
        if any("c" in tokens for tokens in batch):
            raise MemoryError("Unable to allocate 9 GiB")
        return run(self, batch, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Embedder, "run", little)
    result = elmo("embed", corpus("a b\nc d c\n"), tmp_path / "out.h5", "--model", model)
    assert_one_line_error(
        result, "sentence 2: ", "one sentence of 3 tokens", "9 GiB", "--max-sentence-tokens"
    )


def test_a_sentence_that_is_too_long_to_be_chosen_from_is_named(
    elmo: Elmo, model: Path, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        "elmo_cli.inference.selection.cast",
        lambda *_: (_ for _ in ()).throw(MemoryError("Unable to allocate 9 GiB")),
    )
    result = elmo("embed", corpus("a b\n"), tmp_path / "out.h5", "--model", model)
    assert_one_line_error(
        result, "sentence 1: ", "one sentence of 2 tokens", "--max-sentence-tokens"
    )


@pytest.mark.parametrize(("choice", "held"), [("top", 1), ("1,2", 2), ("average", 1), ("all", 3)])
def test_of_a_long_sentence_only_the_layers_asked_for_are_held(
    elmo: Elmo,
    model: Path,
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    choice: str,
    held: int,
):
    monkeypatch.setattr("elmo_cli.inference.embedder.CHUNK_TOKENS", 16)
    seen: list[tuple[int, ...]] = []
    select = pipeline._select
    monkeypatch.setattr(
        pipeline,
        "_select",
        lambda tokens, array, last: seen.append(array.shape) or select(tokens, array, last),
    )
    words = " ".join(f"w{i}" for i in range(100))
    assert (
        elmo(
            "embed",
            corpus(f"{words}\n"),
            tmp_path / "some.h5",
            "--model",
            model,
            "--layers",
            choice,
        ).exit_code
        == 0
    )
    assert seen == [(held, 100, 12) if choice in ("1,2", "all") else (100, 12)]
    monkeypatch.setattr("elmo_cli.inference.embedder.CHUNK_TOKENS", 1000)
    assert (
        elmo(
            "embed",
            corpus(f"{words}\n"),
            tmp_path / "together.h5",
            "--model",
            model,
            "--layers",
            choice,
        ).exit_code
        == 0
    )
    with (
        open_features(tmp_path / "some.h5") as some,
        open_features(tmp_path / "together.h5") as together,
    ):
        np.testing.assert_allclose(some[0], together[0], atol=1e-5)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can leave a folder of another user")
def test_a_work_folder_of_another_user_is_named(
    elmo: Elmo, model: Path, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    work = tmp_path / ".out.h5.elmo-work"
    work.mkdir()
    os.chown(work, 12345, 12345)
    refuse(monkeypatch, os, "open", work / "lock")
    result = elmo("embed", corpus("a\n"), tmp_path / "out.h5", "--model", model)
    assert_one_line_error(
        result, f"its work folder {work}, of user 12345, may not be written to", "remove it"
    )


def test_a_full_disk_at_the_first_checkpoint_advises_no_resume(
    elmo: Elmo,
    text: Path,
    options: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))  # type: ignore[attr-defined]
    result = elmo("train", text, tmp_path / "m", "--options", options, *QUICK, "--steps", 2)
    assert_one_line_error(result, "free some space, then run the same command again")
    assert "--resume" not in result.stderr
    monkeypatch.undo()
    assert (
        elmo("train", text, tmp_path / "m", "--options", options, *QUICK, "--steps", 2).exit_code
        == 0
    )


def test_a_full_disk_at_a_later_checkpoint_advises_a_resume_that_works(
    elmo: Elmo,
    text: Path,
    options: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    seen: list[Path] = []

    def full(path: Path, n_bytes: float, remedy: str) -> None:
        seen.append(path)
        if len(seen) > 1:
            raise DiskError(f"{path}: has no room; {remedy}")
        check_disk_space(path, n_bytes, remedy)

    monkeypatch.setattr("elmo_cli.training.checkpoint.check_disk_space", full)
    result = elmo("train", text, tmp_path / "m", "--options", options, *QUICK, "--steps", 2)
    assert_one_line_error(
        result, f"free some space, then continue with: elmo train --resume {tmp_path / 'm'}"
    )
    monkeypatch.undo()
    result = elmo("train", "--resume", tmp_path / "m")
    assert result.exit_code == 0
    assert "2 steps" in result.stderr
    assert (tmp_path / "m" / "weights.hdf5").is_file()
    assert not (tmp_path / "m" / ".training").exists()


def test_a_clock_that_goes_backwards_gives_no_negative_rate(
    elmo: Elmo,
    model: Path,
    corpus: Corpus,
    text: Path,
    options: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    now = iter(range(10_000, 0, -1))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(now)))
    result = elmo("embed", corpus("a\n"), tmp_path / "out.h5", "--model", model)
    assert (result.exit_code, "-" in result.stderr.partition("tokens/s")[0]) == (0, False)
    assert (
        elmo("train", text, tmp_path / "m", "--options", options, *QUICK, "--steps", 2).exit_code
        == 0
    )
    assert all(entry["seconds"] >= 0 for entry in log.read(tmp_path / "m"))


@pytest.mark.parametrize(
    ("layers", "taken"),
    [
        (np.array([1, 2]), [1, 2]),
        (np.array([-1], dtype=np.int8), [2]),
        ([np.int64(0), 2], [0, 2]),
        ((2, 0), [2, 0]),
        (range(1, 3), [1, 2]),
        (slice(1, None), [1, 2]),
        (slice(None, None, -1), [2, 1, 0]),
        ({1: 0}.keys(), [1]),
    ],
)
def test_layers_are_named_by_any_integers(
    elmo: Elmo, model: Path, corpus: Corpus, tmp_path: Path, layers: object, taken: list[int]
):
    for name in ("out.h5", "out.parquet"):
        with open_features(features(elmo, model, corpus, tmp_path, name)) as found:
            np.testing.assert_array_equal(found.read(np.int64(0), layers=layers), found[0][taken])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("layers", "error"),
    [
        (np.array([True, False, True]), TypeError),
        ([True], TypeError),
        (np.array([1.0]), TypeError),
        (np.array([[0, 1]]), TypeError),
        (["0"], TypeError),
        ([], Exception),
        (np.array([], dtype=int), Exception),
        (slice(3, None), Exception),
        ([3], Exception),
    ],
)
def test_layers_that_are_none_are_an_error(
    elmo: Elmo, model: Path, corpus: Corpus, tmp_path: Path, layers: object, error: type[Exception]
):
    with (
        open_features(features(elmo, model, corpus, tmp_path, "out.h5")) as found,
        pytest.raises(error),
    ):
        found.read(0, layers=layers)  # type: ignore[arg-type]
    assert not isinstance(layers, str)


def test_a_zip_whose_names_have_backslashes_is_a_model(
    elmo: Elmo, model: Path, corpus: Corpus, tmp_path: Path
):
    with zipfile.ZipFile(tmp_path / "windows.zip", "w") as archive:
        for file in model.iterdir():
            archive.writestr(f"my_elmo\\{file.name}", file.read_bytes())
        archive.writestr("..\\escaped.json", "{}")
    cache = tmp_path / "cache"
    result = elmo(
        "embed",
        corpus("a\n"),
        tmp_path / "out.h5",
        "--model",
        tmp_path / "windows.zip",
        "--cache-dir",
        cache,
    )
    assert result.exit_code == 0, result.output
    assert {path.name for path in cache.rglob("*") if path.is_file()} == {
        path.name for path in model.iterdir()
    }
    assert not (tmp_path / "escaped.json").exists()


def test_mps_where_there_is_none_is_one_short_line(
    elmo: Elmo, model: Path, corpus: Corpus, tmp_path: Path
):
    import torch

    if torch.backends.mps.is_available():
        pytest.skip("there is one")
    result = elmo("embed", corpus("a\n"), tmp_path / "out.h5", "--model", model, "--device", "mps")
    assert_one_line_error(result, "--device mps: not available here", "pass --device cpu")
    assert len(result.stderr) < 160

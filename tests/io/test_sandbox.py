"""Features of an untrusted file are read in a child process: a crash there is one line here."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import elmo_cli
from elmo_cli.errors import FeaturesError, LimitError
from elmo_cli.io import sandbox as own_process
from elmo_cli.io.sandbox import module_path, run_sandboxed
from tests.conftest import SAMPLE

PATH = Path("a.h5")


def end_by(_: Path, number: int) -> None:
    os.kill(os.getpid(), number)


def tell(path: Path, word: str) -> tuple[str, str, int]:
    return str(path), word, os.getpid()


def fail(_: Path, error: Exception) -> None:
    raise error


def wait(_: Path) -> None:
    time.sleep(600)


def test_the_result_comes_from_another_process():
    path, word, number = run_sandboxed(tell, PATH, "word")
    assert (path, word) == ("a.h5", "word")
    assert number != os.getpid()


def threads_and_allocator(_: Path) -> tuple[int, int, str]:
    import pyarrow

    return (
        pyarrow.cpu_count(),
        pyarrow.io_thread_count(),
        pyarrow.default_memory_pool().backend_name,
    )


def test_the_process_has_the_same_memory_on_a_machine_of_many_cores(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    assert run_sandboxed(threads_and_allocator, PATH) == (1, 1, "system")


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGBUS"])
def test_a_library_that_is_brought_down_is_a_line(name: str):
    with pytest.raises(
        FeaturesError, match=rf"a\.h5: is damaged \(reading it ended in {name}\); make it again"
    ):
        run_sandboxed(end_by, PATH, getattr(signal, name))


def test_a_process_that_is_killed_is_no_damage():
    with pytest.raises(
        FeaturesError,
        match=(
            r"a\.h5: the process that read it was killed; check that the machine has enough "
            r"memory"
        ),
    ):
        run_sandboxed(end_by, PATH, signal.SIGKILL)


@pytest.mark.parametrize(
    "error",
    [
        FeaturesError("a.h5: no such file", "a detail"),
        PermissionError(13, "Permission denied", "a.h5"),
    ],
)
def test_errors_come_back_as_they_were(error: Exception):
    with pytest.raises(type(error)) as raised:
        run_sandboxed(fail, PATH, error)
    assert str(raised.value) == str(error)


def test_a_bug_keeps_its_traceback(capfd: pytest.CaptureFixture):
    with pytest.raises(RuntimeError, match="see the traceback above"):
        run_sandboxed(fail, PATH, ZeroDivisionError("a bug"))
    assert "ZeroDivisionError: a bug" in capfd.readouterr().err


def test_a_limit_of_open_files_is_named(monkeypatch: pytest.MonkeyPatch):
    def no_pipe() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(own_process, "Pipe", no_pipe)
    with pytest.raises(
        LimitError, match=r"a\.h5: cannot be read \(Too many open files: .* ulimit -n\)"
    ):
        run_sandboxed(tell, PATH, "word")


def test_a_stop_does_not_wait_for_the_other_process():
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 1)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_sandboxed(wait, PATH)
    finally:
        signal.signal(signal.SIGALRM, before)


def run(*arguments: object, text: str = "") -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "elmo_cli", *map(str, arguments)]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


MARK = "a planted module ran"
PLANTED = (
    "h5py",
    "signal",
    "numpy",
    "json",
    "pyarrow",
    "pickle",
    "subprocess",
    "multiprocessing",
    "click",
    "elmo",
)


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A current folder whose modules end the process that imports them."""
    folder = tmp_path / "planted"
    folder.mkdir()
    for name in PLANTED:
        (folder / f"{name}.py").write_text(
            f"import os\nos.write(2, b'{MARK}: {name}\\n')\nos._exit(7)\n"
        )
    (tmp_path / "elmo.py").write_text("from elmo_cli.cli.main import main\nmain()\n")
    return folder


def test_no_module_of_the_current_folder_is_run(
    elmo: Callable, corpus: Callable, model: Path, tmp_path: Path, planted: Path
):
    assert (
        elmo(
            "embed", corpus("A cat .\n"), tmp_path / "out.h5", "--model", model, "--quiet"
        ).exit_code
        == 0
    )
    # Run as the console script, and by `python -m`
    script, module = [str(tmp_path / "elmo.py")], ["-m", "elmo_cli"]
    environment = {**os.environ, "PYTHONPATH": str(Path(elmo_cli.__file__).parents[1])}
    for program, arguments in [
        (script, "inspect ../out.h5"),
        (script, "verify ../out.h5"),
        (script, "convert ../out.h5 ../out.npz"),
        (module, "inspect ../out.h5"),
    ]:
        ran = subprocess.run(
            [sys.executable, *program, *arguments.split()],
            cwd=planted,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert MARK not in ran.stderr
        assert ran.returncode == 0, ran.stderr


def test_a_package_that_only_a_hook_finds_is_found_by_its_folder(monkeypatch: pytest.MonkeyPatch):
    root = str(Path(elmo_cli.__file__).parents[1])
    monkeypatch.setattr(
        sys, "path", ["", *(entry for entry in sys.path if entry != root), "relative"]
    )
    assert module_path()[-1] == root
    assert not {"", "relative"} & set(module_path())


def test_the_commands_read_so(elmo: Callable, model: Path, tmp_path: Path):
    out = tmp_path / "out.h5"
    assert elmo("embed", SAMPLE, out, "--model", model).exit_code == 0
    verified = run(
        "verify", out, "--model", model, "--corpus", "-", text=SAMPLE.read_text(encoding="utf-8")
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    assert "20 sentences recomputed" in verified.stdout
    assert run("inspect", out).stdout.startswith("file ")
    assert run("convert", out, tmp_path / "out.npz", "--quiet").returncode == 0
    missing = run("verify", tmp_path / "missing.h5")
    assert (missing.returncode, missing.stderr) == (
        1,
        f"Error: {tmp_path / 'missing.h5'}: no such file; name a file of features\n",
    )

"""Runs killed at random moments, or on full disks, are resumed until complete, and compared.

By hand:

    python -m tests.manual.crash --kills 200 -- --window-tokens 200
    python -m tests.manual.crash --kills 200 --out out.jsonl -- --window-tokens 200
    python -m tests.manual.crash --fill 24

Children are forked from a process that has imported everything, so that a run takes no longer than
its work.
"""

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py  # noqa: F401  # imported before the fork, as the next line
import torch

from elmo_cli.cli.commands import embed  # noqa: F401
from elmo_cli.cli.main import main
from elmo_cli.features.resume.run import made_by
from elmo_cli.features.resume.work_dir import WorkDir
from elmo_cli.inference import job as embed_job  # noqa: F401
from elmo_cli.io.output_file import OutputFile
from tests.conftest import SAMPLE, make_model, sentences_of


def start(arguments: list[object], limit: Callable[[], None] = lambda: None) -> int:
    """Fork a run of `elmo`, its words in the file `words`; returns its process."""
    if (child := os.fork()) > 0:
        return child
    code = 70
    try:
        torch.set_num_threads(1)
        words = os.open("words", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(words, 2)
        limit()
        sys.argv = ["elmo", "embed"]  # part of the metadata
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:  # noqa: BLE001  # told by the parent, which compares the code
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def finish(arguments: list[object]) -> None:
    """A run that must end well."""
    code = wait(start(arguments))
    assert code == 0, (code, Path("words").read_text())


def contents(path: Path) -> object:
    """All bytes of an output, be it a file or a folder."""
    if path.is_dir():
        return {item.name: item.read_bytes() for item in sorted(path.iterdir())}
    return path.read_bytes()


def kill_at_random(options: list[str], model: Path, kills: int, out: str, seed: int) -> None:
    """Kill and resume until a run gets through.

    Again with a new output until there were enough kills.
    """
    chance = random.Random(seed)  # noqa: S311  # no secret
    command: list[object] = [
        "embed",
        write_corpus(),
        "--id-field",
        "id",
        "--model",
        model,
        "--quiet",
        *options,
    ]
    began = time.perf_counter()
    finish([*command, f"reference-{out}"])
    seconds = time.perf_counter() - began
    done, runs, kept = 0, 0, 0
    while done < kills:
        child = start([*command, out, "--resume"])
        time.sleep(chance.random() ** 2 * 1.2 * seconds)
        os.kill(child, signal.SIGKILL)
        code = wait(child)
        if code == -signal.SIGKILL:
            done += 1
            if Path(out).exists():
                assert contents(Path(out)) == contents(Path(f"reference-{out}"))
                if is_over(Path(out)):
                    runs, kept = runs + 1, 0
                    compare(out)
            else:
                now = WorkDir(OutputFile(Path(out))).kept_sentences()
                assert now >= kept, f"lost sentences: {kept} were kept, now {now}"
                kept = now
            continue
        assert code == 0, (code, Path("words").read_text())
        runs, kept = runs + 1, 0
        compare(out)
    finish([*command, out, "--resume"])
    compare(out)
    print(f"{out}: {done} kills over {runs + 1} runs, 0 lost, 0 doubled, 0 different")  # noqa: T201


def write_corpus() -> Path:
    """The sample as JSON Lines whose sentences have ids, as e2e-coref wants them."""
    path = Path("corpus.jsonl")
    records = (
        {"tokens": tokens, "id": f"book/chapter-{i // 50}/{i % 50}"}
        for i, tokens in enumerate(sentences_of(SAMPLE))
    )
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def is_over(out: Path) -> bool:
    """Whether all was done but to exit, and nothing tells so: the output cannot, and the folder
    that can is gone.
    """
    folder = WorkDir(OutputFile(out)).path
    if made_by(out) or any(path.suffix == ".json" for path in folder.glob("*")):
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return True


def compare(out: str) -> None:
    assert contents(Path(out)) == contents(Path(f"reference-{out}")), "the output differs"
    assert not WorkDir(OutputFile(Path(out))).path.exists()
    shutil.rmtree(out) if Path(out).is_dir() else Path(out).unlink()


def fill(options: list[str], model: Path, points: int, out: str) -> None:
    """A file system that takes so many bytes and no more, then one that takes all: tmpfs where
    mounts are allowed, else a limit.
    """
    command: list[object] = [
        "embed",
        write_corpus(),
        "--id-field",
        "id",
        "--model",
        model,
        "--quiet",
        *options,
    ]
    finish([*command, f"reference-{out}", "--overwrite"])
    whole = sum(
        path.stat().st_size
        for path in [Path(f"reference-{out}"), *Path(f"reference-{out}").glob("*")]
    )
    stopped = 0
    for point in range(1, points + 1):
        with disk_of(int(2.3 * whole * point / points)) as (folder, limit, enlarge):
            code = wait(start([*command, folder / out], limit))
            words = Path("words").read_text()
            assert code in (0, 1), (code, words)
            stopped += code
            if code == 1:
                assert words.count("\n") == 1, words
                assert "cannot be written" in words or "has" in words, words
                assert not (folder / out).exists()
                enlarge()
                finish([*command, folder / out, "--resume"])
            assert contents(folder / out) == contents(Path(f"reference-{out}")), (
                f"differs at point {point}"
            )
    print(  # noqa: T201
        f"{out}: {points} fill points, {stopped} of them too small for the run, 0 lost, 0 different"
    )


@contextmanager
def disk_of(n_bytes: int) -> Iterator[tuple[Path, Callable[[], None], Callable[[], None]]]:
    folder = Path(tempfile.mkdtemp(dir="."))
    size = max(n_bytes, 1 << 16)
    if mount(folder, f"size={size}"):
        try:
            yield (
                folder,
                lambda: None,
                lambda: mount(folder, "remount,size=1g") or sys.exit("no remount"),
            )
        finally:
            subprocess.run(["umount", folder], check=True)  # noqa: S607  # wherever it lies
        return

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))

    yield folder, limit, lambda: None


def mount(folder: Path, options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--fill", type=int, default=0)
    parser.add_argument("--out", default="out.h5")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "options", nargs="*", default=["--window-tokens", "200"], help="of elmo embed"
    )
    given = parser.parse_args()
    os.environ["SOURCE_DATE_EPOCH"] = "0"
    with tempfile.TemporaryDirectory() as room:
        os.chdir(room)
        if given.kills:
            kill_at_random(
                given.options, make_model(Path("model")), given.kills, given.out, given.seed
            )
        if given.fill:
            fill(given.options, make_model(Path("model")), given.fill, given.out)

"""Mutated files of every kind: a clear error or a correct result, never a traceback, hang or 2 GiB.

The files are options, weights, corpora, features and parts. Features in which `verify` finds no
error must have their values from before the mutation. By hand:

    python -m tests.manual.fuzz 1000                     # of each kind
    python -m tests.manual.fuzz 20000 options fasta --seed 7

Each kind runs in processes of its own, which a crash of a library ends; what fails is kept beside
the words that it failed with. HDF5's may crash: the commands read features in a process of their
own, and so does this, a process a file.
"""

import argparse
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from elmo_cli.cli.main import main
from elmo_cli.errors import ElmoError
from elmo_cli.features.reader import open_features
from elmo_cli.features.resume.manifest import Manifest
from elmo_cli.features.resume.parts import read_part, write_part
from elmo_cli.features.verify import verify
from elmo_cli.models.formats.bilm_tf import load_bilm
from elmo_cli.models.formats.options_json import load_config
from elmo_cli.readers.corpus import Corpus
from elmo_cli.readers.options import ReadOptions
from tests.conftest import SAMPLE, make_model

SECONDS = 10  # of the processor that one file may take
MEMORY = 2 << 30  # beyond what the process has at its start
BATCH = 500  # files a process
BROUGHT_DOWN = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE)
TOKENS = [["A", "cat", "."], ["über", "😀", "x" * 60], ["a/b", "c"]]
NUMBERS = [
    b"0",
    b"-1",
    b"1e999",
    b"NaN",
    b"9" * 30,
    b"2147483648",
    b"null",
    b"true",
    b'""',
    b"[]",
    b"{}",
    b"[[" * 50,
    b"1000000000000",
]


def mutate(content: bytes, chance: random.Random) -> bytes:
    """One to eight changes: bytes flipped, put in, left out, doubled, or cut off.

    In JSON and the like, another number.
    """
    changed = bytearray(content)
    for _ in range(chance.randint(1, chance.choice([1, 2, 8]))):
        at = chance.randrange(len(changed) + 1)
        end = min(len(changed), at + chance.choice([1, 1, 2, 4, 8, 64, 1000]))
        kind = chance.randrange(7)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            changed[at:end] = chance.randbytes(end - at)
        elif kind == 2:
            changed[at:at] = chance.choice(
                [b"\0", b"\n", b"\xff", b"\r", b'"', b"\t", b"\x1b[31m", chance.randbytes(3)]
            )
        elif kind == 3:
            del changed[at:end]
        elif kind == 4:
            changed[at:at] = changed[at:end]
        elif kind == 5 and chance.random() < 0.3:
            del changed[at:]
        elif kind == 6:
            digits = [i for i, byte in enumerate(changed[:100_000]) if 48 <= byte <= 57]
            where = chance.choice(digits) if digits else at
            changed[where : where + 1] = chance.choice(NUMBERS)
    return bytes(changed)


def scan(
    reading: ReadOptions = ReadOptions(),  # noqa: B008  # frozen
    blank_lines: str = "skip",
) -> Callable[[Path], object]:
    return lambda path: Corpus([path], blank_lines, reading).scan()


def read_features(whole: Path) -> Callable[[Path], None]:
    right = content_of(whole)

    def read(path: Path) -> None:
        verdict = verify(path)
        with open_features(path) as features:
            for index in (0, len(features) - 1):
                if 0 <= index < len(features):
                    features.sentence(index)
                    features.read(index)
            features.keys()
        if not verdict.n_problems and content_of(path) != right:
            raise AssertionError("verify does not see the change")

    return apart(read) if whole.suffix == ".h5" else read


def content_of(path: Path) -> list[object]:
    with open_features(path) as features:
        sentences = [pair for window in features.windows() for pair in zip(*window, strict=True)]
        told = [(repr(sentence), array.shape, array.tobytes()) for sentence, array in sentences]
        return [
            features.layout,
            features.metadata,
            features.description.names,
            features.keys(),
            told,
        ]


def apart(use: Callable[[Path], object]) -> Callable[[Path], None]:
    """In a process a file, which a library may bring down."""

    def run(path: Path) -> None:
        code = forked(lambda: watched(use, path))
        if code and -code not in BROUGHT_DOWN:
            raise AssertionError(f"ended with {code}: see above")

    return run


def forked(work: Callable[[], object]) -> int:
    """The exit code of a process that does it: 1 where it raises, which is told on standard error,
    or less than 0 for a signal.
    """
    if (child := os.fork()) == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001  # told, and counted by the parent
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def watched(use: Callable[[Path], object], path: Path) -> None:
    """Use a file: an error has to be in clear words, and the time is limited."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(SECONDS * 30)  # for what waits and does nothing, on a machine that may be busy
    try:
        use(path)
    except ElmoError as error:
        if "\x1b" in str(error) or not str(error):
            raise AssertionError(f"a raw message: {error!r}") from error
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.alarm(0)


def read_work(path: Path) -> None:
    read_part(path)
    Manifest.from_json(path.read_bytes())


def make_seeds(folder: Path) -> dict[str, tuple[Path, Callable[[Path], object]]]:
    """A whole file of each kind, and what is done with it."""
    model = make_model(folder / "model")
    lines = [" ".join(tokens) for tokens in TOKENS]
    table = pa.table({"tokens": TOKENS, "id": ["a", "b", "c"], "n": [1, 2, 3]})
    texts = {
        "text.txt": "\n".join(lines),
        "text.jsonl": "\n".join(
            json.dumps({"tokens": tokens, "id": str(i)}) for i, tokens in enumerate(TOKENS)
        ),
        "text.csv": "tokens,id\n" + "\n".join(f'"{line}",{i}' for i, line in enumerate(lines)),
        "text.conllu": "".join(
            "# sent_id = s\n" + "".join(f"{i}\t{t}\t_\n" for i, t in enumerate(s, 1)) + "\n"
            for s in TOKENS
        ),
        "text.fasta": ">a one\nMKV\nLLA*\n>b\nmk\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    pq.write_table(table, folder / "text.parquet")
    with (
        pa.OSFile(str(folder / "text.arrow"), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table)
    import gzip

    (folder / "packed.txt.gz").write_bytes(gzip.compress("\n".join(lines * 20).encode()))
    sample = SAMPLE.read_text(encoding="utf-8").splitlines()[:6]
    corpus = folder / "corpus.tsv"
    corpus.write_text(
        "id\ttokens\n" + "".join(f"d/{i}\t{line}\n" for i, line in enumerate(sample)),
        encoding="utf-8",
    )
    for name, options in [
        ("allennlp.h5", []),
        ("gzip.h5", ["--compression", "gzip"]),
        ("named.h5", ["--use-sentence-keys"]),
        ("packed.h5", ["--layout", "packed"]),
        ("coref.h5", ["--layout", "e2e-coref"]),
        ("features.parquet", []),
        ("features.arrow", []),
        ("features.npz", []),
        ("features.arrays.npz", ["--layout", "arrays"]),
        ("features.jsonl", []),
    ]:
        arguments = [
            "embed",
            corpus,
            folder / name,
            "--model",
            model,
            "--quiet",
            "--layers",
            "0,2",
            "--id-column",
            "id",
            *options,
        ]
        main([str(argument) for argument in arguments], standalone_mode=False)
    from elmo_cli.types import Sentence

    sentences = [
        Sentence(str(i), tokens, line, None, (i,))
        for i, (tokens, line) in enumerate(zip(TOKENS, lines, strict=True))
    ]
    write_part(
        folder / "window.part",
        sentences,
        [np.ones((2, len(tokens), 3), np.float32) for tokens in TOKENS],
    )
    (folder / "plan.json").write_text(Manifest({"a": "b"}, {"c": "d"}).to_json())
    features = {
        path.name: (path, read_features(path))
        for path in [*folder.glob("*.h5"), *folder.glob("features.*")]
    }
    return {
        "options": (model / "options.json", load_config),
        "weights": (model / "weights.hdf5", lambda path: load_bilm(model / "options.json", path)),
        **{name: (folder / name, scan()) for name in texts},
        "text.parquet": (folder / "text.parquet", scan(ReadOptions(id_column="id", keep=("n",)))),
        "text.arrow": (folder / "text.arrow", scan(ReadOptions(id_column="id"))),
        "packed.txt.gz": (folder / "packed.txt.gz", scan()),
        **features,
        "part": (folder / "window.part", read_work),
        "plan": (folder / "plan.json", read_work),
    }


def fuzz_batch(
    seed_file: Path, use: Callable[[Path], object], count: int, seed: int, room: Path, words: Path
) -> None:
    """In a process of its own, which complains to `words`: mutate and use.

    The first failure ends the process, its file kept.
    """
    os.dup2(os.open(words, os.O_WRONLY | os.O_CREAT, 0o666), 2)
    size = (
        int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        if Path("/proc/self/statm").exists()
        else 0
    )
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    chance, content = random.Random(seed), seed_file.read_bytes()  # noqa: S311  # no secret
    path = room / f"mutated-{seed}{''.join(seed_file.suffixes)}"
    for _ in range(count):
        path.write_bytes(mutate(content, chance))
        watched(use, path)
    path.unlink()


def fuzz(
    kind: str, seed_file: Path, use: Callable[[Path], object], count: int, seed: int, room: Path
) -> int:
    """Mutate a file so many times; returns the failures."""
    failures, began = 0, time.perf_counter()
    for number in range(-(-count // BATCH)):
        words = room / f"failure-{kind}-{number}.txt"
        size, batch_seed = min(BATCH, count - number * BATCH), seed * 100_000 + number
        code = forked(partial(fuzz_batch, seed_file, use, size, batch_seed, room, words))
        if code == 0:
            words.unlink()
        else:
            failures += 1
            last = words.read_text(errors="replace").splitlines()[-1:]
            print(f"{kind}: ended with {code}: {' '.join(last)[:200]} ({words})", flush=True)  # noqa: T201
    print(  # noqa: T201
        f"{kind}: {count:,} files, {failures} failures, {time.perf_counter() - began:.0f} s",
        flush=True,
    )
    return failures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("count", type=int)
    parser.add_argument("kinds", nargs="*")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    h5py._errors.silence_errors()
    room = Path(tempfile.mkdtemp(prefix="fuzz-"))
    seeds = make_seeds(room)
    failed = sum(
        fuzz(kind, *seeds[kind], given.count, given.seed, room) for kind in given.kinds or seeds
    )
    if not failed:
        shutil.rmtree(room)
    sys.exit(failed > 0)

"""CPU seconds of writing vectors of the published shape, without a model, against `cp`. By hand:

    python -m tests.manual.writing /dev/shm                        # a memory file system
    python -m tests.manual.writing /dev/shm journal parquet cp --rounds 9

Each kind in turn in every round; medians, user and system time of this process (of `cp`: its own).
"""

import argparse
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from statistics import median

import click
import numpy as np

from elmo_cli.features.formats import allennlp, arrow, packed
from elmo_cli.features.formats.parquet import ParquetWriter
from elmo_cli.features.resume.parts import read_part, write_part
from elmo_cli.features.spec import FeatureSpec, WriteOptions
from elmo_cli.io.atomic import atomic_write
from elmo_cli.io.output_file import OutputFile
from elmo_cli.types import WINDOW_TOKENS, Array, Sentence

LAYERS, DIM = 3, 1024
WINDOWS = 2
SPEC = FeatureSpec(tuple(f"layer_{i}" for i in range(LAYERS)), DIM, "float32", False, {})
Window = tuple[list[Sentence], list[Array]]


def make_windows() -> list[Window]:
    """Windows of sentences of 14 tokens on average, each a slice of one array, longest first."""
    chance = np.random.default_rng(0)
    lengths = np.clip(chance.geometric(1 / 14, size=4 * WINDOW_TOKENS // 14), 1, 80)
    lengths = lengths[np.cumsum(lengths) <= WINDOW_TOKENS]
    values = chance.standard_normal((LAYERS, lengths.sum(), DIM), dtype=np.float32)
    order = np.argsort(-lengths, kind="stable")
    ends = np.empty_like(lengths)
    ends[order] = np.cumsum(lengths[order])
    arrays = [values[:, end - n : end] for n, end in zip(lengths, ends, strict=True)]
    words = [[f"word{k}" for k in chance.integers(5000, size=n)] for n in lengths]
    keys = [range(i * len(words), (i + 1) * len(words)) for i in range(WINDOWS)]
    return [
        ([Sentence(str(k), t, " ".join(t)) for k, t in zip(each, words, strict=True)], arrays)
        for each in keys
    ]


def cpu_seconds(who: int = resource.RUSAGE_SELF) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def write_journal(folder: Path, windows: Iterable[Window]) -> None:
    for number, (window, arrays) in enumerate(windows):
        atomic_write(folder / f"{number}.part", partial(write_part, window=window, arrays=arrays))


def read_journal(folder: Path, _: object) -> None:
    for path in folder.glob("*.part"):
        assert read_part(path) is not None


def write_format(
    open_writer: Callable, suffix: str, compression: str, folder: Path, windows: Iterable[Window]
) -> None:
    with open_writer(
        OutputFile(folder / f"out{suffix}"), SPEC, WriteOptions(compression=compression)
    ) as writer:
        for window in windows:
            writer.write(*window)


def copy(folder: Path, _: object) -> None:
    subprocess.run(["/bin/cp", folder / "source", folder / "copy"], check=True)


KINDS: dict[str, Callable[[Path, list[Window]], None]] = {
    "cp": copy,
    "journal": write_journal,
    "journal, read": read_journal,
    "parquet": partial(write_format, ParquetWriter, ".parquet", "none"),
    "parquet, zstd": partial(write_format, ParquetWriter, ".zstd.parquet", "zstd"),
    "arrow": partial(write_format, arrow.open_writer, ".arrow", "none"),
    "packed": partial(write_format, packed.open_writer, ".packed.h5", "none"),
    "allennlp": partial(write_format, allennlp.open_writer, ".h5", "none"),
}


def measure(kind: str, folder: Path, windows: list[Window]) -> float:
    """CPU seconds of one kind."""
    if kind == "journal, read":
        write_journal(folder, windows)
    if kind == "cp":
        (folder / "source").write_bytes(
            b"".join(array.tobytes() for _, arrays in windows for array in arrays)
        )
    who = resource.RUSAGE_CHILDREN if kind == "cp" else resource.RUSAGE_SELF
    began = cpu_seconds(who)
    KINDS[kind](folder, windows)
    used = cpu_seconds(who) - began
    for path in folder.iterdir():
        path.unlink()
    return used


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("kinds", nargs="*", metavar=f"kind ({', '.join(KINDS)})")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    kinds = given.kinds or list(KINDS)
    room, content = Path(tempfile.mkdtemp(dir=given.folder)), make_windows()
    tokens = sum(len(sentence.tokens) for window, _ in content for sentence in window)
    try:
        rounds = [
            {kind: measure(kind, room, content) for kind in kinds} for _ in range(given.rounds)
        ]
    finally:
        shutil.rmtree(room)
    for kind in kinds:
        seconds = median(one[kind] for one in rounds)
        rate = tokens / seconds
        click.echo(f"{kind:14} {rate:9,.0f} tokens/s {rate * LAYERS * DIM * 4 / 1e6:6,.0f} MB/s")

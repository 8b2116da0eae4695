"""Benchmark rounds: paths measured in turn, each in its own process.

The peak memory of each path is therefore separate, and other load affects all paths equally.
"""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from elmo_cli.inference.benchmark import process
from elmo_cli.inference.benchmark.paths import EXACT, SIMPLE, Round
from elmo_cli.inference.benchmark.work import Work, encoder_work, lstm_work
from elmo_cli.nn.devices import choose_device, choose_precision
from elmo_cli.types import Array

SAMPLE = 32  # sentences whose vectors are compared with float64's


@dataclass
class Figures:
    """Measurements of a path."""

    relative_error: list[float]  # relative to float64, by layer: norm of the difference / norm
    lowest_cosine: list[float]  # minimum over tokens, by layer
    rounds: list[Round] = field(default_factory=list)
    ceilings: list[float] = field(default_factory=list)  # operations a second
    peak_bytes: int = 0

    @property
    def tokens_per_second(self) -> float:
        """Median of the end-to-end rate over the rounds."""
        return median(one.tokens / one.end_to_end for one in self.rounds)


def run_benchmark(
    work: Work, precisions: Sequence[str], repeats: int
) -> Iterator[tuple[str, dict[str, Figures]]]:
    """Iterate over the steps of a benchmark: a name, and the figures of each path so far.

    Args:
        work: Model, text and device.
        precisions: Precisions of the fast path to measure.
        repeats: Number of rounds.
    """
    device = choose_device(work.device)
    work = work._replace(device=device)
    names = [
        SIMPLE,
        *dict.fromkeys(choose_precision(precision, device) for precision in precisions),
    ]
    sample, found = work.sentences[:SAMPLE], {}
    with _start(EXACT, work) as exact_process:
        exact = exact_process.submit(process.vectors, sample).result()
    with ExitStack() as stack:
        processes = {}
        for name in names:
            processes[name] = stack.enter_context(_start(name, work))
            found[name] = Figures(
                *compare(processes[name].submit(process.vectors, sample).result(), exact)
            )
            yield f"{name}: vectors", found
        for _ in range(repeats):
            for name, pool in processes.items():
                found[name].ceilings.append(
                    pool.submit(process.ceiling, name, work.config(), device).result()
                )
                found[name].rounds.append(pool.submit(process.measure).result())
                found[name].peak_bytes = pool.submit(process.peak_bytes).result()
                yield f"{name}: speed", found


def _start(name: str, work: Work) -> ProcessPoolExecutor:
    # From Python 3.11 on: the process imports nothing from the current folder
    os.environ["PYTHONSAFEPATH"] = "1"
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), process.start, (name, work))


def compare(arrays: Sequence[Array], exact: Sequence[Array]) -> tuple[list[float], list[float]]:
    """Return relative error (L2) and lowest cosine, by layer, of arrays (layer, token, dim)."""
    ours, theirs = (
        np.concatenate([part.astype(np.float64) for part in parts], axis=1)
        for parts in (arrays, exact)
    )
    errors = np.linalg.norm(ours - theirs, axis=(1, 2)) / np.linalg.norm(theirs, axis=(1, 2))
    norms = np.linalg.norm(ours, axis=2) * np.linalg.norm(theirs, axis=2)
    return errors.tolist(), ((ours * theirs).sum(axis=2) / norms).min(axis=1).tolist()


def summarize(work: Work, found: dict[str, Figures]) -> dict[str, dict[str, Any]]:
    """Return the figures of each path, medians over the rounds, for a table or JSON."""
    config = work.config()
    types = {token for sentence in work.sentences for token in sentence}
    of_lstm = lstm_work(config)
    of_encoder = sum(encoder_work(config, word) for word in types) / work.tokens
    simple = found[SIMPLE].tokens_per_second
    return {name: _summary(figures, simple, of_lstm, of_encoder) for name, figures in found.items()}


def _summary(figures: Figures, simple: float, of_lstm: float, of_encoder: float) -> dict[str, Any]:
    """Return the figures of a path.

    `of_lstm` and `of_encoder` are operations for each token, the latter shared by a word type.
    """
    ceiling, rounds = median(figures.ceilings), figures.rounds
    return {
        "tokens_per_second": figures.tokens_per_second,
        "ratio_to_simple": figures.tokens_per_second / simple,
        "end_to_end_of_ceiling": figures.tokens_per_second * (of_lstm + of_encoder) / ceiling,
        "lstm_of_ceiling": _median(
            [one.tokens / one.lstm * of_lstm / ceiling for one in rounds if one.lstm]
        ),
        "share_of_nodes": _median(
            [one.nodes / (2 * one.tokens) for one in rounds if one.nodes is not None]
        ),
        "writing_share": _median(
            [one.writing / one.end_to_end for one in rounds if one.writing is not None]
        ),
        "ceiling_gflops": ceiling / 1e9,
        "peak_mib": figures.peak_bytes / 2**20,
        "relative_error": figures.relative_error,
        "lowest_cosine": figures.lowest_cosine,
        "rounds": len(rounds),
    }


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None

"""Functions of a benchmark process, which loads one network and measures it on request."""

import resource
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median

import torch

from elmo_cli.inference.benchmark.paths import EXACT, SIMPLE, BenchmarkPath, Round, make_path
from elmo_cli.inference.benchmark.work import Tokens, Work
from elmo_cli.nn.bilm import BiLMConfig
from elmo_cli.nn.devices import PRECISIONS
from elmo_cli.nn.kernels.packed_linear import PackedLinear
from elmo_cli.nn.parallel import InThreads
from elmo_cli.types import Array

CEILING_ROWS, CEILING_SECONDS = 256, 0.25

_loaded: list[BenchmarkPath] = []


def start(name: str, work: Work) -> None:
    """Load the network of the path `name` into this process."""
    if work.threads:
        torch.set_num_threads(work.threads)
    _loaded.append(make_path(name, work))


def vectors(sample: Sequence[Tokens]) -> list[Array]:
    """Return all layers of each sentence, from the path of this process."""
    return _loaded[0].vectors(sample)


def measure() -> Round:
    """Return one measurement of the path of this process."""
    return _loaded[0].measure()


def peak_bytes() -> int:
    """Return the peak memory of this process in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@torch.inference_mode()
def ceiling(name: str, config: BiLMConfig, device: str) -> float:
    """Return operations per second of the LSTMs' matrix products alone, packed or plain.

    The faster of both counts. Two threads compute separate products at once, as the two
    directions do.
    """
    dtype = PRECISIONS.get("fp32" if name in (SIMPLE, EXACT) else name, torch.float32)
    shapes = [
        (2 * config.projection_dim, 4 * config.lstm_dim),
        (config.lstm_dim, config.projection_dim),
    ]
    work = sum(2 * CEILING_ROWS * rows * columns for rows, columns in shapes)
    seconds = sum(_fastest(rows, columns, dtype, device) for rows, columns in shapes)
    return 2 * work / seconds


def _fastest(n_in: int, n_out: int, dtype: torch.dtype, device: str) -> float:
    """Return the median time of two concurrent products, packed or plain, whichever is faster."""
    weights = [torch.randn(n_out, n_in, device=device, dtype=dtype) for _ in range(2)]
    x = torch.randn(CEILING_ROWS, n_in, device=device, dtype=dtype)
    both = InThreads()
    packed = [PackedLinear(weight) for weight in weights]
    return min(
        _time(lambda: both(lambda d: packed[d](x)), device),
        _time(lambda: both(lambda d: x @ weights[d].T), device),
    )


def _time(run: Callable[[], object], device: str) -> float:
    """Return the median time of a run in seconds."""
    run()
    times: list[float] = []
    while sum(times) < CEILING_SECONDS:
        began = time.perf_counter()
        run()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return median(times)

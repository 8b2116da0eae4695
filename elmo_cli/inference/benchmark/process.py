"""What a path's own process does: load its network once, then measure when it is told to."""

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
    """The process begins."""
    if work.threads:
        torch.set_num_threads(work.threads)
    _loaded.append(make_path(name, work))


def vectors(sample: Sequence[Tokens]) -> list[Array]:
    """Those of its path."""
    return _loaded[0].vectors(sample)


def measure() -> Round:
    """Its path, once."""
    return _loaded[0].measure()


def peak_bytes() -> int:
    """The most memory that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@torch.inference_mode()
def ceiling(name: str, config: BiLMConfig, device: str) -> float:
    """Operations a second of the LSTMs' own matrix products in a precision, by the better of packed and plain weights.

    Both threads work at once, each on products of its own, as the two directions do.
    """
    dtype = PRECISIONS.get("fp32" if name in (SIMPLE, EXACT) else name, torch.float32)
    shapes = [(2 * config.projection_dim, 4 * config.lstm_dim), (config.lstm_dim, config.projection_dim)]
    work = sum(2 * CEILING_ROWS * rows * columns for rows, columns in shapes)
    seconds = sum(_fastest(rows, columns, dtype, device) for rows, columns in shapes)
    return 2 * work / seconds


def _fastest(n_in: int, n_out: int, dtype: torch.dtype, device: str) -> float:
    """The median time of two products side by side, packed or plain."""
    weights = [torch.randn(n_out, n_in, device=device, dtype=dtype) for _ in range(2)]
    x = torch.randn(CEILING_ROWS, n_in, device=device, dtype=dtype)
    both = InThreads()
    packed = [PackedLinear(weight) for weight in weights]
    return min(_time(lambda: both(lambda d: packed[d](x)), device), _time(lambda: both(lambda d: x @ weights[d].T), device))


def _time(run: Callable[[], object], device: str) -> float:
    """The median time of a run."""
    run()
    times: list[float] = []
    while sum(times) < CEILING_SECONDS:
        began = time.perf_counter()
        run()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return median(times)

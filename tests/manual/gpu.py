"""Checks and figures of the GPU path, as JSON.

**It has not run on a GPU**: only its logic has, on a CPU. By hand:

    python -m tests.manual.gpu > gpu.json                            # on a GPU, under 8 minutes
    python -m tests.manual.gpu --device cpu --quick --out cpu.json   # its logic, with a tiny model

Each check reports `passed` or its error, and its seconds; one that fails does not stop the others,
and none starts after the time limit. The exit status is 1 where a check has failed or was skipped.
The model has random weights of the published shape. Errors are relative (L2) to float64, by layer.
"""

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from elmo_cli.inference.batch_sizes import batch_tokens_for, window_tokens_for
from elmo_cli.inference.benchmark.rounds import compare
from elmo_cli.inference.benchmark.work import lstm_work, made_up_text
from elmo_cli.inference.embedder import Embedder
from elmo_cli.inference.pipeline import embed_window, windows
from elmo_cli.models.formats.bilm_tf import load_bilm
from elmo_cli.nn.kernels import lstm_step
from elmo_cli.nn.presets import PRESETS
from elmo_cli.nn.reference import embed_padded
from elmo_cli.types import Array, Sentence
from tests.conftest import make_model

LIMITS = {"fp32": 1e-5, "tf32": 5e-3, "bf16": 2e-2, "fp16": 3e-3}  # of the relative error
CPU_PRECISIONS = ("fp32", "bf16")  # bf16 in torch's own products where the processor has none
RATE = re.compile(r"([\d,]+) tokens/s")
Result = dict[str, Any]


@dataclass
class Machine:
    """What is checked, and on what."""

    device: str
    quick: bool
    folder: Path  # of the model and of what is written
    text: list[list[str]]
    sample: list[list[str]]
    exact: list[Array]  # of the sample

    def embedder(self, precision: str) -> Embedder:
        """A new embedder."""
        return Embedder(self.load(), self.device, precision=precision)

    def load(self) -> Any:
        return load_bilm(self.folder / "options.json", self.folder / "weights.hdf5")

    @property
    def is_cuda(self) -> bool:
        return self.device.startswith("cuda")


def prepare(device: str, folder: Path, *, quick: bool) -> Machine:
    options = PRESETS["original"]
    changes = {} if quick else {**options["lstm"], **options["char_cnn"]}
    make_model(folder, **changes)
    text = made_up_text(2_000 if quick else 400_000)
    sample = text[: 8 if quick else 32]
    exact_model = load_bilm(folder / "options.json", folder / "weights.hdf5").double()
    return Machine(
        device,
        quick,
        folder,
        text,
        sample,
        [layers.numpy() for layers in embed_padded(exact_model, sample)],
    )


def check_precisions(machine: Machine) -> Result:
    """Each precision against the padded float64 network."""
    found: Result = {}
    for precision, limit in LIMITS.items():
        if machine.is_cuda or precision in CPU_PRECISIONS:
            errors, cosines = compare(
                machine.embedder(precision).embed_batch(machine.sample), machine.exact
            )
            found[precision] = {
                "errors": errors,
                "lowest_cosines": cosines,
                "passed": max(errors) < limit,
            }
        torch.backends.cuda.matmul.allow_tf32 = False
    return {"passed": all(one["passed"] for one in found.values()), **found}


def check_steps(machine: Machine) -> Result:
    """Triton's step, and the one in torch that replaces it, in fp32 and bf16."""
    step = (
        lstm_step._triton_step(torch.device(machine.device))
        if machine.is_cuda
        else lstm_step._compiled_step()
    )
    found: Result = {"has_kernel": step is not None}
    fallbacks = [
        mock.patch.object(lstm_step, name, return_value=None)
        for name in ("_triton_step", "_compiled_step")
    ]
    for precision in ("fp32", "bf16"):
        found[f"{precision} kernel"] = _step_figures(machine, precision)
        with fallbacks[0], fallbacks[1]:
            found[f"{precision} torch"] = _step_figures(machine, precision)
    return {
        "passed": step is not None
        and all(one["passed"] for one in found.values() if isinstance(one, dict)),
        **found,
    }


def _step_figures(machine: Machine, precision: str) -> Result:
    embedder = machine.embedder(precision)
    errors, _ = compare(embedder.embed_batch(machine.sample), machine.exact)
    return {
        "errors": errors,
        "passed": max(errors) < LIMITS[precision],
        "tokens_per_second": _rate(machine, embedder),
    }


def _rate(machine: Machine, embedder: Embedder) -> float:
    """Tokens a second of the text, every type cached, nothing written."""
    embed(machine, embedder, machine.text)
    began = time.perf_counter()
    embed(machine, embedder, machine.text)
    return sum(map(len, machine.text)) / (time.perf_counter() - began)


def embed(machine: Machine, embedder: Embedder, text: list[list[str]]) -> None:
    """Compute the vectors of a text window by window, and discard them."""
    sentences = [Sentence(str(i), tokens, "") for i, tokens in enumerate(text)]
    for window in windows(sentences, window_tokens_for(machine.device)):
        embed_window(window, embedder, batch_tokens_for(embedder.bilm.config, machine.device))


def check_memory(machine: Machine) -> Result:
    """Peak memory after the text once and four times over."""
    embedder, peaks = machine.embedder("bf16"), []
    for times in (1, 4):
        embed(machine, embedder, machine.text * times)
        peaks.append(
            torch.cuda.max_memory_allocated(machine.device) if machine.is_cuda else _peak_bytes()
        )
    return {"passed": peaks[1] <= 1.1 * peaks[0] + 2**26, "peak_bytes": peaks}


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def little_memory(machine: Machine, embedder: Embedder, max_tokens: int) -> Iterator[list[int]]:
    """Memory for about `max_tokens` tokens: on a GPU a limit of the allocator's.

    Elsewhere an error in its place. Yields tokens read.
    """
    read, seen = embedder.bilm.forward_types, []

    def limited(types: Any, places: Any, lengths: list[int], state: Any, **given: Any) -> Any:
        seen.append(sum(lengths))
        if not machine.is_cuda and sum(lengths) > max_tokens:
            raise torch.OutOfMemoryError
        return read(types, places, lengths, state, **given)

    with mock.patch.object(embedder.bilm, "forward_types", limited):
        if machine.is_cuda:
            torch.cuda.empty_cache()
            token = 4 * (
                embedder.bilm.config.lstm_dim * 10
                + 4 * embedder.bilm.config.n_output_layers * embedder.bilm.config.output_dim
            )
            bytes_ = torch.cuda.memory_allocated(machine.device) + max_tokens * token
            torch.cuda.set_per_process_memory_fraction(
                min(1.0, bytes_ / torch.cuda.mem_get_info(machine.device)[1]), machine.device
            )
        try:
            yield seen
        finally:
            if machine.is_cuda:
                torch.cuda.set_per_process_memory_fraction(1.0, machine.device)


def check_out_of_memory(machine: Machine) -> Result:
    """A batch that memory does not suffice for is halved, with the same vectors."""
    embedder, batch = machine.embedder("fp32"), machine.text[: 40 if machine.quick else 4000]
    expected = embedder.embed_batch(batch)
    with little_memory(machine, embedder, sum(map(len, batch)) // 4) as seen:
        again = embedder.embed_batch(batch)
    worst = max(float(np.abs(a - b).max(initial=0)) for a, b in zip(again, expected, strict=True))
    return {"passed": worst < 1e-5 and len(seen) > 1, "reads": seen, "largest_difference": worst}


def measure_bench(machine: Machine) -> Result:
    """`elmo bench`, with the ceiling at the recurrent shapes.

    The goal is 0.60 of it in the LSTM in bf16.
    """
    precisions = [
        part
        for name in (LIMITS if machine.is_cuda else ("fp32",))
        for part in ("--precision", name)
    ]
    model = [
        "--options",
        machine.folder / "options.json",
        "--weights",
        machine.folder / "weights.hdf5",
    ]
    size = ["--tokens", 500 if machine.quick else 200_000, "--repeats", 1 if machine.quick else 2]
    return {
        "passed": True,
        **json.loads(
            elmo("bench", "--json", *model, *size, "--device", machine.device, *precisions).stdout
        ),
    }


def elmo(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "elmo_cli", *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
    )


def measure_disk(machine: Machine) -> Result:
    """Tokens a second into files of float16, start-up excluded; the goal is 150,000."""
    corpus, found = machine.folder / "corpus.txt", {}
    corpus.write_text("".join(" ".join(tokens) + "\n" for tokens in machine.text), encoding="utf-8")
    model = [
        "--options",
        machine.folder / "options.json",
        "--weights",
        machine.folder / "weights.hdf5",
    ]
    precision = "bf16" if machine.is_cuda else "fp32"
    for layout, name in {"packed": "out.h5", "parquet": "out.parquet"}.items():
        out = machine.folder / name
        how = [
            *(["--layout", "packed"] if layout == "packed" else []),
            "--dtype",
            "float16",
            "--device",
            machine.device,
            "--precision",
            precision,
            "--no-resume",
        ]
        rate = RATE.search(elmo("embed", corpus, out, *model, *how).stderr)
        found[layout] = {
            "tokens_per_second": float(rate[1].replace(",", "")) if rate else None,
            "bytes": out.stat().st_size,
        }
        out.unlink()
    return {"passed": all(one["tokens_per_second"] for one in found.values()), **found}


def measure_profile(machine: Machine) -> Result:
    """What one window's time goes to: the costliest operations, launches, and the share of time in
    which the GPU computes.
    """
    embedder = machine.embedder("bf16" if machine.is_cuda else "fp32")
    text = machine.text[: 50 if machine.quick else 6000]
    embed(machine, embedder, text)
    activities = [torch.profiler.ProfilerActivity.CPU] + [
        torch.profiler.ProfilerActivity.CUDA
    ] * machine.is_cuda
    began = time.perf_counter()
    with torch.profiler.profile(activities=activities) as profiler:
        embed(machine, embedder, text)
    seconds, events = time.perf_counter() - began, profiler.key_averages()

    def cost(event: Any) -> float:
        return float(event.self_device_time_total if machine.is_cuda else event.self_cpu_time_total)

    top = sorted(events, key=cost, reverse=True)[:15]
    tokens = sum(map(len, text))
    return {
        "passed": True,
        "tokens_per_second": tokens / seconds,
        "lstm_gflops": tokens * lstm_work(embedder.bilm.config) / seconds / 1e9,
        "busy_share": sum(map(cost, events)) / 1e6 / seconds,
        "launches": sum(event.count for event in events if "LaunchKernel" in event.key),
        "operations": [
            {"name": event.key, "calls": event.count, "microseconds": cost(event)} for event in top
        ],
    }


CHECKS: dict[str, Callable[[Machine], Result]] = {
    "precisions": check_precisions,
    "steps": check_steps,
    "out_of_memory": check_out_of_memory,
    "memory": check_memory,
    "disk": measure_disk,
    "profile": measure_profile,
    "bench": measure_bench,
}


def run(machine: Machine, seconds: float) -> Result:
    """Run each check while time is left."""
    found: Result = {}
    end = time.perf_counter() + seconds
    for name, check in CHECKS.items():
        began = time.perf_counter()
        try:
            found[name] = (
                check(machine)
                if began < end
                else {"passed": False, "error": "skipped: no time was left"}
            )
        except Exception as error:  # noqa: BLE001  # the other checks run nevertheless
            detail = (
                error.stderr
                if isinstance(error, subprocess.CalledProcessError)
                else traceback.format_exc()
            )
            found[name] = {"passed": False, "error": detail}
        found[name]["seconds"] = round(time.perf_counter() - began, 1)
        sys.stderr.write(
            f"{name}: {'passed' if found[name]['passed'] else 'FAILED'}, {found[name]['seconds']} "
            "s\n"
        )
        if machine.is_cuda:
            torch.cuda.empty_cache()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="a tiny model and a short text")
    parser.add_argument(
        "--out", type=Path, help="file of the results; standard output where absent"
    )
    parser.add_argument("--seconds", type=float, default=400, help="no check starts later")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        machine = prepare(given.device, Path(folder), quick=given.quick)
        name = torch.cuda.get_device_name(given.device) if machine.is_cuda else "CPU"
        found = {"device": name, "torch": torch.__version__, "checks": run(machine, given.seconds)}
    text = json.dumps(found, indent=1)
    if given.out:
        given.out.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 0 if all(one["passed"] for one in found["checks"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())

"""The GPU kernel in Triton's interpreter on the CPU is compared with the step in torch."""

import importlib.util
import os
import subprocess
import sys

import pytest

COMPARE = """
import torch
from elmo_cli.nn.lstm import StepTensors, step_in_torch
from elmo_cli.nn.kernels.lstm_step_triton import step

torch.manual_seed(0)
for dtype, limit in {torch.float32: 3e-6, torch.bfloat16: 8e-3, torch.float16: 1e-3}.items():
    for dim in (7, 100, 1500):
        for given in ("nothing", "inputs", "chosen inputs", "chosen inputs and states"):
            products = (2 * torch.randn(5, 4 * dim)).to(dtype)
            inputs = None if given == "nothing" else torch.randn(9, 4 * dim)
            rows = torch.randint(0, 9, (5,)) if given.startswith("chosen") else None
            before, parents = None, None
            if given.endswith("states"):
                before, parents = torch.randn(3, dim), torch.randint(0, 3, (5,))
            cells = [torch.randn(5, dim)] * 2
            outputs = [torch.empty(5, dim, dtype=dtype) for _ in range(2)]
            cells = [cell.clone() for cell in cells]
            for run, cell, output in zip((step, step_in_torch), cells, outputs):
                run(StepTensors(products.clone(), cell, 0.9, output, inputs, rows, before, parents))
            assert (cells[0] - cells[1]).abs().max() < 3e-6
            assert (outputs[0] - outputs[1]).abs().max() < limit
"""


@pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="needs Triton, which PyTorch's CUDA builds bring",
)
def test_the_kernel_is_the_step_in_torch():
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", COMPARE],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

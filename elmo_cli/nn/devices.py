"""Where to compute, and in which numbers: what a user asks for against what the machine has."""

import re
from functools import cache
from pathlib import Path

import torch

from elmo_cli.errors import DeviceError

PRECISIONS = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}  # of matrix products
BF16_FLAGS = re.compile(r"\b(avx512_bf16|amx_bf16|bf16)\b")


def choose_device(name: str) -> str:
    """The torch device for "auto", "cpu", "cuda", "cuda:N" or "mps"; "auto" is a CUDA GPU where there is one, else the CPU.

    Raises:
        DeviceError: The device is not there, or the name is none of these.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if problem := why_unavailable(name):
        raise DeviceError(f"--device {name}: not available here ({problem}); pass --device cpu")
    return name


def why_unavailable(device: str) -> str | None:
    """Return why a torch device cannot be used, in torch's words, or None."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        return str(error).splitlines()[0]
    return None


def choose_precision(name: str, device: str) -> str:
    """The precision that serves: bf16 becomes fp32 on a CPU that does not multiply it natively, where it would be slower.

    Raises:
        DeviceError: The device has no such products.
    """
    if name in ("tf32", "fp16") and not device.startswith("cuda"):
        raise DeviceError(f"--precision {name}: is for NVIDIA GPUs; pass fp32 or bf16")
    return "fp32" if name == "bf16" and not has_bf16(device) else name


def best_precision(name: str, device: str) -> str:
    """Settle "auto": bf16 where the device multiplies it natively, else fp32."""
    if name != "auto":
        return name
    return "bf16" if has_bf16(device) else "fp32"


@cache
def has_bf16(device: str) -> bool:
    """Whether the device multiplies bfloat16 natively."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere
    cpu = Path("/proc/cpuinfo")
    return device == "cpu" and cpu.exists() and bool(BF16_FLAGS.search(cpu.read_text(encoding="utf-8", errors="replace")))

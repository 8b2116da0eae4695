"""Choice of the device and the precision, from the user's option and the machine."""

import re
from functools import cache
from pathlib import Path

import torch

from elmo_cli.errors import DeviceError

# Data types of the matrix products, by the value of --precision
PRECISIONS = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
BF16_FLAGS = re.compile(r"\b(avx512_bf16|amx_bf16|bf16)\b")


def choose_device(name: str) -> str:
    """Return the torch device for a device option.

    Args:
        name: "auto", "cpu", "cuda", "cuda:N" or "mps"; "auto" is a CUDA GPU if there is one, else
            the CPU.

    Returns:
        Name of the device.

    Raises:
        DeviceError: The device is not available, or the name is not valid.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if problem := why_unavailable(name):
        raise DeviceError(f"--device {name}: not available here ({problem}); pass --device cpu")
    return name


def why_unavailable(device: str) -> str | None:
    """Return the reason why a torch device cannot be used, or None.

    Args:
        device: Name of the device.
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        if device == "mps":  # PyTorch's message for MPS has many lines
            return "PyTorch has no such device here"
        return str(error).splitlines()[0]
    return None


def choose_precision(name: str, device: str) -> str:
    """Return the precision for a precision option.

    "bf16" becomes "fp32" on a CPU without bfloat16 instructions, where it would be slower.

    Args:
        name: "fp32", "tf32", "bf16" or "fp16".
        device: Name of the device.

    Returns:
        Name of the precision.

    Raises:
        DeviceError: The device does not support the precision.
    """
    if name in ("tf32", "fp16") and not device.startswith("cuda"):
        raise DeviceError(f"--precision {name}: requires an NVIDIA GPU; pass fp32 or bf16")
    return "fp32" if name == "bf16" and not has_bf16(device) else name


def best_precision(name: str, device: str) -> str:
    """Resolve "auto" to bf16 if the device has bfloat16 instructions, else to fp32.

    Args:
        name: Name of a precision, or "auto".
        device: Name of the device.

    Returns:
        Name of the precision.
    """
    if name != "auto":
        return name
    return "bf16" if has_bf16(device) else "fp32"


@cache
def has_bf16(device: str) -> bool:
    """Return whether the device has bfloat16 instructions."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere
    cpu = Path("/proc/cpuinfo")
    return (
        device == "cpu"
        and cpu.exists()
        and bool(BF16_FLAGS.search(cpu.read_text(encoding="utf-8", errors="replace")))
    )

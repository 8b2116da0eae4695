"""Data-parallel training in several processes, as started by torchrun.

Each process reads its share of the streams; gradients are averaged.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, distributed

from elmo_cli.errors import DeviceError


class ProcessGroup:
    """The processes of a run, seen from one of them.

    Args:
        rank: Number of this process.
        world: Number of processes; 1 without torchrun.
    """

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        self.rank = rank
        self.world = world

    def share(self, n_streams: int) -> slice:
        """Return the streams of this process."""
        each = n_streams // self.world
        return slice(self.rank * each, (self.rank + 1) * each)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their means over all processes."""
        if self.world == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        flat /= self.world
        for tensor, mean in zip(
            tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True
        ):
            tensor.copy_(mean.view_as(tensor))

    def gather_streams(self, state: Tensor) -> Tensor:
        """Return the state of all streams.

        Args:
            state: State of this process's streams, (direction, layer, row, dim).

        Returns:
            (direction, layer, stream, dim)
        """
        if self.world == 1:
            return state
        parts = [torch.empty_like(state) for _ in range(self.world)]
        distributed.all_gather(parts, state.contiguous())
        return torch.cat(parts, dim=2)

    def wait(self) -> None:
        """Wait for all processes."""
        if self.world > 1:
            distributed.barrier()


@contextmanager
def start_workers(device: str) -> Iterator[tuple[ProcessGroup, str]]:
    """Join the processes that torchrun describes in the environment.

    Args:
        device: Name of the device.

    Yields:
        The processes, and the device of this one.

    Raises:
        DeviceError: The device does not support several processes.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield ProcessGroup(), device
        return
    if device == "mps":
        raise DeviceError("--device mps: cannot train in several processes; use cpu or cuda")
    on_gpu = device.startswith("cuda")
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        if on_gpu:
            device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
            torch.cuda.set_device(device)
        yield ProcessGroup(distributed.get_rank(), world), device
    finally:
        distributed.destroy_process_group()

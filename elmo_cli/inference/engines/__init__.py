"""Engines: embedding in this process, in a process for each device, or on a Ray cluster."""

from collections.abc import Callable
from pathlib import Path

import torch

from elmo_cli.errors import DeviceError
from elmo_cli.inference.embedder_spec import EmbedderSpec
from elmo_cli.inference.engines.local import LocalEngine
from elmo_cli.inference.engines.processes import ProcessEngine
from elmo_cli.inference.engines.protocol import Engine, EngineOptions
from elmo_cli.inference.engines.ray import RayEngine
from elmo_cli.inference.selection import Selection

Folder = Callable[[], Path]
Open = Callable[[EmbedderSpec, Selection, EngineOptions, Folder], Engine]

ENGINES: dict[str, Open] = {
    "local": lambda spec, selection, _options, _folder: LocalEngine(spec, selection),
    "processes": lambda spec, selection, options, folder: ProcessEngine(
        spec, selection, options.devices, folder
    ),
    "ray": lambda spec, selection, options, _folder: RayEngine(spec, selection, options),
}


def open_engine(
    spec: EmbedderSpec, selection: Selection, options: EngineOptions, folder: Folder
) -> Engine:
    """Return an engine with started workers.

    Args:
        spec: Description of the embedder.
        selection: Choice of the vectors that are written.
        options: Name and options of the engine.
        folder: Returns the folder for files that the engine shares with its workers.

    Raises:
        ElmoError: A device is not available, or a cluster cannot be reached.
    """
    return ENGINES[options.name](spec, selection, options, folder)


def find_devices(given: str) -> tuple[str, ...]:
    """Return the devices that `--device` names.

    Args:
        given: One or more devices separated by commas, or "all".

    Raises:
        DeviceError: There is no GPU for "all".
    """
    if given != "all":
        return tuple(given.split(","))
    if not (number := torch.cuda.device_count()):
        raise DeviceError("--device all: there is no CUDA GPU here; pass --device cpu")
    return tuple(f"cuda:{i}" for i in range(number))


__all__ = ["ENGINES", "Engine", "EngineOptions", "find_devices", "open_engine"]

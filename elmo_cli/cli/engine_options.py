"""Options of `elmo embed` and `elmo predict` that choose devices and an engine."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from elmo_cli.cli.headings import COMPUTE, headed
from elmo_cli.cli.options import THREADS
from elmo_cli.cli.parameter_types import Device, Integer
from elmo_cli.features.formats.options import is_folder
from elmo_cli.features.formats.registry import Format
from elmo_cli.io.stdout import STDOUT

if TYPE_CHECKING:
    from elmo_cli.inference.engines import EngineOptions

ENGINES = ("local", "processes", "ray")  # as in inference/engines, which imports torch
LOCAL_ADDRESS = "local"
WRITERS = ("driver", "workers")


engine_options = headed(
    COMPUTE,
    click.option(
        "--device",
        type=Device(several=True),
        default="auto",
        show_default=True,
        help=(
            "Devices that run the model: cuda:N is one GPU, cuda:0,cuda:1 two with a process for "
            "each, all is every GPU."
        ),
    ),
    click.option(
        "--threads",
        type=THREADS,
        help="Number of CPU threads of a process.  [default: the cores, divided among processes]",
    ),
    click.option(
        "--engine",
        type=click.Choice(ENGINES),
        help=(
            "Engine that runs the model: in this process, in a process for each --device, or on a "
            "Ray cluster.  [default: by --device]"
        ),
    ),
    click.option(
        "--address",
        metavar="auto|HOST:PORT|local",
        help="Address of the Ray cluster.  [default: local, a cluster for this run]",
    ),
    click.option(
        "--workers",
        type=Integer(1, 4096),
        help="Number of Ray workers.  [default: by the cluster's resources]",
    ),
)
write_option = headed(
    COMPUTE,
    click.option(
        "--write",
        type=click.Choice(WRITERS),
        default="driver",
        show_default=True,
        help=(
            "Process that writes the output: this one, or each worker its own shards of a Parquet "
            "folder (elmo guide scale)."
        ),
    ),
)


def choose_engine(
    engine: str | None,
    device: str,
    address: str | None,
    workers: int | None,
    *,
    stateful: bool,
    output: Path,
    write: str = "driver",
) -> "EngineOptions":
    """Return the engine that the options specify.

    Raises:
        click.UsageError: The options contradict one another.
        DeviceError: There is no GPU for `--device all`.
    """
    has_several = device == "all" or "," in device
    chosen = engine or ("processes" if has_several else "local")
    _check_ray(chosen, device, output, {"--address": address, "--workers": workers})
    if chosen == "local" and has_several:
        raise click.UsageError(
            "--engine local computes on one device; name one --device, or leave out --engine."
        )
    if chosen != "local" and stateful:
        raise click.UsageError(
            "--stateful carries state from batch to batch, on one device; leave out --engine, and "
            "name one --device."
        )

    from elmo_cli.inference.engines import EngineOptions, find_devices

    devices = find_devices(device)
    if engine is None and len(devices) == 1:  # --device all
        chosen = "local"
    return EngineOptions(chosen, devices, address or LOCAL_ADDRESS, workers, write)


def _check_ray(engine: str, device: str, output: Path, given: dict[str, object]) -> None:
    if engine != "ray":
        if option := next((name for name, value in given.items() if value is not None), None):
            raise click.UsageError(f"{option} requires --engine ray; pass both, or leave it out.")
    elif device not in ("auto", "cpu", "cuda"):
        raise click.UsageError(
            f"--device {device}: Ray gives each worker its device; pass --device cpu, cuda or auto."
        )
    elif output == STDOUT:
        raise click.UsageError(
            "--engine ray writes messages of its workers to standard output; name a file as the "
            "output."
        )


def check_write(
    write: str, output: Path, form: Format, *, stateful: bool, resume: bool | None
) -> None:
    """Check that `--write workers` fits the output.

    Raises:
        click.UsageError: The output is not a folder of shards, the run is not to be resumed, or
            vectors depend on their order.
    """
    if write == "driver":
        return
    if output == STDOUT or not is_folder(output, form):
        what = "standard output" if output == STDOUT else f"{output} ({form.name})"
        raise click.UsageError(
            f"--write workers requires a folder of Parquet shards, and the output is {what}; "
            "name a folder, with --output-format parquet."
        )
    if resume is False:
        raise click.UsageError(
            "--write workers and --no-resume contradict each other: complete shards are kept; "
            "leave out --no-resume."
        )
    if stateful:
        raise click.UsageError(
            "--write workers and --stateful contradict each other: "
            "with --stateful, vectors depend on all preceding sentences."
        )

"""Connection to a Ray cluster, and what its nodes offer to an engine."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import NamedTuple

from elmo_cli.errors import DeviceError, ElmoError
from elmo_cli.inference.embedder_spec import EmbedderSpec
from elmo_cli.inference.engines.protocol import EngineOptions

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
REACHING = 10.0  # seconds for a TCP connection to the head node


def connect(address: str) -> ModuleType:
    """Connect to a cluster, or start one on this machine for "local".

    The address is always passed, because Ray would otherwise join a running cluster.

    Args:
        address: "local", "auto" or "HOST:PORT".

    Returns:
        The module `ray`.

    Raises:
        ElmoError: Ray is not installed, or the cluster cannot be reached.
    """
    ray = _import_ray()
    with keeping_signals():
        try:
            _reach(address, ray)
            ray.init(
                address=address,
                log_to_driver=False,
                configure_logging=False,
                include_dashboard=None if address != "local" else False,
            )
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            fact = f"--address {address}: no Ray cluster can be reached ({reason})"
            raise ElmoError(f"{fact}; start one, or pass --address local") from None
    return ray


def _import_ray() -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # for a cluster that is started here
    # Otherwise a call after the end would join or start another cluster.
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
    try:
        import ray
    except ImportError:
        fact = "--engine ray: Ray is not installed"
        raise ElmoError(f"{fact}; pip install 'elmo-cli[ray]'") from None
    return ray  # type: ignore[no-any-return]  # untyped


def _reach(address: str, ray: ModuleType) -> None:
    """Check that the port of an address is open: otherwise Ray would wait for minutes.

    Raises:
        OSError: It is not.
    """
    named = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    host, _, port = named.rpartition(":")
    if host and port.isdecimal():
        if host in LOOPBACK:  # as Ray resolves it
            host = ray.util.get_node_ip_address()
        socket.create_connection((host.strip("[]"), int(port)), REACHING).close()


@contextmanager
def keeping_signals() -> Iterator[None]:
    """Restore the signal handlers, which Ray replaces."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Shape(NamedTuple):
    """Workers that a cluster can run.

    Args:
        resources: Resources of each, in Ray's terms.
        n_workers: Their number.
        device: Their torch device.
    """

    resources: dict[str, int]
    n_workers: int
    device: str


def shape_of(ray: ModuleType, spec: EmbedderSpec, options: EngineOptions) -> Shape:
    """Return the workers that the options request of a cluster.

    Raises:
        DeviceError: The cluster does not have the device.
    """
    there = ray.cluster_resources()
    device = options.devices[0]
    if device == "auto":
        device = "cuda" if there.get("GPU") else "cpu"
    if device == "cuda":
        if not there.get("GPU"):
            raise DeviceError("--device cuda: the Ray cluster has no GPU; pass --device cpu")
        return Shape({"num_gpus": 1}, options.workers or int(there["GPU"]), device)
    threads = spec.threads or 1
    n_workers = max(1, int(there.get("CPU", 1)) // threads)
    return Shape({"num_cpus": threads}, options.workers or n_workers, device)

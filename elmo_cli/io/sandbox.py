"""Child processes with resource limits, which contain the effects of a damaged or hostile file.

The libraries that read HDF5, Parquet and Arrow trust what a file declares. One wrong bit in a
thousand ends in a signal, which cannot be caught, and a few kilobytes can expand to gigabytes. The
child process may take as much memory and processor time as `Limits` allows. macOS does not enforce
a memory limit: there only a crash is contained.
"""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple, TypeVar

import elmo_cli
from elmo_cli.errors import ElmoError, FeaturesError, refuse_limit

Result = TypeVar("Result")
FREE_BYTES, BYTES_PER_BYTE = 1 << 30, 4  # of memory: for any file, and for each byte that it stores
# Of processor time: for any file, and stored bytes for each further second
FREE_SECONDS, BYTES_PER_SECOND = 20, 1 << 15
# The module path is set before anything is imported, so that no module of the current folder is
# imported.
_SERVE = (
    "import sys; sys.path[:] = sys.argv[2:]; from elmo_cli.io.sandbox import serve; "
    "serve(int(sys.argv[1]))"
)
# One thread of each library, since every thread takes memory, and a thread that cannot be started
# ends some of them; malloc instead of Arrow's own allocators, which do not all report that memory
# is used up.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ARROW_IO_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
}
_parent: Connection | None = None  # in a child process


class Limits(NamedTuple):
    """Limits of a child process: bytes beside the libraries' own, seconds of processor time."""

    memory: int
    seconds: int


def limits_for(stored: int, memory: int = 0, seconds: int = 0) -> Limits:
    """Return limits for reading a file.

    Args:
        stored: Size of the file in bytes.
        memory: Bytes of memory for other work.
        seconds: Seconds of processor time for other work.
    """
    return Limits(
        FREE_BYTES + BYTES_PER_BYTE * stored + memory,
        FREE_SECONDS + stored // BYTES_PER_SECOND + seconds,
    )


def stored_bytes(path: Path) -> int:
    """Return the size of a local file, or of the files in a folder.

    0 if it cannot be looked up, which reading will report.
    """
    try:
        return sum(file.stat().st_size for file in (path.iterdir() if path.is_dir() else [path]))
    except OSError:
        return 0


def run_sandboxed(
    function: Callable[..., Result],
    path: Path,
    *arguments: Any,  # noqa: ANN401  # the function's
    limits: Limits | None = None,
    error: type[ElmoError] = FeaturesError,
) -> Result:
    """Return `function(path, *arguments)`, computed in a child process.

    Args:
        function: Reads the file; it and its arguments and result must be picklable.
        path: The file, also for messages.
        arguments: Passed to the function.
        limits: Limits of the process; None to compute them from the size of the file.
        error: Class of the error if the file ends the process.

    Returns:
        The result of the function.

    Raises:
        FeaturesError: Reading the file ended the process, or exceeded the limits (another class by
            `error`).
        LimitError: The limit of open files is reached.
        ElmoError: Raised by the function, as is an OSError.
    """
    limits = limits or limits_for(stored_bytes(path))
    place = str(path)
    try:
        ours, theirs = Pipe()
        said = TemporaryFile()  # noqa: SIM115  # closed below; standard error of the process
    except OSError as refused:
        refuse_limit(refused, path)
        raise
    with ours, said:
        with theirs:
            process = _start(theirs, said)
        try:
            ours.send((limits, function, path, *arguments))
            while (answer := ours.recv())[0] is None:
                place = answer[1]
        except (EOFError, ConnectionError):  # the process has ended without an answer
            raise _died(process.wait(), place, limits, said, error) from None
        finally:
            process.kill()
            process.wait()
        _forward(said)
    succeeded, result = answer
    if succeeded:
        return result  # type: ignore[no-any-return]  # pickled results are Any
    raise (
        error(f"{place}: {_exceeds_memory(limits)}") if isinstance(result, MemoryError) else result
    )


def note_place(place: str) -> None:
    """Name the file that is read next, for the message if it ends this child process.

    Elsewhere do nothing.
    """
    if _parent is not None:
        _parent.send((None, place))


def _start(connection: Connection, said: IO[bytes]) -> "subprocess.Popen[bytes]":
    """Start a process that answers on the connection, has our module path, and ignores Ctrl-C."""
    number = connection.fileno()
    python = [sys.executable, "-I", "-X", f"utf8={sys.flags.utf8_mode}"]
    command = [*python, "-c", _SERVE, str(number), *module_path()]
    environment = {**os.environ, **_ENVIRONMENT}
    return subprocess.Popen(command, pass_fds=[number], stderr=said, env=environment)  # noqa: S603  # fixed arguments


def module_path() -> list[str]:
    """Return our module path without the current folder.

    It has the folder of our own package, however that was installed.
    """
    own = str(Path(elmo_cli.__file__).resolve().parents[1])
    return list(dict.fromkeys([*(entry for entry in sys.path if Path(entry).is_absolute()), own]))


def _exceeds_memory(limits: Limits) -> str:
    return (
        f"takes more than {limits.memory >> 20:,} MiB of memory to read; if you trust it, write it "
        "again in smaller pieces"
    )


def _died(
    code: int, place: str, limits: Limits, said: IO[bytes], error: type[ElmoError]
) -> Exception:
    """Return the error for a process that ended without an answer.

    What a library wrote before it crashed is not shown.
    """
    if code >= 0:
        _forward(said)
        return RuntimeError(f"reading {place} failed; see the traceback above")
    said.seek(0)
    if b"bad_alloc" in said.read():
        return error(f"{place}: {_exceeds_memory(limits)}")
    if code == -signal.SIGXCPU:
        return error(
            f"{place}: takes more than {limits.seconds:,} s of processor time to read; if you "
            "trust it, write it again"
        )
    if code == -signal.SIGKILL:
        return error(
            f"{place}: the process that read it was killed; check that the machine has enough "
            "memory and try again"
        )
    return error(
        f"{place}: is damaged (reading it ended in {signal.Signals(-code).name}); make it again"
    )


def _forward(said: IO[bytes]) -> None:
    said.seek(0)
    if text := said.read():
        sys.stderr.write(text.decode("utf-8", "replace"))


def serve(number: int) -> None:
    """Run one function in the child process and send its result.

    A bug leaves its traceback on standard error.

    Args:
        number: File descriptor of the connection.
    """
    global _parent  # noqa: PLW0603  # one for each process
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Connection(number) as connection:
        _parent = connection
        try:
            limits, function, *arguments = connection.recv()  # imports the function's module
            _set_limits(limits)
            answer = (True, function(*arguments))
        except (ElmoError, OSError) as error:
            answer = (False, error)
        # An ImportError if a library does not fit into memory
        except (MemoryError, ImportError) as error:
            if (
                isinstance(error, ImportError)
                and "allocate memory" not in str(error)
                and "map segment" not in str(error)
            ):
                raise
            answer = (False, MemoryError(str(error)))
        try:
            connection.send(answer)
        except ConnectionError:  # the parent has ended
            return


def _own_memory() -> int:
    """Return the bytes of data that this process has mapped, which RLIMIT_DATA counts.

    0 where that cannot be looked up.
    """
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[5])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * resource.getpagesize()


def _set_limits(limits: Limits) -> None:
    """Lower the soft limits of this process."""
    for kind, most in (
        ("RLIMIT_DATA", _own_memory() + limits.memory),
        ("RLIMIT_CPU", limits.seconds),
        ("RLIMIT_CORE", 0),
    ):
        number = getattr(resource, kind)
        soft, hard = resource.getrlimit(number)
        allowed = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
        resource.setrlimit(number, (min([most, *allowed]), hard))

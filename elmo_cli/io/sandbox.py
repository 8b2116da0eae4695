"""A function run in a process of its own: a library that a damaged file brings down takes that process along, and no other.

The HDF5 library follows what a file says of itself; one wrong bit in a thousand ends in a signal, which no handler can turn into words.
"""

import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, TypeVar

import elmo_cli
from elmo_cli.errors import ElmoError, FeaturesError, refuse_limit

Result = TypeVar("Result")
# The module path is set before anything is imported: no module of the current folder is found, whatever it is called.
_SERVE = "import sys; sys.path[:] = sys.argv[2:]; from elmo_cli.io.sandbox import serve; serve(int(sys.argv[1]))"


def run_sandboxed(function: Callable[..., Result], path: Path, *arguments: Any) -> Result:  # noqa: ANN401  # the function's
    """The result of `function(path, *arguments)`, which reads the file `path`; both have to be what `pickle` takes.

    Raises:
        FeaturesError: Reading the file has ended the process.
        LimitError: There may be no more open files.
        ElmoError: From the function, as are an OSError and a MemoryError.
    """
    try:
        ours, theirs = Pipe()
    except OSError as error:
        refuse_limit(error, path)
        raise
    with ours:
        with theirs:
            process = _start(theirs)
        try:
            ours.send((function, path, *arguments))
            succeeded, result = ours.recv()
        except (EOFError, ConnectionError):  # it has ended without a word
            raise _died(process.wait(), path) from None
        finally:
            process.kill()
            process.wait()
    if not succeeded:
        raise result
    return result  # type: ignore[no-any-return]  # what was sent is Any


def _start(connection: Connection) -> "subprocess.Popen[bytes]":
    """A process that answers on the connection, finds our modules where we do, and ignores a Ctrl-C that is meant for us."""
    number = connection.fileno()
    python = [sys.executable, "-I", "-X", f"utf8={sys.flags.utf8_mode}"]
    return subprocess.Popen([*python, "-c", _SERVE, str(number), *module_path()], pass_fds=[number])  # noqa: S603  # our own words


def module_path() -> list[str]:
    """Return our module path without the current folder, and with the folder of our own package, however it was installed."""
    own = str(Path(elmo_cli.__file__).resolve().parents[1])
    return list(dict.fromkeys([*(entry for entry in sys.path if Path(entry).is_absolute()), own]))


def _died(code: int, path: Path) -> Exception:
    if code == -signal.SIGKILL:
        return FeaturesError(f"{path}: the process that read it was killed; see whether the machine has memory enough, and try again")
    if code < 0:
        return FeaturesError(f"{path}: is damaged (reading it ended in {signal.Signals(-code).name}); make it again")
    return RuntimeError(f"reading {path} failed, as told above")


def serve(number: int) -> None:
    """In the process itself: do what is asked for on the connection of that number. A bug leaves its traceback on standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Connection(number) as connection:
        try:
            function, *arguments = connection.recv()  # imports the function's module
            answer = (True, function(*arguments))
        except (ElmoError, OSError) as error:
            answer = (False, error)
        except (MemoryError, ImportError) as error:  # of an import, where a library does not fit into memory
            if isinstance(error, ImportError) and "allocate memory" not in str(error) and "map segment" not in str(error):
                raise
            answer = (False, MemoryError(str(error)))
        try:
            connection.send(answer)
        except ConnectionError:  # who asked is gone
            return

"""Signal handling: the first signal stops a run in order, the second exits at once."""

import os
import select
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

PATIENCE = 0.02  # seconds


# Signals that stop a command, unless they are ignored, as by nohup
STOPPING = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
NO_CONTROLS = (None, "dumb", "unknown")  # values of TERM without control sequences


def occupy_stderr() -> None:
    """Open the null device as standard error if that is closed.

    Otherwise the first opened file would get its descriptor and the messages of libraries.
    """
    try:
        os.fstat(2)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        if nowhere != 2:
            os.dup2(nowhere, 2)
            os.close(nowhere)


def stop(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001  # the signal module's signature
    """Raise KeyboardInterrupt for the first signal, and install `leave` for the second."""
    for again in STOPPING:
        if signal.getsignal(again) is not signal.SIG_IGN:
            signal.signal(again, leave)
    raise KeyboardInterrupt(number)


def stop_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """Send a signal again that arrived in a destructor, where Python ignores exceptions."""
    if not isinstance(unraisable.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    number = next(iter(unraisable.exc_value.args), signal.SIGINT)
    for again in STOPPING:
        if signal.getsignal(again) is leave:
            signal.signal(again, stop)
    threading.Timer(PATIENCE, os.kill, (os.getpid(), number)).start()


def leave(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001  # the signal module's signature
    """Exit at once, with a visible cursor: the handler of the second signal."""
    if (
        "elmo_cli.cli.console" in sys.modules
        and os.isatty(2)
        and os.environ.get("TERM") not in NO_CONTROLS
    ):
        _clear_line()
    os._exit(128 + number)


def _clear_line() -> None:
    """Remove a bar and show the cursor, unless the terminal is blocked: the write would hang."""
    if select.select([], [2], [], 0)[1]:
        os.write(2, b"\r\x1b[2K\x1b[?25h")

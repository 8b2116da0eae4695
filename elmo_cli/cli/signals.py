"""Signal handling: the first signal unwinds a run, the second one leaves at once."""

import os
import select
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

PATIENCE = 0.02  # seconds


STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]  # if not ignored, as by nohup
NO_CONTROLS = (None, "dumb", "unknown")  # values of TERM: what takes no control sequences


def occupy_stderr() -> None:
    """Where standard error is closed, the first file that is opened would get its number, and what libraries complain of."""
    try:
        os.fstat(2)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        if nowhere != 2:
            os.dup2(nowhere, 2)
            os.close(nowhere)


def stop(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001  # the signal module's signature
    """The first signal unwinds the run, which keeps what is done; a second one leaves at once."""
    for again in STOPPING:
        if signal.getsignal(again) is not signal.SIG_IGN:
            signal.signal(again, leave)
    raise KeyboardInterrupt(number)


def stop_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """A signal that comes while an object is taken down raises where Python lets nothing out: it is sent again, a moment later."""
    if not isinstance(unraisable.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    number = next(iter(unraisable.exc_value.args), signal.SIGINT)
    for again in STOPPING:
        if signal.getsignal(again) is leave:
            signal.signal(again, stop)
    threading.Timer(PATIENCE, os.kill, (os.getpid(), number)).start()


def leave(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001  # the signal module's signature
    """Exit at once, with the cursor shown: the handler of the second signal."""
    if "elmo_cli.cli.console" in sys.modules and os.isatty(2) and os.environ.get("TERM") not in NO_CONTROLS:
        _clear_line()
    os._exit(128 + number)


def _clear_line() -> None:
    """Remove a bar and show the cursor, unless the terminal takes nothing just now: then one would wait here for ever."""
    if select.select([], [2], [], 0)[1]:
        os.write(2, b"\r\x1b[2K\x1b[?25h")

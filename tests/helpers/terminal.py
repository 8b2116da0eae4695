"""Commands at a terminal: a process with a pty runs one command line after another.

One process is used because imports take seconds. It is this module run as a script: it takes
command lines as JSON from one pipe, and writes exit codes to another.
"""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
LIMIT = 60.0  # seconds for a command, on a busy machine
# Environment variables that rich reads
CONTROLS = (
    "COLUMNS",
    "LINES",
    "NO_COLOR",
    "FORCE_COLOR",
    "TTY_COMPATIBLE",
    "TTY_INTERACTIVE",
    "CI",
)
SHOWN, HIDDEN, ERASED = "\x1b[?25h", "\x1b[?25l", "\x1b[2K"


class Seen(NamedTuple):
    """What came to the terminal, and the exit code.

    -1 for a process that was ended at the time limit.
    """

    code: int
    output: str

    @property
    def has_cursor(self) -> bool:
        """Whether the cursor is shown at the end."""
        return self.output.rfind(SHOWN) >= self.output.rfind(HIDDEN)

    @property
    def drawings(self) -> list[str]:
        """The bars that were drawn, each in place of the one before."""
        return [
            line for part in self.output.split("\r") for line in part.split("\n") if "━" in line
        ]


class Terminal:
    """A terminal and its process.

    Args:
        columns: Its width.
    """

    def __init__(self, columns: int = 80) -> None:
        self.master, slave = pty.openpty()
        modes = termios.tcgetattr(slave)
        modes[3] &= ~termios.ECHO  # "^C" comes behind the bar
        termios.tcsetattr(slave, termios.TCSANOW, modes)
        self.resize(columns)
        orders, self._orders = os.pipe()
        self._codes, codes = os.pipe()
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in CONTROLS and not name.lower().endswith("_proxy")
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.terminal", str(orders), str(codes)],
            **dict.fromkeys(("stdin", "stdout", "stderr"), slave),
            cwd=ROOT,
            env={**kept, "TERM": "xterm-256color", "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"},
            pass_fds=(orders, codes),
            start_new_session=True,
        )
        self.pid = self._process.pid
        for unused in (slave, orders, codes):
            os.close(unused)

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def resize(self, columns: int) -> None:
        """Change its width."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def type(self, keys: str) -> None:
        """Press keys: Ctrl-C is "\\x03"."""
        os.write(self.master, keys.encode())

    def run(
        self,
        *arguments: object,
        at: Iterable[tuple[str, Callable[[], object]]] = (),
        hold: int = 0,
        stderr: Path | None = None,
        **environment: str,
    ) -> Seen:
        """Run a command.

        Args:
            *arguments: The command line after `elmo`.
            at: Acts, each when its text is in what has come since the one before.
            hold: How many signals the job takes to end: it waits after its first step.
            stderr: A file in place of the terminal.
            **environment: Variables, for this command only.

        Returns:
            What was seen until it ended, or until the time limit.
        """
        os.write(
            self._orders,
            json.dumps([list(map(str, arguments)), hold, str(stderr or ""), environment]).encode()
            + b"\n",
        )
        waiting, output, mark, code, end = list(at), b"", 0, b"", time.monotonic() + LIMIT
        while not code.endswith(b"\n"):
            ready, _, _ = select.select(
                [self.master, self._codes], [], [], max(end - time.monotonic(), 0)
            )
            if not ready or time.monotonic() > end:
                self.close()
                return Seen(-1, output.decode(errors="replace"))
            if self.master in ready and not self.ended:
                output += self._read()
                if waiting and (found := output.find(waiting[0][0].encode(), mark)) >= 0:
                    mark = found + len(waiting[0][0].encode())
                    waiting.pop(0)[1]()
            elif (more := os.read(self._codes, 100)) == b"":  # the process is gone: a second Ctrl-C
                return Seen(self._process.wait(LIMIT), output.decode(errors="replace"))
            else:
                code += more
        while select.select([self.master], [], [], 0)[0]:
            output += self._read()
        return Seen(int(code), output.decode(errors="replace"))

    def _read(self) -> bytes:
        try:
            return os.read(self.master, 1 << 16)
        except OSError:  # Linux's word for a terminal without a process
            time.sleep(0.01)
            return b""

    def signal(self, number: int) -> Callable[[], object]:
        """An act: a signal to the process."""
        return lambda: os.kill(self.pid, number)

    def close(self) -> None:
        """End the process, if it is there."""
        if self.master < 0:
            return
        self._process.kill()
        self._process.wait()
        for number in (self.master, self._orders, self._codes):
            os.close(number)
        self.master = -1


def _serve(orders: int, codes: int) -> None:
    """Run what is ordered, as `elmo` does."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # where Ctrl-C goes
    # They are ignored under nohup and "&"
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    from elmo_cli.cli.console import UserConsole
    from elmo_cli.cli.main import main

    track, screen = UserConsole.track, os.dup(2)
    for line in os.fdopen(orders):
        sys.argv[1:], hold, stderr, environment = json.loads(line)
        UserConsole.track = (
            (lambda self, job, *more, hold=hold: track(self, _holding(job, hold), *more))
            if hold
            else track
        )
        file = os.open(stderr or os.ttyname(screen), os.O_WRONLY | os.O_CREAT | os.O_NOCTTY)
        os.dup2(file, 2)
        os.close(file)
        before = dict(os.environ)
        os.environ.update(environment)
        try:
            main(prog_name="elmo")
        except SystemExit as end:
            os.write(codes, f"{end.code or 0}\n".encode())
        os.environ.clear()
        os.environ.update(before)


def _holding(job: Iterator[object], hold: int) -> Iterator[object]:
    for step in job:
        yield step
        try:
            time.sleep(LIMIT)
        finally:
            if hold > 1:
                time.sleep(LIMIT)


if __name__ == "__main__":
    _serve(*map(int, sys.argv[1:]))

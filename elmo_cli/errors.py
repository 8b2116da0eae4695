"""The errors a user can fix. A message says the place, the fact and the remedy in one line."""

import resource
from collections.abc import Sequence
from errno import EMFILE, ENFILE


class ElmoError(Exception):
    """Something outside the program is wrong: the command line prints the message and exits with 1.

    With several arguments the first is the message and the others are its details, a line each.
    """

    def __str__(self) -> str:
        return "\n  ".join(printable(str(line)) for line in self.args)


class CorpusError(ElmoError):
    """The input text cannot be read as it stands."""


class ModelError(ElmoError):
    """The options or the weights of a model cannot be used."""


class DownloadError(ElmoError):
    """A file cannot be fetched over the network."""


class OutputError(ElmoError):
    """The features cannot be written where they were asked for."""


class DiskError(OutputError):
    """The disk is full, gone or closed to us: what it does not take now it may take another time."""


class ResumeError(OutputError):
    """Unfinished work is there that cannot be gone on with, or thrown away, as asked."""


class FeaturesError(ElmoError):
    """A file of features cannot be read."""


class LimitError(ElmoError):
    """A limit of the system on this process is reached: the files that it reads or writes may be sound."""


class UsageError(ElmoError):
    """Options that contradict one another: the command line exits with 2."""


class ReaderGone(Exception):  # noqa: N818  # no error
    """Who reads standard output has closed it: there is nothing more to do, and nothing is wrong."""


class DeviceError(ElmoError):
    """The device that was asked for is not there."""


class MemoryShortageError(DeviceError):
    """Memory does not suffice for a sentence: `tokens` are those of the sentence, for whoever knows its number."""

    def __init__(self, message: str, tokens: Sequence[str]) -> None:
        super().__init__(message)
        self.tokens = tokens


def printable(line: str) -> str:
    """A line for a terminal: control characters (a file's name may hold some) are written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def reason_of(error: OSError) -> str:
    """Return the system's words for an error, with the limit where one is reached."""
    words = error.strerror or str(error)
    if error.errno not in (EMFILE, ENFILE):
        return words
    return f"{words}: a process may have {resource.getrlimit(resource.RLIMIT_NOFILE)[0]:,} open; raise the limit by ulimit -n"


def refuse_limit(error: BaseException, place: object) -> None:
    """Separate an error that a limit causes from one that a damaged file causes.

    Args:
        error: What was raised while a file was read.
        place: The file.

    Raises:
        LimitError: The process or the system has as many files open as it may.
    """
    if isinstance(error, OSError) and error.errno in (EMFILE, ENFILE):
        raise LimitError(f"{place}: cannot be read ({reason_of(error)})") from None

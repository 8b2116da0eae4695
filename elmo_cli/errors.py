"""Exceptions that a user can act on: each message gives place, fact and remedy in one line."""

import resource
from collections.abc import Sequence
from errno import EMFILE, ENFILE


class ElmoError(Exception):
    """Error in the input, the environment or the options: the command prints it and exits with 1.

    With several arguments, the first is the message and the others are details, one line each.
    """

    def __str__(self) -> str:
        return "\n  ".join(printable(str(line)) for line in self.args)


class CorpusError(ElmoError):
    """The input text cannot be read."""


class ModelError(ElmoError):
    """The options or the weights of a model cannot be used."""


class DownloadError(ElmoError):
    """A file cannot be downloaded."""


class OutputError(ElmoError):
    """The features cannot be written to the requested path."""


class DiskError(OutputError):
    """The disk is full, missing or not writable; the same write may succeed later."""


class DivergenceError(ElmoError):
    """A loss or a gradient of a training is not finite."""


class ResumeError(OutputError):
    """An unfinished run exists that cannot be resumed or discarded as requested."""


class FeaturesError(ElmoError):
    """A feature file cannot be read."""


class LimitError(ElmoError):
    """This process has reached a limit of the system; the files it uses may be intact."""


class UsageError(ElmoError):
    """Options that contradict one another: the command exits with 2."""


class ReaderGone(Exception):  # noqa: N818  # not an error
    """The reader of standard output has closed it: the command ends without an error message."""


class DeviceError(ElmoError):
    """The requested device is not available."""


class MemoryShortageError(DeviceError):
    """The memory does not suffice for a sentence.

    Args:
        message: Message of the error.
        tokens: Tokens of the sentence, from which a caller can find its line number.
    """

    def __init__(self, message: str, tokens: Sequence[str]) -> None:
        super().__init__(message)
        self.tokens = tokens


def printable(line: str) -> str:
    """Return a line with its control characters escaped, such as those of a file name."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def reason_of(error: OSError) -> str:
    """Return the system's message for an error, with the limit if one is reached."""
    words = error.strerror or str(error)
    if error.errno not in (EMFILE, ENFILE):
        return words
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return f"{words}: a process may have {limit:,} open; raise the limit with ulimit -n"


def refuse_limit(error: BaseException, place: object) -> None:
    """Raise an error that is caused by a limit of the system rather than by a damaged file.

    Args:
        error: Exception that was raised while a file was read.
        place: Path of the file.

    Raises:
        LimitError: The process or the system cannot open more files.
    """
    if isinstance(error, OSError) and error.errno in (EMFILE, ENFILE):
        raise LimitError(f"{place}: cannot be read ({reason_of(error)})") from None

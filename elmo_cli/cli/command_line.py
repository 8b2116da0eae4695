"""The command line of this process, for metadata."""

import shlex
import sys
from collections.abc import Sequence

from elmo_cli.io.remote import redact_url


def command_line(arguments: Sequence[str] | None = None) -> str:
    """Return the command line as it would be typed, without secrets of URLs.

    Args:
        arguments: Arguments of `elmo`; None: those of this process.
    """
    return shlex.join(
        map(redact_url, ["elmo", *(sys.argv[1:] if arguments is None else arguments)])
    )

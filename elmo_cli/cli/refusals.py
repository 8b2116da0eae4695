"""Messages for resources that the operating system refuses: files, memory, threads."""

import os
import re
from errno import EAGAIN, EMFILE, ENFILE, ENOMEM

from elmo_cli.errors import printable, reason_of

REFUSED = {  # errors of exhausted resources, and remedies
    EAGAIN: "end other processes, raise their limit (ulimit -u), or pass --threads 1",
    ENOMEM: "free memory, or raise the limit of this process (ulimit -v)",
    EMFILE: "raise the limit of open files (ulimit -n)",
    ENFILE: "close files of other processes",
}
# "could not create a primitive" is oneDNN's, "failed to map segment" the loader's
NO_MEMORY = re.compile(
    (
        r"(can't|cannot) allocate memory|not enough memory|out of memory|failed to map "
        r"segment|could not create a primitive|std::bad_alloc"
    ),
    re.IGNORECASE,
)
NO_THREAD = re.compile(
    r"can't start new thread|pthread_create|temporarily unavailable", re.IGNORECASE
)


def describe_refusal(error: OSError | MemoryError | RuntimeError | ImportError) -> str | None:
    """Return a message about a refused resource; None for a bug, and for a full disk."""
    if isinstance(error, OSError) and error.filename is not None:  # a file named by the user
        # The message of `reason_of` names the limit
        remedy = "" if error.errno in (EMFILE, ENFILE) else REFUSED.get(error.errno or 0, "")
        return printable(
            "; ".join(filter(None, [f"{os.fsdecode(error.filename)}: {reason_of(error)}", remedy]))
        )
    said = printable(next(iter(str(error).splitlines()), "out of memory"))[:200]
    if isinstance(error, OSError):
        if "temporary directory" in said:  # Python's own words
            return (
                "no folder for temporary files can be written; set TMPDIR to a folder with free "
                "space"
            )
        reason = (error.strerror or said).lower()
        return (
            f"the system is out of a resource ({reason}); {REFUSED[error.errno]}"
            if error.errno in REFUSED
            else None
        )
    if isinstance(error, MemoryError) or NO_MEMORY.search(said):
        return f"memory is insufficient ({said}); {REFUSED[ENOMEM]}"
    return (
        f"the system refuses more threads ({said}); {REFUSED[EAGAIN]}"
        if NO_THREAD.search(said)
        else None
    )

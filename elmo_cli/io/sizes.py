"""Size checks of untrusted tables: declared size against stored size."""

FREE_BYTES = 1 << 29  # allowed for any table
MAX_RATIO = 64  # of declared to stored bytes in larger ones: text is compressed to a tenth


class DamagedError(ValueError):
    """The metadata of a table is damaged."""


class OversizeError(ValueError):
    """A table would take more memory than allowed."""


def is_oversize(declared: int, stored: int) -> bool:
    """Return whether a declared size is implausible for the stored size, both in bytes."""
    return declared > max(FREE_BYTES, MAX_RATIO * stored)


def check_ratio(what: str, declared: int, stored: int) -> None:
    """Check that a declared size is plausible for the stored size.

    Args:
        what: Subject of the message.
        declared: Declared size in bytes.
        stored: Stored size in bytes.

    Raises:
        OversizeError: The declared size is too large.
    """
    if is_oversize(declared, stored):
        raise OversizeError(f"{what} declares {declared >> 20:,} MiB, and stores {stored:,} bytes")

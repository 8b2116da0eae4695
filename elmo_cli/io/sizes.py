"""What a table from a stranger declares, held against what it stores: more than that is not made room for."""

FREE_BYTES = 1 << 29  # that anything may take
MAX_RATIO = 64  # to what is stored, of what takes more: text is packed to a tenth


class DamagedError(ValueError):
    """This is no description of a table."""


class OversizeError(ValueError):
    """This would take more memory than there may be."""


def is_oversize(declared: int, stored: int) -> bool:
    """Whether `stored` bytes cannot stand for `declared` ones."""
    return declared > max(FREE_BYTES, MAX_RATIO * stored)


def check_ratio(what: str, declared: int, stored: int) -> None:
    """Make sure that `stored` bytes may stand for `declared` ones.

    Raises:
        OversizeError: They may not.
    """
    if is_oversize(declared, stored):
        raise OversizeError(f"{what} declares {declared >> 20:,} MiB, and stores {stored:,} bytes")

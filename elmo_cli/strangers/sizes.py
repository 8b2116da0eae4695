"""What a table from a stranger declares, held against what it stores: more than that is not made room for."""

FREE_BYTES = 1 << 29  # that anything may take
MAX_RATIO = 64  # to what is stored, of what takes more: text is packed to a tenth


class DamagedError(ValueError):
    """This is no description of a table."""


class OversizeError(ValueError):
    """This would take more memory than there may be."""


def check_ratio(what: str, declared: int, stored: int) -> None:
    """Make sure that `stored` bytes may stand for `declared` ones.

    Raises:
        OversizeError: They may not.
    """
    if declared > max(FREE_BYTES, MAX_RATIO * stored):
        raise OversizeError(f"{what} declares {declared >> 20:,} MiB, and stores {stored:,} bytes")

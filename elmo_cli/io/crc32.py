"""CRC-32 by the processor's instructions where there is a library for it, and of changed starts.

A sum is a polynomial over GF(2) modulo that of CRC-32, its highest coefficient in the lowest bit;
each following byte multiplies it by x^8.
"""

from functools import cache

try:
    from isal.isal_zlib import crc32
except ImportError:  # it is not built for every processor
    from zlib import crc32

__all__ = ["crc32", "restart"]

_POLYNOMIAL = 0xEDB88320  # of ISO 3309, as zlib.crc32 computes it
_ONE = 1 << 31
_X = _ONE >> 1


def restart(sum_: int, before: int, instead: int, size: int) -> int:
    """Return the sum of a part as if it continued another sum.

    Args:
        sum_: CRC-32 of the part, which continues `before`.
        before: CRC-32 of what preceded it, 0 for nothing.
        instead: CRC-32 of what precedes it in the result.
        size: Number of bytes of the part.
    """
    return sum_ ^ _multiply(before ^ instead, _power(8 * size))


@cache  # one for each size of a page: a few hundred
def _power(exponent: int) -> int:
    """Return x to the power of `exponent`."""
    result, square = _ONE, _X
    while exponent:
        if exponent & 1:
            result = _multiply(result, square)
        square = _multiply(square, square)
        exponent >>= 1
    return result


def _multiply(left: int, right: int) -> int:
    product = 0
    while left:
        if left & _ONE:
            product ^= right
        left = left << 1 & 0xFFFFFFFF
        right = right >> 1 ^ (_POLYNOMIAL if right & 1 else 0)
    return product

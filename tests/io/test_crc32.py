import zlib

from hypothesis import given
from hypothesis import strategies as st

from elmo_cli.io.crc32 import crc32, restart


@given(st.binary(), st.integers(0, (1 << 32) - 1))
def test_sums_are_those_of_zlib(data, before):
    assert crc32(data, before) == zlib.crc32(data, before)


@given(st.binary(), st.binary(), st.binary(max_size=5000))
def test_a_restarted_sum_is_that_of_the_bytes_after_the_other_bytes(before, instead, part):
    first, other = zlib.crc32(before), zlib.crc32(instead)
    continued = zlib.crc32(part, first)
    assert restart(continued, first, other, len(part)) == zlib.crc32(instead + part)


def test_a_part_may_have_more_than_4_gib():
    half = restart(0, 0, 1, 1 << 32)
    assert restart(0, 0, 1, 1 << 33) == restart(0, 0, half, 1 << 32)

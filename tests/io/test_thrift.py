"""Thrift's compact protocol."""

import io
import struct

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elmo_cli.io.thrift import (
    BINARY,
    BYTE,
    DOUBLE,
    FALSE,
    I16,
    I32,
    I64,
    LIST,
    STRUCT,
    TRUE,
    Struct,
    ThriftList,
    decode_struct,
    encode_struct,
    varint,
)

NUMBERS = st.integers(-(1 << 63), (1 << 63) - 1)
PLAIN = (
    st.tuples(st.sampled_from([I16, I32, I64]), NUMBERS)
    | st.tuples(st.just(BINARY), st.binary(max_size=200))
    | st.tuples(st.sampled_from([TRUE, FALSE]), st.none())
    | st.tuples(st.just(BYTE), st.binary(min_size=1, max_size=1))
    | st.tuples(st.just(DOUBLE), st.binary(min_size=8, max_size=8))
    | st.tuples(st.just(LIST), st.builds(ThriftList, st.just(I64), st.lists(NUMBERS, max_size=20)))
)


def structs(fields: st.SearchStrategy) -> st.SearchStrategy[Struct]:
    return st.dictionaries(st.integers(1, 1000), fields, max_size=5)


NESTED = (
    PLAIN
    | st.tuples(st.just(STRUCT), structs(PLAIN))
    | st.tuples(
        st.just(LIST), st.builds(ThriftList, st.just(STRUCT), st.lists(structs(PLAIN), max_size=3))
    )
)


@given(structs(NESTED))
def test_a_struct_is_read_back(given_struct: Struct):
    content = encode_struct(given_struct)
    assert decode_struct(b"x" + content + b"y", 1) == (given_struct, 1 + len(content))


def test_a_struct_has_the_bytes_of_the_specification():
    assert encode_struct({1: (I32, 1), 4: (I64, -1), 20: (BINARY, b"ab")}) == bytes.fromhex(
        "1502 3601 0828 026162 00".replace(" ", "")
    )
    assert varint(300) == b"\xac\x02"


def test_the_metadata_of_a_parquet_file_are_written_as_they_were():
    file = io.BytesIO()
    pq.write_table(pa.table({"a": [1, None], "b": [["x"], []], "c": [1.5, 2.5]}), file)
    content = file.getvalue()
    (size,) = struct.unpack("<I", content[-8:-4])
    metadata = content[-8 - size : -8]
    assert encode_struct(decode_struct(metadata)[0]) == metadata


def test_types_without_support_are_refused():
    with pytest.raises(ValueError, match="type 11 of Thrift is not supported"):
        decode_struct(b"\x1b\x00\x00")

"""Thrift's compact protocol: structs as Python values, read and written.

A struct is a dict of field number to (type, value); a list is (type, values). Numbers of any size
are int, and strings bytes. Maps, sets and UUIDs are not supported: the metadata of Parquet have
none.
Specification: github.com/apache/thrift, doc/specs/thrift-compact-protocol.md.
"""

from typing import Any, NamedTuple

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, _, _, STRUCT = range(1, 13)
_NUMBERS = (I16, I32, I64)
Struct = dict[int, tuple[int, Any]]


class ThriftList(NamedTuple):
    """A list of values of one type."""

    type: int
    values: list[Any]


def encode_struct(struct: Struct) -> bytes:
    """Return the bytes of a struct."""
    content, before = bytearray(), 0
    for number, (type_, value) in sorted(struct.items()):
        step = number - before
        content += bytes([step << 4 | type_]) if step <= 15 else bytes([type_]) + _zigzag(number)
        content += b"" if type_ in (TRUE, FALSE) else _encode(type_, value)
        before = number
    return bytes(content) + b"\0"


def decode_struct(content: bytes, at: int = 0) -> tuple[Struct, int]:
    """Return the struct that starts at a byte, and where it ends.

    Raises:
        ValueError: It has a type that is not supported.
    """
    struct: Struct = {}
    number = 0
    while head := content[at]:
        step, type_, at = head >> 4, head & 15, at + 1
        if step:
            number += step
        else:
            number, at = _unzigzag(content, at)
        value, at = (None, at) if type_ in (TRUE, FALSE) else _decode(type_, content, at)
        struct[number] = (type_, value)
    return struct, at + 1


def varint(value: int) -> bytes:
    """Return a number >= 0 in groups of 7 bits, the lowest first (ULEB128)."""
    groups = bytearray()
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    return bytes([*groups, value])


def _encode(type_: int, value: Any) -> bytes:  # noqa: ANN401  # as its type
    if type_ in _NUMBERS:
        return _zigzag(value)
    if type_ == BINARY:
        return varint(len(value)) + bytes(value)
    if type_ == STRUCT:
        return encode_struct(value)
    if type_ == LIST:
        n = len(value.values)
        head = bytes([n << 4 | value.type]) if n < 15 else bytes([240 | value.type]) + varint(n)
        return head + b"".join(_encode(value.type, item) for item in value.values)
    return bytes(value)  # of fixed size


def _decode(type_: int, content: bytes, at: int) -> tuple[Any, int]:
    if type_ in _NUMBERS:
        return _unzigzag(content, at)
    if type_ == BINARY:
        size, at = _unvarint(content, at)
        return content[at : at + size], at + size
    if type_ == STRUCT:
        return decode_struct(content, at)
    if type_ == LIST:
        return _decode_list(content, at)
    sizes = {TRUE: 1, FALSE: 1, BYTE: 1, DOUBLE: 8}  # booleans are bytes in a list
    if type_ not in sizes:
        raise ValueError(f"type {type_} of Thrift is not supported")
    return content[at : at + sizes[type_]], at + sizes[type_]


def _decode_list(content: bytes, at: int) -> tuple[ThriftList, int]:
    n, type_, at = content[at] >> 4, content[at] & 15, at + 1
    if n == 15:
        n, at = _unvarint(content, at)
    values = []
    for _number in range(n):
        value, at = _decode(type_, content, at)
        values.append(value)
    return ThriftList(type_, values), at


def _zigzag(value: int) -> bytes:
    return varint(value << 1 if value >= 0 else (-value << 1) - 1)


def _unzigzag(content: bytes, at: int) -> tuple[int, int]:
    value, at = _unvarint(content, at)
    return (value >> 1) ^ -(value & 1), at


def _unvarint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while (byte := content[at]) > 127:
        value |= (byte & 127) << shift
        shift, at = shift + 7, at + 1
    return value | byte << shift, at + 1

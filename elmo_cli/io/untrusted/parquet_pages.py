"""What the pages of a Parquet file declare, by their own headers: pyarrow makes room for it before anyone can look.

Thrift's compact protocol, as far as Parquet's descriptions need it: https://github.com/apache/parquet-format. The file's description is
read here too, for pyarrow ends the process over a damaged column's.
"""

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from elmo_cli.io.sizes import DamagedError

TRUE, FALSE, BYTE, INT16, INT32, INT64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
MAX_DEPTH = 32
HEADER_BYTES, MAX_HEADER_BYTES = 1 << 9, 1 << 24  # a header may hold the least and the greatest text of its page
DATA_PAGE, DICTIONARY_PAGE, DATA_PAGE_V2 = 0, 2, 3
DATA_HEADERS = {DATA_PAGE: (5, 2), DATA_PAGE_V2: (8, 4)}  # which field is the header, and which of it the encoding
DELTA_LENGTH_BYTE_ARRAY, DELTA_BYTE_ARRAY = 6, 7

Fields = dict[tuple[int, int], Any]  # by number and kind: a field of another kind than it should be is not there


class Leaf(NamedTuple):
    """A column of values, by its place among them."""

    number: int
    path: str
    repeated: bool  # whether a row has any number of its values
    width: int | None  # bytes of a value; None where it takes as many as it needs


class Extent(NamedTuple):
    """A row group's column in the file."""

    values: int
    at: int
    size: int


class Page(NamedTuple):
    """What a page's header says."""

    kind: int
    unpacked: int  # bytes
    stored: int
    values: int
    encoding: int


def read_footer(stream: Any) -> bytes:  # noqa: ANN401  # a file of Python's or pyarrow's
    """The description of a file that has been seen to have one."""
    stream.seek(-8, 2)
    length = int.from_bytes(stream.read(4), "little")
    stream.seek(-8 - length, 2)
    footer: bytes = stream.read(length)
    return footer


def row_groups(footer: bytes, wanted: Collection[int]) -> list[dict[int, Extent]]:
    """Where each row group has the columns that are wanted, by their place.

    Raises:
        DamagedError: The footer is none.
    """
    thrift = _Thrift(footer)
    try:
        return [
            {place: _extent(column) for place in _elements(thrift, 1) if (column := thrift.struct(keep=place in wanted))}
            for _ in _elements(thrift, 4)
        ]
    except IndexError:
        raise DamagedError("its description ends too soon") from None


def _elements(thrift: "_Thrift", wanted: int) -> Iterator[int]:
    """The places of the structs that a struct lists in one of its fields; each has to be read before the next one."""
    seen = False
    for number, kind in thrift.fields():
        if (number, kind) != (wanted, LIST):
            thrift.value(kind, keep=False)
            continue
        size, of = thrift.list_head()
        if seen or of != STRUCT:
            raise DamagedError("its row groups are described twice, or not as such")
        seen = True
        yield from range(size)


def _extent(column: Fields) -> Extent:
    described = column.get((3, STRUCT), {})
    values, size, at, dictionary = (described.get((field, INT64), 0) for field in (5, 7, 9, 11))
    return Extent(values, dictionary if 0 < dictionary < at else at, size)


def pages(stream: Any, extent: Extent) -> Iterator[Page]:  # noqa: ANN401  # a file of Python's or pyarrow's
    """The pages of a row group's column, as far as they are read: up to the number of values that it should have.

    Raises:
        DamagedError: They are not there, or no pages.
    """
    at, end, seen = extent.at, extent.at + extent.size, 0
    while at < end and seen < extent.values:
        page, length = _read_page(stream, at, end)
        yield page
        at += length + page.stored
        seen += 0 if page.kind == DICTIONARY_PAGE else page.values


def _read_page(stream: Any, at: int, end: int) -> tuple[Page, int]:  # noqa: ANN401  # a file of Python's or pyarrow's
    """A page's header, and how long that is."""
    size = HEADER_BYTES
    while True:
        stream.seek(at)
        data = stream.read(min(size, end - at))
        try:
            thrift = _Thrift(data)
            return _page(thrift.struct()), thrift.at
        except IndexError:
            if len(data) < size or size >= MAX_HEADER_BYTES:
                raise DamagedError("a page has no whole header") from None
            size *= 8


def _page(header: Fields) -> Page:
    kind, unpacked, stored = (header.get((field, INT32), -1) for field in (1, 2, 3))
    field, encoding = DATA_HEADERS.get(kind, (7, 2))
    own = header.get((field, STRUCT), {})
    page = Page(kind, unpacked, stored, own.get((1, INT32), 0), own.get((encoding, INT32), 0))
    if min(page) < 0:
        raise DamagedError("a page's header has no sizes")
    return page


class _Thrift:
    """Reads values one after the other; IndexError is the end of the data. Each takes at least a byte, so that no size can deceive."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def fields(self) -> Iterator[tuple[int, int]]:
        """Number and kind of each field, whose value has to be read before the next one."""
        number = 0
        while head := self._byte():
            if not head & 15:
                return
            number = number + (head >> 4) if head >> 4 else self._integer(16)
            yield number, head & 15

    def struct(self, depth: int = 0, *, keep: bool = True) -> Fields:
        values: Fields = {}
        numbers = set()
        for number, kind in self.fields():
            if keep and number in numbers:
                raise DamagedError("a field is there twice")
            numbers.add(number)
            value = self.value(kind, depth + 1, keep=keep)
            if keep:
                values[number, kind] = value
        return values

    def list_head(self) -> tuple[int, int]:
        """Number and kind of the elements."""
        head = self._byte()
        return (self._varint() if head >> 4 == 15 else head >> 4), head & 15

    def value(self, kind: int, depth: int = 0, *, keep: bool = True) -> Any:  # noqa: ANN401  # of any kind
        if depth > MAX_DEPTH:
            raise DamagedError("it is nested too deeply")
        if kind in (TRUE, FALSE):
            return kind == TRUE
        if kind in (INT16, INT32, INT64):
            return self._integer({INT16: 16, INT32: 32, INT64: 64}[kind])
        if kind == STRUCT:
            return self.struct(depth, keep=keep)
        if kind in (LIST, SET):
            return self._list(depth, keep=keep)
        if kind == MAP:
            return self._map(depth)
        if kind in (BYTE, DOUBLE, BINARY):
            return self._bytes({BYTE: 1, DOUBLE: 8}.get(kind) or self._varint())
        raise DamagedError("it has a field of unknown kind")

    def _list(self, depth: int, *, keep: bool) -> list[Any]:
        size, of = self.list_head()
        values = []
        for _ in range(size):
            value = self._byte() if of in (TRUE, FALSE) else self.value(of, depth + 1, keep=keep)
            if keep:
                values.append(value)
        return values

    def _map(self, depth: int) -> None:
        size = self._varint()
        kinds = self._byte() if size else 0
        for _ in range(size):
            for kind in (kinds >> 4, kinds & 15):
                if kind in (TRUE, FALSE):
                    self._byte()
                else:
                    self.value(kind, depth + 1, keep=False)

    def _byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def _bytes(self, size: int) -> bytes:
        self.at += size
        if self.at > len(self.data):
            raise IndexError
        return self.data[self.at - size : self.at]

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise DamagedError("it has a number without end")

    def _integer(self, bits: int) -> int:
        value = self._varint() & ((1 << bits) - 1)
        return value >> 1 ^ -(value & 1)

"""How many rows of a Parquet row group may be read at once, whatever it declares; and whether that is more than it can hold.

A page of a few bytes may stand for gigabytes: packed, coded by a dictionary, or by the number of times that a value repeats.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from elmo_cli.io.sizes import DamagedError, OversizeError, check_ratio
from elmo_cli.io.untrusted.parquet_pages import DELTA_BYTE_ARRAY, DELTA_LENGTH_BYTE_ARRAY, DICTIONARY_PAGE, Extent, Leaf, Page, pages

if TYPE_CHECKING:
    from pyarrow.parquet import FileMetaData, ParquetFile

MAX_PAGE_BYTES = 1 << 28  # a page is unpacked whole
READ_BYTES, AVERAGE_BYTES = 3 << 28, 1 << 24  # of a batch at worst, and of its lists on average
MAX_ROWS = 1 << 13
LEVEL_BYTES = 4  # of memory for a value beside itself: where its lists begin and end
WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12}
DICTIONARY_CODED = {2, 8}


class Plan(NamedTuple):
    """How to read a row group."""

    rows: int  # at once
    as_dictionary: list[str]  # columns whose dictionaries are not to be put in place


class _Cost(NamedTuple):
    leaf: Leaf
    pages: list[Page]
    as_dictionary: bool

    @property
    def longest(self) -> int:
        """Bytes that a value may take beside what its page does."""
        if self.leaf.width is not None:
            return self.leaf.width
        texts = [page.unpacked for page in self.pages if page.kind == DICTIONARY_PAGE and not self.as_dictionary]
        return max([LEVEL_BYTES, *texts, *(page.unpacked for page in self.pages if page.encoding == DELTA_BYTE_ARRAY)])

    @property
    def whole(self) -> int:
        """Bytes that all values may take."""
        values = sum(page.values for page in self.pages if page.kind != DICTIONARY_PAGE)
        return sum(page.unpacked for page in self.pages) + values * (LEVEL_BYTES + self.longest)


def leaves_of(table: "ParquetFile | FileMetaData", columns: Sequence[str]) -> list[Leaf]:
    """The leaves of some columns."""
    schema = table.schema
    described = [(number, schema.column(number)) for number in range(len(schema))]
    return [
        Leaf(number, leaf.path, leaf.max_repetition_level > 0, _width(leaf))
        for number, leaf in described
        if any(leaf.path == column or leaf.path.startswith(f"{column}.") for column in columns)
    ]


def plan_group(stream: Any, group: Mapping[int, Extent], n_rows: int, leaves: Sequence[Leaf], *, whole: bool = False) -> Plan:  # noqa: ANN401  # a file
    """How to read some leaves of a row group, in parts or as a whole.

    Raises:
        DamagedError: Its pages are not there, or are none.
        OversizeError: It declares far more than it stores, or a page that is too large.
    """
    if any(leaf.number not in group for leaf in leaves):
        raise DamagedError("a row group lacks columns")
    costs = [_cost(leaf, list(_checked_pages(stream, group[leaf.number], leaf)), whole or leaf.repeated) for leaf in leaves]
    flat, lists = ([cost for cost in costs if (whole or cost.leaf.repeated) is at_once] for at_once in (False, True))
    rows = min(MAX_ROWS, AVERAGE_BYTES * n_rows // max(1, _checked_whole(lists)))
    while rows > 1 and sum(_at_once(cost, rows) for cost in flat) > READ_BYTES:
        rows //= 2
    return Plan(max(1, rows), [cost.leaf.path for cost in costs if cost.as_dictionary])


def _width(leaf: Any) -> int | None:  # noqa: ANN401  # pyarrow is untyped
    return int(leaf.length) if leaf.physical_type == "FIXED_LEN_BYTE_ARRAY" else WIDTHS.get(leaf.physical_type)


def _checked_pages(stream: Any, extent: Extent, leaf: Leaf) -> Iterator[Page]:  # noqa: ANN401  # a file of Python's or pyarrow's
    for page in pages(stream, extent):
        if page.unpacked > MAX_PAGE_BYTES:
            raise OversizeError(f"column {leaf.path!r} has a page of {page.unpacked >> 20:,} MiB unpacked, above {MAX_PAGE_BYTES >> 20}")
        yield page


def _cost(leaf: Leaf, of: list[Page], at_once: bool) -> _Cost:
    encodings = {page.encoding for page in of if page.kind != DICTIONARY_PAGE}
    # a dictionary that is left as such costs time where values stand beside it, but what is read at once may repeat its values at will
    fits = encodings.isdisjoint({DELTA_BYTE_ARRAY, DELTA_LENGTH_BYTE_ARRAY}) if at_once else encodings <= DICTIONARY_CODED
    return _Cost(leaf, of, leaf.width is None and fits and any(page.kind == DICTIONARY_PAGE for page in of))


def _checked_whole(costs: list[_Cost]) -> int:
    """Bytes of what may be read at once: lists, all of which may be those of one row."""
    whole, stored = sum(cost.whole for cost in costs), sum(page.stored for cost in costs for page in cost.pages)
    if costs:
        column = max(costs, key=lambda cost: cost.whole).leaf.path
        check_ratio(f"in a row group column {column!r}", whole, stored)
    return whole


def _at_once(cost: _Cost, rows: int) -> int:
    """Bytes that so many rows of a column may take, where each is a value: themselves, and all pages that they may touch."""
    of = [page for page in cost.pages if page.kind != DICTIONARY_PAGE]
    ends = list(accumulate(page.values for page in of))
    sizes = list(accumulate((page.unpacked for page in of), initial=0))
    touched = (sizes[bisect_left(ends, end - 1 + rows, hi=len(of) - 1) + 1] - sizes[first] for first, end in enumerate(ends))
    return rows * (LEVEL_BYTES + cost.longest) + max(touched, default=0)

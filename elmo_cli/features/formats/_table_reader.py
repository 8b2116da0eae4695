"""Reader of features in a table of Parquet or Arrow; see _table.py and _table_schema.py.

A chunk of the table is a row group of Parquet or a record batch of Arrow.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elmo_cli.errors import FeaturesError
from elmo_cli.features.formats._table import SENTENCE_COLUMNS, TOKEN_COLUMNS, checksum_of
from elmo_cli.features.formats._table_schema import describe_schema, rows_of, texts_of
from elmo_cli.features.protocols import NO_CHECKS, Checks, Chunk, refusal
from elmo_cli.features.spec import sentence_of
from elmo_cli.io.arrow_sizes import value_bytes
from elmo_cli.io.sizes import DamagedError, OversizeError, check_ratio
from elmo_cli.types import Array, Sentence

CHECKED = {"parquet": "CRC-32 of each row group", "arrow": "CRC-32 of each record batch"}
ROW_BYTES = 64  # at least, of a key or a token as a Python object


class TablePart(NamedTuple):
    """Rows of a file that are read together.

    Attributes:
        n_rows: Number of rows.
        read: Function that reads the columns of the given names.
        summed: Checksums of the rows before them, and of all rows to their end; None without any.
    """

    n_rows: int
    read: Callable[[list[str]], pa.Table]
    summed: tuple[int, int] | None = None


class TableReader:
    """Reader of such a table. The columns that were read of the last chunk are kept in memory."""

    def __init__(
        self,
        path: Path,
        layout: str,
        schema: pa.Schema,
        chunks: Sequence[TablePart],
        close: Callable[[], None],
    ) -> None:
        self.path = path
        self.layout = layout
        self._schema = schema
        self._chunks = chunks
        self._close = close
        with reading_arrow(path):
            if any(chunk.n_rows < 0 for chunk in chunks):
                raise DamagedError("a negative number of rows is declared")
            self._stored = sum(
                file.stat().st_size
                for file in (path.glob("*.parquet") if path.is_dir() else [path])
            )
        told = texts_of(schema.metadata)
        self._by = told.get("keys")
        self.rows = rows_of(schema)
        self._cached: tuple[int, dict[str, pa.ChunkedArray]] = (-1, {})
        self.description = describe_schema(path, schema, told)
        self._kept = list(self.description.kept or [])
        self._row_starts = list(accumulate((chunk.n_rows for chunk in chunks), initial=0))
        self._check_size("the number of its rows", ROW_BYTES * self._row_starts[-1])
        self._starts = self._sentence_starts() if self.rows == "token" else None

    def _sentence_starts(self) -> npt.NDArray[np.int64]:
        """Return the first row of each sentence and the number of rows: 8 bytes per sentence."""
        starts, last, row = [], None, 0
        for chunk in range(len(self._chunks)):
            numbers = self._column(chunk, "number").to_numpy()
            if len(numbers):
                begins = np.flatnonzero(
                    np.concatenate(
                        [[last is None or numbers[0] != last], numbers[1:] != numbers[:-1]]
                    )
                )
                starts.append(begins + row)
                last, row = numbers[-1], row + len(numbers)
        found = np.concatenate([*starts, [row]]).astype(np.int64)
        values = (
            int(np.diff(found).max(initial=0)) * len(self.description.names) * self.description.dim
        )
        self._check_size("a sentence", values * np.dtype(self.description.dtype).itemsize)
        return found

    def __len__(self) -> int:
        return self._row_starts[-1] if self._starts is None else len(self._starts) - 1

    def keys(self) -> list[str]:
        """Return the names of the sentences."""
        keys: list[str] = []
        weight = 0
        for chunk in range(len(self._chunks)):
            column = self._column(chunk, "key")
            weight += _weight(column)
            self._check_size("column 'key'", weight)
            keys += column.to_pylist()
        return keys if self._starts is None else [keys[start] for start in self._starts[:-1]]

    def sentence(self, index: int) -> Sentence:
        """Return a sentence."""
        return self._sentences(
            self._slice(index, [*self._own(), *(field.name for field in self._kept)])
        )[0]

    def read(self, index: int, layers: Sequence[int] | None = None) -> Array:
        """Return the array of a sentence; only the given layers are read."""
        names = (
            self.description.names
            if layers is None
            else [self.description.names[layer] for layer in layers]
        )
        return self._arrays(self._slice(index, list(names)), names)[0]

    def token_counts(self) -> Iterable[int]:
        """Iterate over the number of tokens of each sentence, from the rows or the tokens."""
        if self._starts is not None:
            return map(int, np.diff(self._starts))
        return (
            count or 0
            for chunk in range(len(self._chunks))
            for count in pc.list_value_length(self._column(chunk, "tokens")).to_pylist()
        )

    def windows(self, first: int = 0) -> Iterator[Chunk]:
        """Iterate over the sentences, those of one chunk at a time."""
        columns = [*self._own(), *(field.name for field in self._kept), *self.description.names]
        rest: pa.Table | None = None
        row = first if self._starts is None else int(self._starts[first])
        for chunk in range(bisect_right(self._row_starts, row) - 1, len(self._chunks)):
            table = self._table(chunk, columns)
            self._check_sum(chunk, table)
            table = table.slice(max(0, row - self._row_starts[chunk]))
            table = table if rest is None else pa.concat_tables([rest, table])
            rest = None
            # The last sentence may continue in the next chunk
            if self.rows == "token" and chunk + 1 < len(self._chunks) and table.num_rows:
                numbers = table["number"].to_numpy()
                whole = (
                    int(np.flatnonzero(numbers != numbers[-1])[-1]) + 1
                    if (numbers != numbers[-1]).any()
                    else 0
                )
                table, rest = table.slice(0, whole), table.slice(whole)
            if table.num_rows:
                yield self._sentences(table), self._arrays(table, self.description.names)

    def _check_sum(self, chunk: int, table: pa.Table) -> None:
        before, right = self._chunks[chunk].summed or (0, None)
        if right is not None and checksum_of(table, before) != right:
            first, last = self._row_starts[chunk : chunk + 2]
            raise FeaturesError(
                f"{self.path}: is damaged (its rows {first + 1} to {last} do not match their "
                "checksum); make it again"
            )

    def checks(self) -> Checks:
        """Return the checksums of row groups or record batches, if this package wrote the file."""
        return Checks(CHECKED[self.layout]) if self.description.intact is not None else NO_CHECKS

    def close(self) -> None:
        """Close the files."""
        self._cached = (-1, {})
        self._close()

    def _own(self) -> list[str]:
        return list(TOKEN_COLUMNS if self.rows == "token" else SENTENCE_COLUMNS)

    def _column(self, chunk: int, name: str) -> pa.ChunkedArray:
        return self._table(chunk, [name])[name]

    def _table(self, chunk: int, names: list[str]) -> pa.Table:
        if self._cached[0] != chunk:
            self._cached = (chunk, {})
        held = self._cached[1]
        missing = [name for name in names if name not in held]
        if missing:
            with reading_arrow(self.path):
                read = self._checked(self._chunks[chunk].read(missing), chunk)
            held.update({name: read[name] for name in missing})
        return pa.table({name: held[name] for name in names})

    def _checked(self, table: pa.Table, chunk: int) -> pa.Table:
        """Return valid columns of the declared length and allowed size, without dictionaries."""
        table.validate(full=True)
        if table.num_rows != self._chunks[chunk].n_rows:
            raise DamagedError(
                f"{table.num_rows:,} rows where {self._chunks[chunk].n_rows:,} are declared"
            )
        for name in table.column_names:
            is_vector = name in self.description.names
            self._check_size(
                f"column {name!r}", table[name].nbytes if is_vector else _weight(table[name])
            )
        return table.cast(pa.schema([self._schema.field(name) for name in table.column_names]))

    def _check_size(self, what: str, declared: int) -> None:
        with reading_arrow(self.path):
            check_ratio(what, declared, self._stored)

    def _slice(self, index: int, names: list[str]) -> pa.Table:
        first, last = (
            (index, index + 1)
            if self._starts is None
            else (int(self._starts[index]), int(self._starts[index + 1]))
        )
        pieces = []
        while first < last:
            chunk = bisect_right(self._row_starts, first) - 1
            end = min(last, self._row_starts[chunk + 1])
            pieces.append(
                self._table(chunk, names).slice(first - self._row_starts[chunk], end - first)
            )
            first = end
        return pa.concat_tables(pieces)

    def _groups(self, table: pa.Table) -> list[int]:
        """Return the first row of each sentence in a table of token rows, and its end."""
        numbers = table["number"].to_numpy()
        return (
            [0, *(np.flatnonzero(numbers[1:] != numbers[:-1]) + 1).tolist(), len(numbers)]
            if len(numbers)
            else [0]
        )

    def _sentences(self, table: pa.Table) -> list[Sentence]:
        kept = [table[field.name] for field in self._kept]
        if self.rows == "token":
            bounds = self._groups(table)
            firsts = bounds[:-1]
            words = table["token"].to_pylist()
            tokens = [words[a:b] for a, b in pairwise(bounds)]
            table, kept = (
                table.take(firsts),
                [column.take(pa.array(firsts, pa.int64())) for column in kept],
            )
        else:
            tokens = table["tokens"].to_pylist()
        values = (
            zip(*(column.to_pylist() for column in kept), strict=True)
            if kept
            else [()] * len(tokens)
        )
        rows = zip(
            table["number"].to_pylist(), table["key"].to_pylist(), tokens, values, strict=True
        )
        return [self._sentence(*row) for row in rows]

    def _sentence(
        self,
        number: int | None,
        key: str | None,
        tokens: list[str | None] | None,
        kept: tuple[object, ...],
    ) -> Sentence:
        if number is None or key is None or tokens is None:
            raise FeaturesError(
                f"{self.path}: a row has no key, number or tokens; the file is damaged"
            )
        return sentence_of(
            str(number), key, [token or "" for token in tokens], self._by, tuple(kept)
        )

    def _arrays(self, table: pa.Table, names: Sequence[str]) -> list[Array]:
        layers = [self._vectors(table[name], name) for name in names]
        if self.rows == "token":
            bounds = self._groups(table) if "number" in table.column_names else [0, table.num_rows]
        elif not self.description.pooled:
            offsets = table[names[0]].combine_chunks()
            lengths = offsets.value_lengths().to_numpy(zero_copy_only=False)
            bounds = [0, *np.cumsum(lengths).tolist()]
        else:
            bounds = list(range(table.num_rows + 1))
        if any(len(layer) != bounds[-1] for layer in layers):
            raise FeaturesError(
                f"{self.path}: a row's layers are not of equal length; the file is damaged"
            )
        spans = [a if self.description.pooled else slice(a, b) for a, b in pairwise(bounds)]
        if not self.description.layered:
            return [layers[0][span] for span in spans]
        return [np.stack([layer[span] for layer in layers]) for span in spans]

    def _vectors(self, column: pa.ChunkedArray, name: str) -> Array:
        array = column.combine_chunks()
        vectors = array if pa.types.is_fixed_size_list(array.type) else array.flatten()
        values = vectors.flatten()
        if array.null_count or vectors.null_count or values.null_count:
            raise FeaturesError(f"{self.path}: column {name} has nulls; the file is damaged")
        flat: Array = values.to_numpy(zero_copy_only=False)
        return flat.reshape(-1, self.description.dim)


@contextmanager
def reading_arrow(path: Path) -> Iterator[None]:
    """Convert the library's exceptions for a damaged file to a FeaturesError."""
    try:
        yield
    except FileNotFoundError:
        raise FeaturesError(f"{path}: no such file") from None
    except OversizeError as error:
        raise FeaturesError(
            f"{path}: {error}; write it again in smaller row groups or record batches"
        ) from None
    except (
        OSError,
        pa.ArrowException,
        DamagedError,
        MemoryError,
        OverflowError,
        UnicodeDecodeError,
    ) as error:
        if refused := refusal(path, error):
            raise refused from None
        said = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        raise FeaturesError(f"{path}: is damaged ({said}); make it again") from None


def _weight(column: pa.ChunkedArray) -> int:
    """Return the bytes of a column as Python objects."""
    return sum(int(value_bytes(array).sum()) for array in column.chunks)

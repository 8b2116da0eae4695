"""Parquet: one file, or a folder of shards part-00000.parquet, ..., each of complete windows.

_table.py describes the columns; _parquet_shard.py describes the other metadata of a file.
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from elmo_cli.errors import FeaturesError, reason_of, refuse_limit
from elmo_cli.features.formats._parquet_shard import (
    SHARD_TOKENS,
    ParquetShard,
    create_shard,
    number_shards,
    shard_name,
    shard_number,
)
from elmo_cli.features.formats._table import schema_of
from elmo_cli.features.formats._table_reader import TablePart, TableReader, reading_arrow
from elmo_cli.features.formats._table_schema import texts_of
from elmo_cli.features.spec import CHECKSUM, FeatureSpec, WriteOptions, checksum_ok
from elmo_cli.io.atomic import writing_errors
from elmo_cli.io.output_file import OutputFile
from elmo_cli.io.output_folder import OutputFolder
from elmo_cli.io.remote_path import LARGE_BLOCK, SMALL_BLOCK, RemotePath
from elmo_cli.io.sizes import DamagedError
from elmo_cli.types import Array, Sentence

__all__ = [
    "SHARD_TOKENS",
    "ParquetShard",
    "ParquetWriter",
    "create_shard",
    "find_missing",
    "number_shards",
    "open_parquet",
    "shard_name",
    "shard_number",
]

MOST_MISSING = 100  # shards that are listed
_NO_OPTIONS = WriteOptions()


class ParquetWriter:
    """Writer of a file, or of a folder of shards.

    Each shard has at least `shard_tokens` tokens, except the last one.
    """

    def __init__(
        self,
        output: OutputFile | OutputFolder,
        description: FeatureSpec,
        options: WriteOptions = _NO_OPTIONS,
    ) -> None:
        self.output = output
        self.description = description
        self.options = options
        self.skipped_duplicates = 0
        schema_of(description, options, "parquet")  # rejects columns before any work is done
        self._shard_tokens = options.shard_tokens or SHARD_TOKENS
        self._shard: ParquetShard | None = None
        self._next = 0  # number of the next shard
        self._folder: Path | None = None

    def write(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        """Write a window to the current shard.

        Raises:
            OutputError: The disk is full or gone.
        """
        with writing_errors(self.output.path):
            if self._folder and self._shard and self._shard.tokens >= self._shard_tokens:
                self._end_shard(self._shard)
            (self._shard or self._begin_shard()).write(window, arrays)

    def __enter__(self) -> "ParquetWriter":
        with writing_errors(self.output.path):
            if isinstance(self.output, OutputFolder):
                self._folder = self.output.make_partial()
            else:
                self._begin_shard()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with ExitStack() as closing, writing_errors(self.output.path):
            closing.callback(self._give_up)
            if kind is None:
                self._finish()

    def _begin_shard(self) -> ParquetShard:
        if isinstance(self.output, OutputFile):
            self._shard = ParquetShard(
                self.output.make_partial(), 0, self.description, self.options
            )
        else:
            folder = self._folder or self.output.make_partial()
            self._shard = create_shard(folder, self._next, self.description, self.options)
        return self._shard

    def _end_shard(self, shard: ParquetShard, *, last: bool = False) -> None:
        shard.close(last=last)
        self._shard, self._next = None, self._next + 1

    def _finish(self) -> None:
        if isinstance(self.output, OutputFile) and self._shard:
            self._shard.finish(last=True)
            self.output.put_in_place(self._shard.file)
        elif isinstance(self.output, OutputFolder) and self._folder:
            # A corpus without sentences has one shard without rows
            self._end_shard(self._shard or self._begin_shard(), last=True)
            self.output.put_in_place(self._folder)
            self._folder = None

    def _give_up(self) -> None:
        """Remove the unfinished shard and folder."""
        if self._shard:
            self._shard.discard()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


def open_parquet(path: Path) -> TableReader:
    """Open a file, or the files of a folder in the order of their names.

    A row group is read when it is needed, and only its columns that are needed.

    Args:
        path: Path of the file or folder.

    Returns:
        The reader.

    Raises:
        FeaturesError: There are no files, they do not belong together, or one is damaged.
    """
    paths = _find_shards(path) if path.is_dir() else [path]
    shards = [_look_into(part) for part in paths]
    for shard in shards:
        if not shard.schema.equals(shards[0].schema):
            raise FeaturesError(
                f"{shard.path}: has other columns than {paths[0].name}; a folder contains the "
                "shards of one run"
            )
    with reading_arrow(path):
        if path.is_dir():
            _check_order({shard.path: texts_of(shard.metadata.metadata) for shard in shards})
        chunks = [chunk for shard in shards for chunk in _chunks(shard)]
        return TableReader(path, "parquet", shards[0].schema, chunks, lambda: None)


def _find_shards(folder: Path) -> list[Path]:
    try:
        paths = sorted(folder.glob("*.parquet"))
    except OSError as error:
        refuse_limit(error, folder)
        raise FeaturesError(f"{folder}: cannot be read ({reason_of(error)})") from None
    if not paths:
        raise FeaturesError(
            f"{folder}: contains no *.parquet; name a file of features, or a folder of shards"
        )
    return paths


class _Shard(NamedTuple):
    """Metadata of a file.

    The file is opened for each row group that is read: a folder may have more files than may be
    open.
    """

    path: Path
    metadata: pq.FileMetaData
    schema: pa.Schema


def _look_into(path: Path) -> _Shard:
    with reading_arrow(path), _open(path) as source, pq.ParquetFile(source) as file:
        return _Shard(path, file.metadata, file.schema_arrow)


def _open(path: Path, block: int = SMALL_BLOCK) -> Any:  # noqa: ANN401  # a file of pyarrow's, or ours
    """Return a file for pyarrow to read, whose name need not be UTF-8."""
    if isinstance(path, RemotePath):
        return path.open("rb", block)
    return pa.OSFile(os.fsencode(path))


def _check_order(shards: Mapping[Path, Mapping[str, str]]) -> None:
    """Check that the shards of this package are those of one run, each present once, in order."""
    ours = {path: told for path, told in shards.items() if "part" in told}
    for (path, told), (_, before) in zip(list(ours.items())[1:], ours.items(), strict=False):
        if told.get(CHECKSUM) != before.get(CHECKSUM):
            raise FeaturesError(
                f"{path}: is of another run than the shards before it; a folder contains the "
                "shards of one run"
            )
        if _numbers(told["part"]) <= _numbers(before["part"]):
            raise FeaturesError(
                f"{path}: is shard {told['part']}, and comes after shard {before['part']}; restore "
                "the names of the shards"
            )


def _numbers(text: str) -> list[int]:
    words = text.split(",") if text else []
    if not all(word.isdecimal() for word in words):
        raise DamagedError("its checksums are not numbers")
    return list(map(int, words))


def find_missing(path: Path) -> Iterator[str]:
    """Iterate over descriptions of missing rows, shards and damaged metadata.

    The files record their numbers of rows and of shards.

    Args:
        path: Path of the file, or of a folder of shards.

    Raises:
        FeaturesError: A file is damaged.
    """
    parts = (
        {shard_number(part.name): part for part in path.glob("part-*.parquet")}
        if path.is_dir()
        else {0: path}
    )
    n_parts, is_ours = 0, False
    for part in parts.values():
        rows, told = _account(part)
        is_ours = is_ours or "elmo_version" in told
        n_parts = max(n_parts, int(told["parts"]) if told.get("parts", "").isdecimal() else 0)
        if "elmo_version" in told and told.get("rows") != str(rows):
            yield (
                f"{part.name}: has {rows:,} rows, and should have "
                f"{told.get('rows', 'another number')}"
            )
        if checksum_ok(told) is False:
            yield f"{part.name}: its metadata do not match their checksum"
    if path.is_dir() and is_ours:
        if not n_parts:
            yield "its last shard is missing: no file records the number of shards"
        missing = (number for number in range(n_parts or max(parts)) if number not in parts)
        yield from (
            f"part-{number:05d}.parquet is missing" for number in islice(missing, MOST_MISSING)
        )


def _account(part: Path) -> tuple[int, dict[str, str]]:
    """Return the number of rows of a file, and its metadata."""
    with reading_arrow(part), _open(part) as source:
        described = pq.read_metadata(source)
    return described.num_rows, texts_of(described.metadata)


def _chunks(shard: _Shard) -> list[TablePart]:
    path, metadata = shard.path, shard.metadata
    n_groups, told = metadata.num_row_groups, texts_of(metadata.metadata)
    sums = _numbers(told.get("part", "")) + _numbers(told.get("row_group_crc32", ""))
    if "part" in told and len(sums) != 1 + n_groups:
        raise FeaturesError(
            f"{path}: is damaged (it has {n_groups} row groups, and a different number of "
            "checksums); make it again"
        )
    summed = list(pairwise(sums)) if "part" in told else [None] * n_groups
    return [
        TablePart(metadata.row_group(i).num_rows, partial(_read, shard, i), summed[i])
        for i in range(n_groups)
    ]


def _read(shard: _Shard, number: int, names: list[str]) -> pa.Table:
    """Read columns of a row group."""
    with (
        _open(shard.path, LARGE_BLOCK) as source,
        pq.ParquetFile(source, metadata=shard.metadata, page_checksum_verification=True) as file,
    ):
        return file.read_row_group(number, columns=names)

"""Column chunks of vectors are compared with those that Arrow writes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elmo_cli.features.formats import _parquet_shard, _parquet_vectors
from elmo_cli.features.formats._table import schema_of, to_table
from elmo_cli.features.formats.parquet import ParquetWriter
from elmo_cli.features.spec import FeatureSpec, WriteOptions
from elmo_cli.features.verify import verify
from elmo_cli.io.output_file import OutputFile
from elmo_cli.types import Array, Sentence

SPEC = FeatureSpec(("layer_0", "layer_1"), 3, "float32", False, {})


@pytest.fixture(scope="module", autouse=True)
def _short_vectors_are_not_left_to_arrow() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_parquet_shard, "ARROW_BELOW_DIM", 0)
        patch.setattr(_parquet_shard, "ARROW_BELOW_POOLED_DIM", 0)
        yield


def window_of(counts: list[int], start: int = 0) -> tuple[list[Sentence], list[Array]]:
    window = [
        Sentence(str(start + i), ["t"] * count, " ".join(["t"] * count))
        for i, count in enumerate(counts)
    ]
    values = np.arange(2 * 3 * sum(counts), dtype=np.float32).reshape(2, -1, 3)
    ends = np.cumsum(counts)
    return window, [values[:, end - count : end] for count, end in zip(counts, ends, strict=True)]


def write(
    path: Path,
    windows: list[tuple[list[Sentence], list[Array]]],
    options: WriteOptions,
    spec: FeatureSpec = SPEC,
) -> None:
    path.unlink(missing_ok=True)
    with ParquetWriter(OutputFile(path), spec, options) as writer:
        for window, arrays in windows:
            writer.write(window, arrays)


def expected(
    windows: list[tuple[list[Sentence], list[Array]]],
    options: WriteOptions,
    spec: FeatureSpec = SPEC,
) -> pa.Table:
    schema = schema_of(spec, options, "parquet")
    return pa.concat_tables(to_table(*window, schema, spec, options) for window in windows)


@given(
    st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=8), min_size=1, max_size=2),
    st.sampled_from(["none", "zstd"]),
    st.sampled_from(["sentence", "token"]),
    st.sampled_from([10, 40, 1 << 19]),
    st.sampled_from([300, 1 << 26]),
)
@settings(max_examples=60)
def test_the_rows_are_those_that_arrow_writes(
    tmp_path_factory: pytest.TempPathFactory,
    counts: list[list[int]],
    compression: str,
    rows: str,
    page: int,
    row_group: int,
):
    path, options = (
        tmp_path_factory.getbasetemp() / "a.parquet",
        WriteOptions(compression=compression, rows=rows),
    )
    windows = [
        window_of([max(n, rows == "token") for n in each], 100 * i) for i, each in enumerate(counts)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_parquet_vectors, "PAGE_BYTES", page)
        patch.setattr(_parquet_vectors, "LARGEST_BYTES", 2 * page)  # a longer row has several pages
        patch.setattr(_parquet_shard, "ROW_GROUP_BYTES", row_group)
        write(path, windows, options)
    table = pq.ParquetFile(path, page_checksum_verification=True).read()
    table.validate(full=True)
    assert table.equals(expected(windows, options))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("dim", [1, 200])
def test_pooled_vectors_of_any_width_are_those_that_arrow_writes(
    tmp_path: Path, dim: int, dtype: str
):
    spec, options = FeatureSpec(("vectors",), dim, dtype, True, {}), WriteOptions()
    arrays = list(np.random.default_rng(0).random((5, dim)).astype(np.float32))
    window = [Sentence(str(i), [], "") for i in range(5)]
    write(tmp_path / "a.parquet", [(window, arrays)], options, spec)
    assert pq.read_table(tmp_path / "a.parquet").equals(expected([(window, arrays)], options, spec))


def test_the_metadata_describe_the_chunks(tmp_path: Path):
    write(tmp_path / "a.parquet", [window_of([2, 0, 3]), window_of([4], 3)], WriteOptions())
    metadata = pq.read_metadata(tmp_path / "a.parquet")
    n_values = [metadata.row_group(i).column(3).num_values for i in range(2)]
    assert n_values == [3 * 5 + 1, 3 * 4]  # an empty list is counted as one value
    for group in map(metadata.row_group, range(2)):
        columns = [group.column(i) for i in range(group.num_columns)]
        assert group.total_byte_size == sum(column.total_uncompressed_size for column in columns)
        ends = [
            (c.dictionary_page_offset or c.data_page_offset) + c.total_compressed_size
            for c in columns
        ]
        assert all(
            end <= column.data_page_offset for end, column in zip(ends, columns[1:], strict=False)
        )


def test_a_page_records_the_checksum_of_its_bytes(tmp_path: Path):
    write(tmp_path / "a.parquet", [window_of([40])], WriteOptions())
    offset = pq.read_metadata(tmp_path / "a.parquet").row_group(0).column(4).data_page_offset
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    content[offset + 300] ^= 1
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(OSError, match="CRC"):
        pq.ParquetFile(tmp_path / "a.parquet", page_checksum_verification=True).read()


@pytest.mark.parametrize("pooled", [False, True])
def test_vectors_below_a_dimension_are_left_to_arrow_with_the_same_rows_and_checksums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pooled: bool
):
    spec, options = FeatureSpec(("layer_0", "layer_1"), 3, "float32", pooled, {}), WriteOptions()
    windows = [window_of([2, 0, 3, 1]), window_of([4, 1], 4)]
    if pooled:
        windows = [(window, [array.sum(1) for array in arrays]) for window, arrays in windows]
    written_here, tables, sums = [], [], []
    write_vectors = _parquet_shard.write_vectors

    def spy(sink, rows, *args, **kwargs):
        calls.append(rows)
        return write_vectors(sink, rows, *args, **kwargs)

    monkeypatch.setattr(_parquet_shard, "write_vectors", spy)
    for dim in (3, 4):
        calls: list[list[Array]] = []
        monkeypatch.setattr(_parquet_shard, f"ARROW_BELOW_{'POOLED_' * pooled}DIM", dim)
        path = tmp_path / f"{dim}.parquet"
        write(path, windows, options, spec)
        assert not verify(path).problems
        file = pq.ParquetFile(path, page_checksum_verification=True)
        written_here.append(bool(calls))
        tables.append(file.read())
        sums.append(file.metadata.metadata[b"row_group_crc32"])
    assert written_here == [True, False]
    assert tables[0].equals(tables[1])
    assert sums[0] == sums[1]

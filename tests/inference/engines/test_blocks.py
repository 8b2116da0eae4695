import os
from pathlib import Path

import numpy as np
import pytest

from elmo_cli.inference.engines import blocks
from elmo_cli.inference.engines.blocks import BlockPool, Layout


def test_a_block_is_free_when_the_last_of_its_arrays_is_gone(tmp_path: Path):
    pool = BlockPool(lambda: tmp_path)
    layout = Layout("<f4", [(3, 2, 4), (3, 0, 4), (3, 1, 4)])
    first = pool.take(layout.n_bytes)
    arrays = pool.arrays(first, layout)
    assert [array.shape for array in arrays] == layout.shapes
    kept = arrays[2][0]
    del arrays
    second = pool.take(layout.n_bytes)
    assert second.number != first.number
    del kept
    assert pool.take(layout.n_bytes).number == first.number
    pool.close()


def test_smaller_blocks_are_replaced_by_larger_ones(tmp_path: Path):
    pool = BlockPool(lambda: tmp_path)
    small = pool.take(100)
    del small
    pool.arrays(pool.take(100), Layout("<f4", [(3, 1, 1)]))
    large = pool.take(1 << 20)
    assert large.size >= 1 << 20
    assert large.number in pool.live
    pool.close()


@pytest.mark.parametrize("n_tokens", [0, 5])
def test_what_is_written_to_the_descriptor_is_read_from_the_arrays(tmp_path: Path, n_tokens: int):
    pool = BlockPool(lambda: tmp_path)
    layout = Layout("<f2", [(2, n_tokens, 3)])
    block = pool.take(layout.n_bytes)
    values = np.arange(6 * n_tokens, dtype=np.float16).reshape(2, n_tokens, 3)
    os.pwrite(block.descriptor, values.tobytes(), 0)
    np.testing.assert_array_equal(pool.arrays(block, layout)[0], values)
    pool.close()


def test_without_memfd_a_file_is_used_that_has_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delattr(blocks.os, "memfd_create")
    pool = BlockPool(lambda: tmp_path)
    block = pool.take(1000)
    assert os.fstat(block.descriptor).st_dev == tmp_path.stat().st_dev
    assert list(tmp_path.iterdir()) == []
    pool.close()

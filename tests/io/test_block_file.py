"""Remote files read in blocks."""

import io
import random
from pathlib import Path

import pytest
from pyarrow import fs

from elmo_cli.io import block_file
from elmo_cli.io.block_file import BlockFile
from elmo_cli.io.remote_path import RemoteError, RemotePath, features_path

CONTENT = bytes(i * i % 251 for i in range(1000))


@pytest.mark.parametrize("block", [1, 7, 64, 999, 1000, 5000])
def test_a_file_in_blocks_reads_as_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
):
    monkeypatch.setattr(block_file, "HELD_BYTES", 3 * block)
    (tmp_path / "a").write_bytes(CONTENT)
    draw, expected = random.Random(block), io.BytesIO(CONTENT)  # noqa: S311  # no secret
    with BlockFile(fs.LocalFileSystem().open_input_file(str(tmp_path / "a")), block) as file:
        for _ in range(100):
            whence = draw.randrange(3)
            offset = (
                draw.randrange(1100)
                if whence == 0
                else draw.randrange(-expected.tell(), 50)
                if whence == 1
                else -draw.randrange(1000)
            )
            assert file.seek(offset, whence) == expected.seek(offset, whence)
            size = draw.choice([0, 1, 8, 100, 2000])
            assert file.read(size) == expected.read(size)
            assert file.tell() == expected.tell()


def test_a_remote_path_names_files_as_a_local_one_does(tmp_path: Path):
    (tmp_path / "x").mkdir()
    for name in ("b.parquet", "a.parquet", "c.txt"):
        (tmp_path / "x" / name).write_bytes(CONTENT)
    folder = features_path(f"{tmp_path.as_uri()}/x/")
    assert isinstance(folder, RemotePath)
    assert [path.name for path in folder.glob("*.parquet")] == ["a.parquet", "b.parquet"]
    child = folder / "a.parquet"
    assert (child.stem, child.suffix, child.is_file(), child.stat().st_size) == (
        "a",
        ".parquet",
        True,
        1000,
    )
    assert folder.is_dir()
    assert not (folder / "none").exists()
    assert child.read_bytes() == CONTENT


def test_secrets_of_a_remote_path_are_not_shown():
    path = (
        RemotePath("s3://me:secret@bucket/features/?endpoint_override=host&key=secret")
        / "part-00000.parquet"
    )
    assert str(path) == "s3://bucket/features/part-00000.parquet"
    assert (
        path.uri
        == "s3://me:secret@bucket/features/part-00000.parquet?endpoint_override=host&key=secret"
    )


def test_a_place_that_is_not_there_is_a_short_error():
    with pytest.raises(RemoteError) as caught:
        RemotePath("s3://bad bucket/x").exists()
    assert "\n" not in str(caught.value)

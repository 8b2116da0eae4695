"""Atomic writes: an output that exists is complete, whatever fails."""

import errno
import io
from pathlib import Path

import pytest

from elmo_cli.errors import DiskError, OutputError
from elmo_cli.io.atomic import atomic_folder, atomic_write, writing_errors
from elmo_cli.io.output_file import OutputFile, open_output
from elmo_cli.io.partial_file import PartialFile, closing_library_file


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("shared", [False, True])
def test_a_failed_write_leaves_the_file_before(tmp_path: Path, shared: bool):
    path = tmp_path / "a.txt"
    atomic_write(path, lambda partial: partial.write_text("one"), shared=shared)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(
            path,
            lambda partial: (partial.write_text("tw"), (_ for _ in ()).throw(KeyboardInterrupt)),
            shared=shared,
        )
    with pytest.raises(OSError, match="No space left"):
        atomic_write(path, full, shared=shared)
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_complete_or_not_at_all(tmp_path: Path):
    folder = tmp_path / "model"
    with atomic_folder(folder) as partial:
        (partial / "a").write_text("a")
        assert not folder.exists()
    assert [path.name for path in folder.iterdir()] == ["a"]
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "other"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == [folder]


def test_of_two_folders_of_one_name_the_first_stays(tmp_path: Path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "first").touch()
    with atomic_folder(folder, exist_ok=True) as partial:
        (partial / "second").touch()
    assert [path.name for path in folder.iterdir()] == ["first"]
    with pytest.raises(OSError, match="not empty"), atomic_folder(folder) as partial:  # both
        (partial / "third").touch()
    assert list(tmp_path.iterdir()) == [folder]


def test_an_error_of_the_system_names_the_file_and_the_remedy():
    with (
        pytest.raises(
            DiskError, match=r"^out: cannot be written \(No space left on device\); make room$"
        ),
        writing_errors(Path("out"), "make room"),
    ):
        full()
    with (
        pytest.raises(DiskError, match=r"^out: cannot be written \(write failed\)$"),
        writing_errors(Path("out"), also=(RuntimeError,)),
    ):
        raise RuntimeError("write failed\nand more")


def test_an_output_has_its_name_when_the_block_ends(tmp_path: Path):
    path = tmp_path / "out"
    with open_output(OutputFile(path)) as file:
        file.write(b"all")
        assert not path.exists()
    assert path.read_bytes() == b"all"
    with (
        pytest.raises(OutputError, match="has appeared during the run"),
        open_output(OutputFile(path)) as file,
    ):
        file.write(b"other")
    with pytest.raises(KeyboardInterrupt), open_output(OutputFile(path, overwrite=True)) as file:  # noqa: PT012  # both
        file.write(b"part")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"all"
    assert list(tmp_path.iterdir()) == [path]


class FullDisk:
    """An open file that takes nothing more."""

    write = staticmethod(full)

    def __init__(self, file: io.FileIO) -> None:
        self.close = file.close


class Library:
    """Writes what it holds back when it is closed, as the HDF5 library does."""

    def __init__(self, file: PartialFile) -> None:
        self.file = file
        self.closed = 0

    def close(self) -> None:
        self.file.write(b"rest")
        self.closed += 1


def test_after_a_failure_a_library_closes_into_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(KeyboardInterrupt), open_output(OutputFile(tmp_path / "out")) as partial:  # noqa: PT012  # all
        library = Library(partial)
        with closing_library_file(partial, library):
            monkeypatch.setattr(partial, "_file", FullDisk(partial._file))
            raise KeyboardInterrupt
    assert library.closed == 1
    assert list(tmp_path.iterdir()) == []


def test_a_failure_at_the_end_of_a_library_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with (
        pytest.raises(OSError, match="No space left"),
        open_output(OutputFile(tmp_path / "out")) as partial,
        closing_library_file(partial, Library(partial)),
    ):
        monkeypatch.setattr(partial, "_file", FullDisk(partial._file))
    assert list(tmp_path.iterdir()) == []

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from elmo_cli.errors import FeaturesError, OutputError
from elmo_cli.features.formats import open_writer
from elmo_cli.features.formats.allennlp import sentence_name, sentence_text
from elmo_cli.features.reader import open_features
from elmo_cli.features.spec import FeatureSpec, WriteOptions
from elmo_cli.io.hdf5_heap import find_damage
from elmo_cli.io.output_file import OutputFile
from elmo_cli.types import Sentence

THREE = FeatureSpec(("layer_0", "layer_1", "layer_2"), 4, metadata={"model": "m"})


def sentences(*texts: str) -> list[Sentence]:
    return [Sentence(str(i), text.split(), text) for i, text in enumerate(texts)]


def arrays(*lengths: int) -> list[np.ndarray]:
    return [np.full((3, n, 4), i, dtype=np.float32) for i, n in enumerate(lengths)]


def write(path: Path, *texts: str, **options: object) -> None:
    with open_writer("allennlp", OutputFile(path), THREE, WriteOptions(**options)) as store:
        store.write(sentences(*texts), arrays(*(len(text.split()) for text in texts)))


def test_the_layout_is_allennlps(tmp_path: Path):
    path = tmp_path / "out.h5"
    write(path, "a b", "c", "é  d")
    with h5py.File(path) as file:
        assert list(file) == ["0", "1", "2", "sentence_to_index"]  # in input order
        assert file["0"].shape == (3, 2, 4)
        assert file["0"].dtype == np.float32
        assert file["0"].chunks is None
        assert file["sentence_to_index"].shape == (1,)
        assert tuple(h5py.check_string_dtype(file["sentence_to_index"].dtype)) == ("utf-8", None)
        assert json.loads(file["sentence_to_index"][0]) == {"a b": "0", "c": "1", "é  d": "2"}
        assert file.attrs["model"] == "m"
        assert (file.attrs["layout"], file.attrs["axes"], file.attrs["names"]) == (
            "allennlp",
            "layer token dim",
            "layer_0,layer_1,layer_2",
        )


def test_of_equal_sentences_the_map_names_the_last_at_the_place_of_the_first(tmp_path: Path):
    write(tmp_path / "out.h5", "a", "b", "a")
    with h5py.File(tmp_path / "out.h5") as file:
        assert list(json.loads(file["sentence_to_index"][0]).items()) == [("a", "2"), ("b", "1")]


def test_no_sentences_make_a_whole_empty_file(tmp_path: Path):
    write(tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as file:
        assert list(file) == ["sentence_to_index"]
        assert file["sentence_to_index"][0] == b"{}"


def test_sentences_may_be_forgotten_or_be_the_names(tmp_path: Path):
    write(tmp_path / "forgot.h5", "a", forget_sentences=True)
    write(tmp_path / "named.h5", "a / b", ".", "a", "a", keys="sentence")
    with h5py.File(tmp_path / "forgot.h5") as forgot, h5py.File(tmp_path / "named.h5") as named:
        assert list(forgot) == ["0"]
        assert [sentence_text(name) for name in named] == ["a / b", ".", "a"]


@pytest.mark.parametrize("keys", ["sentence", "id"])
def test_a_sentence_may_be_called_as_the_map_is(tmp_path: Path, keys: str):
    with open_writer(
        "allennlp", OutputFile(tmp_path / "out.h5"), THREE, WriteOptions(keys)
    ) as store:
        store.write(
            [
                sentence._replace(id=sentence.text)
                for sentence in sentences("sentence_to_index", "a b")
            ],
            arrays(1, 2),
        )
    with open_features(tmp_path / "out.h5") as features:
        assert features.keys() == ["sentence_to_index", "a b"]
        assert features.sentence(0).tokens == ["sentence_to_index"]


@given(st.text())
@example("sentence_to_index")
def test_a_sentence_as_a_name_can_be_read_back(text: str):
    name = sentence_name(text)
    assert sentence_text(name) == text
    assert name not in ("", ".", "sentence_to_index")
    assert not {"/", "\0"} & set(name)


def test_a_failed_run_leaves_nothing(tmp_path: Path):
    with (  # noqa: PT012  # the block is what fails
        pytest.raises(RuntimeError),
        open_writer("allennlp", OutputFile(tmp_path / "out.h5"), THREE) as store,
    ):
        store.write(sentences("a"), arrays(1))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_until_the_end_there_is_no_output(tmp_path: Path):
    path = tmp_path / "out.h5"
    path.write_text("the old one")
    with open_writer("allennlp", OutputFile(path, overwrite=True), THREE) as store:
        store.write(sentences("a"), arrays(1))
        assert path.read_text() == "the old one"
    assert h5py.is_hdf5(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path):
    path = tmp_path / "out.h5"
    with (
        pytest.raises(OutputError, match="has appeared during the run"),
        open_writer("allennlp", OutputFile(path), THREE),
    ):
        path.write_text("another run's")
    assert path.read_text() == "another run's"
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_job_writes_the_same_bytes(tmp_path: Path):
    for name in ("one.h5", "two.h5"):
        write(tmp_path / name, "a b", "c")
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()


def test_the_file_has_the_permissions_of_any_new_file(tmp_path: Path):
    write(tmp_path / "out.h5", "a")
    (tmp_path / "other").touch()
    assert (tmp_path / "out.h5").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_outputs_that_cannot_be_are_refused_early(tmp_path: Path):
    (tmp_path / "file").touch()
    for path, words in [
        (tmp_path, "is a directory"),
        (tmp_path / "file", "exists already"),
        (tmp_path / "no" / "out.h5", "no such folder"),
    ]:
        with pytest.raises(OutputError, match=words):
            OutputFile(path).check()
    OutputFile(tmp_path / "file", overwrite=True).check()
    with pytest.raises(OutputError, match="its disk has"):
        OutputFile(tmp_path / "new").check_space(1 << 60)


@pytest.mark.parametrize("size", [100, 4047, 4048, 4049, 4064, 4080, 5000, 3_000_001])
def test_a_map_of_any_length_is_put_into_the_file(tmp_path: Path, size: int):
    text = ("é" * size)[: size // 2].ljust(size - 2, "a")
    write(tmp_path / "a.h5", "b", text)
    assert find_damage(tmp_path / "a.h5") is None
    with h5py.File(tmp_path / "a.h5") as file:
        assert json.loads(file["sentence_to_index"][0]) == {"b": "0", text: "1"}
        assert file["1"].shape == (3, 1, 4)


@pytest.mark.parametrize("length", [0, 8, 1 << 40, (1 << 64) - 16, (1 << 64) - 1])
def test_strings_that_the_library_would_read_for_ever_are_refused(tmp_path: Path, length: int):
    path = tmp_path / "out.h5"
    write(path, "a")
    content = path.read_bytes()
    collection = content.index(b"GCOL")
    at, size = collection + 16, int.from_bytes(content[collection + 8 : collection + 16], "little")
    while at + 16 <= collection + size:
        index, used = (
            int.from_bytes(content[at : at + 2], "little"),
            int.from_bytes(content[at + 8 : at + 16], "little"),
        )
        if index == 0:
            break
        at += 16 + -(-used // 8) * 8
    path.write_bytes(content[: at + 8] + length.to_bytes(8, "little") + content[at + 16 :])
    with pytest.raises(FeaturesError, match="have no end"):
        open_features(path)

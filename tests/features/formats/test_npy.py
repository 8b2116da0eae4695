"""NumPy's files, as NumPy loads them: .npy of pooled features, .npz with an array per sentence."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from elmo_cli import open_features
from elmo_cli.errors import FeaturesError, OutputError
from elmo_cli.features.spec import FeatureSpec
from tests.cli.test_main import assert_one_line_error
from tests.conftest import read_features
from tests.features.test_formats import arrays_for, corpus, write

Elmo = Callable[..., Result]
TEXT = "b a b\nc a b .\nd\n"


@pytest.fixture
def source(corpus: Callable[..., Path]) -> Path:
    return corpus(TEXT)


@pytest.mark.parametrize(
    ("layers", "shape"), [("top", (3, 12)), ("all", (3, 3, 12)), ("1", (3, 1, 12))]
)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_pooled_features_are_one_array(
    elmo: Elmo,
    model: Path,
    source: Path,
    tmp_path: Path,
    layers: str,
    shape: tuple[int, ...],
    dtype: str,
):
    options = ["--model", model, "--layers", layers, "--dtype", dtype, "--pool", "mean"]
    for name in ("out.npy", "out.h5"):
        assert elmo("embed", source, tmp_path / name, *options).exit_code == 0
    assert elmo("convert", tmp_path / "out.h5", tmp_path / "converted.npy").exit_code == 0
    found = np.load(tmp_path / "out.npy")
    assert (found.shape, found.dtype, found.flags.c_contiguous) == (shape, np.dtype(dtype), True)
    np.testing.assert_array_equal(
        found, np.stack(list(read_features(tmp_path / "out.h5").values()))
    )
    assert (tmp_path / "converted.npy").read_bytes() == (tmp_path / "out.npy").read_bytes()
    with open_features(tmp_path / "out.npy") as features:
        assert (features.layout, features.keys(), features.metadata) == ("npy", ["0", "1", "2"], {})
        np.testing.assert_array_equal(features[-1], found[2])
    assert elmo("convert", tmp_path / "out.npy", tmp_path / "back.parquet").exit_code == 0
    with open_features(tmp_path / "back.parquet") as features:
        np.testing.assert_array_equal(np.stack(list(features)), found)
    assert "layout        npy" in elmo("inspect", tmp_path / "out.npy").stdout
    assert elmo("verify", tmp_path / "out.npy").exit_code == 0


def test_npy_of_tokens_is_refused_with_a_remedy(
    elmo: Elmo, model: Path, source: Path, tmp_path: Path
):
    assert_one_line_error(
        elmo("embed", source, tmp_path / "a.npy", "--model", model),
        "--pool mean",
        "--layout arrays",
        code=2,
    )
    assert elmo("embed", source, tmp_path / "a.h5", "--model", model).exit_code == 0
    assert_one_line_error(
        elmo("convert", tmp_path / "a.h5", tmp_path / "a.npy"),
        "one vector per sentence",
        "--layout arrays",
    )
    assert {path.name for path in tmp_path.iterdir()} == {"corpus.txt", "a.h5"}


def test_arrays_of_other_programs_are_read(elmo: Elmo, tmp_path: Path):
    matrix = np.asfortranarray(np.random.default_rng(0).standard_normal((5, 3)))
    np.save(tmp_path / "a.npy", matrix)
    with open_features(tmp_path / "a.npy") as features:
        np.testing.assert_array_equal(np.stack(list(features)), matrix)
        assert features.description.names == ("vectors",)
    # float64 becomes float32
    assert elmo("convert", tmp_path / "a.npy", tmp_path / "a.jsonl").exit_code == 0
    with open_features(tmp_path / "a.jsonl") as features:
        np.testing.assert_array_equal(np.stack(list(features)), matrix.astype(np.float32))
    tokens = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
    np.savez(tmp_path / "a.npz", first=tokens, second=tokens[:, :2])
    with open_features(tmp_path / "a.npz") as features:
        assert (features.layout, features.keys(), list(features.token_counts())) == (
            "arrays",
            ["first", "second"],
            [4, 2],
        )
        assert features.description.names == ("layer_0", "layer_1", "layer_2")
        np.testing.assert_array_equal(features.read(1, layers=[2]), tokens[2:, :2])


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(3, np.float32),
        np.zeros((2, 2), np.int64),
        np.zeros((1, 1, 1, 1), np.float32),
        np.array([{}]),
        np.zeros((2, 0)),
    ],
)
def test_an_npy_of_something_else_is_refused(tmp_path: Path, array: np.ndarray):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(FeaturesError, match=r"a\.npy: (is not a \.npy of features|contains)"):
        open_features(tmp_path / "a.npy")
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content[:-1])
    with pytest.raises(FeaturesError):
        open_features(tmp_path / "a.npy")


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_an_array_a_sentence_is_loaded_by_its_number(
    elmo: Elmo, model: Path, source: Path, tmp_path: Path, compression: str
):
    options = ["--model", model, "--compression", compression]
    assert (
        elmo("embed", source, tmp_path / "out.npz", "--layout", "arrays", *options).exit_code == 0
    )
    assert elmo("embed", source, tmp_path / "out.h5", *options).exit_code == 0
    expected = read_features(tmp_path / "out.h5")
    with np.load(tmp_path / "out.npz") as found:
        assert found.files == ["0", "1", "2"]
        for key in found.files:
            np.testing.assert_array_equal(found[key], expected[key], strict=True)
    with open_features(tmp_path / "out.npz") as features:
        assert features.layout == "arrays"
        assert [features.tokens(i) for i in range(3)] == [
            line.split() for line in TEXT.splitlines()
        ]
        assert features.metadata["layers"] == "all"
    assert elmo("verify", tmp_path / "out.npz", "--corpus", source, "--model", model).exit_code == 0
    assert elmo("convert", tmp_path / "out.npz", tmp_path / "back.h5").exit_code == 0
    assert {
        name: array.tobytes() for name, array in read_features(tmp_path / "back.h5").items()
    } == {name: array.tobytes() for name, array in expected.items()}


def test_sentences_are_named_by_their_ids_and_keep_the_order_of_the_input(tmp_path: Path):
    description = FeatureSpec(("layer_0",), 3)
    sentences = [
        s._replace(id=name)
        for s, name in zip(corpus("a b", "c", "d"), ["z/2", "a\0b", "metadata"], strict=True)
    ]
    arrays = arrays_for(sentences, description)
    path = write(tmp_path / "a.npz", "arrays", sentences, arrays, description)
    with np.load(path) as found:
        assert found.files == ["z/2", "a\\0b", "metadata"]
        np.testing.assert_array_equal(found["z/2"], arrays[0])
    with open_features(path) as features:
        assert features.keys() == ["z/2", "a\0b", "metadata"]
        assert [features.sentence(i) for i in range(3)] == sentences


def test_two_sentences_of_one_name_are_refused_or_the_first_is_kept(tmp_path: Path):
    description, sentences = (
        FeatureSpec(("top",), 2),
        [s._replace(id="same") for s in corpus("a", "a")],
    )
    arrays = arrays_for(sentences, description)
    with pytest.raises(OutputError, match="two sentences have the name 'same'; pass --keys number"):
        write(tmp_path / "a.npz", "arrays", sentences, arrays, description)
    with open_features(
        write(tmp_path / "a.npz", "arrays", sentences, arrays, description, keys="sentence")
    ) as features:
        assert (features.keys(), len(features)) == (["a"], 1)


def test_a_long_sentence_and_a_long_command_fit(tmp_path: Path):
    tokens = [f"residue{i}" for i in range(9000)]
    sentences = [s._replace(tokens=tokens) for s in corpus("a")]
    description = FeatureSpec(
        ("top",), 2, metadata={"command": "elmo embed " + "x.txt " * 20_000, "model": "m"}
    )
    arrays = arrays_for(sentences, description)
    with open_features(
        write(tmp_path / "a.npz", "arrays", sentences, arrays, description)
    ) as features:
        np.testing.assert_array_equal(features[0], arrays[0])
        assert features.metadata["model"] == "m"
        assert features.metadata["command"].startswith("elmo embed x.txt")
        assert list(features.token_counts()) == [9000]
        assert len(features.sentence(0).tokens) == 9000


def test_members_that_are_missing_or_renamed_are_found(tmp_path: Path):
    import zipfile

    description, sentences = FeatureSpec(("top",), 2), corpus("a", "b c")
    path = write(
        tmp_path / "a.npz", "arrays", sentences, arrays_for(sentences, description), description
    )
    for change in ("missing", "renamed"):
        copy = tmp_path / f"{change}.npz"
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w") as new:
            for info in old.infolist()[: 1 if change == "missing" else 2]:
                comment, info.filename = (
                    info.comment,
                    info.filename if change == "missing" else f"x{info.filename}",
                )
                new.writestr(info, old.read(info.orig_filename))
                info.comment = comment
            new.comment = old.comment
        with pytest.raises(FeaturesError, match="does not match its checksum"):
            open_features(copy)
    shutil.copyfile(path, tmp_path / "b.npz")
    with zipfile.ZipFile(tmp_path / "b.npz", "a") as archive:
        archive.comment = b""
    with pytest.raises(FeaturesError, match="its comment is missing"):
        open_features(tmp_path / "b.npz")

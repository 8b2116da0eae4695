"""Untrusted files: those of AllenNLP are read; a damaged or malicious file is one clear error."""

import json
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result

from elmo_cli.errors import FeaturesError
from elmo_cli.features.formats import FORMATS, open_writer, output_target
from elmo_cli.features.reader import open_features
from elmo_cli.features.spec import FeatureSpec, WriteOptions
from elmo_cli.io import sandbox, sizes
from tests.conftest import shared
from tests.features.test_formats import PATHS, POOLED, arrays_for, corpus, write


def read_all(path: Path) -> list[np.ndarray]:
    with open_features(path) as features:
        for i in range(len(features)):
            features.sentence(i)
        features.keys()
        sum(features.token_counts())
        return list(features)


def test_allennlps_own_files_are_read_in_the_order_of_their_lines(tmp_path: Path):
    path = tmp_path / "old.hdf5"
    with h5py.File(path, "w") as file:
        for i in range(12):
            file[str(i)] = np.full((3, 2, 4), i, dtype=np.float32)
        file["sentence_to_index"] = np.array(
            [json.dumps({f"a w{i}": str(i) for i in range(1, 12)})], dtype=h5py.string_dtype()
        )
    with open_features(path) as features:
        assert features.keys() == [str(i) for i in range(12)]  # and not 0, 1, 10, 11, 2
        assert [float(array[0, 0, 0]) for array in features] == list(range(12))
        assert (features.metadata, features.layout) == ({}, "allennlp")
        assert features.tokens(11) == ["a", "w11"]
        with pytest.raises(FeaturesError, match="does not contain the tokens of sentence 0"):
            features.tokens(0)


def test_the_reference_files_of_allennlp_are_read():
    for path in sorted(shared("reference").rglob("*.hdf5")):
        with h5py.File(path) as file:
            names = [name for name in file if name.isdecimal()]
        if names:
            with open_features(path) as features:
                assert len(features) == len(names)
                assert features[0].ndim in (2, 3)


def test_data_sets_named_by_ids_are_read(tmp_path: Path):
    with h5py.File(tmp_path / "seqvec.h5", "w") as file:
        file["P12345"], file["A0A1"] = (
            np.zeros((3, 5, 8), np.float32),
            np.ones((3, 2, 8), np.float32),
        )
    with open_features(tmp_path / "seqvec.h5") as features:
        assert features.keys() == ["A0A1", "P12345"]
        assert features.sentence(1).id == "P12345"


def external_link(file: h5py.File) -> None:
    file["0"] = h5py.ExternalLink("other.h5", "0")


def soft_link(file: h5py.File) -> None:
    file["0"] = h5py.SoftLink("/nowhere")


def external_storage(file: h5py.File) -> None:
    file.create_dataset("0", (3, 2, 4), dtype="f4", external=[("/etc/passwd", 0, 96)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3, 2, 4), "f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "0", (3, 2, 4))
    file.create_virtual_dataset("0", layout)


def terabytes(file: h5py.File) -> None:
    file.create_dataset("0", (3, 10**9, 1024), dtype="f4", chunks=(1, 256, 1024))


def a_bomb(file: h5py.File) -> None:
    data = file.create_dataset(
        "0", (3, 10**6, 1024), dtype="f4", chunks=(1, 256, 1024), compression="gzip"
    )
    data[0, :256] = 0


def a_giant_chunk(file: h5py.File) -> None:
    data = file.create_dataset(
        "0",
        (3, 2, 4),
        "f4",
        maxshape=(None, 2, 4),
        chunks=(3 << 20, 2, 4),
        compression="gzip",
        compression_opts=1,
    )
    data[0] = 0


def not_numbers(file: h5py.File) -> None:
    file["0"] = np.array(["a"], dtype=h5py.string_dtype())


def another_shape(file: h5py.File) -> None:
    file["0"], file["1"] = np.zeros((3, 2, 4), np.float32), np.zeros((2, 2, 4), np.float32)


def map_no_json(file: h5py.File) -> None:
    file["0"] = np.zeros((3, 2, 4), np.float32)
    file["sentence_to_index"] = np.array(["{"], dtype=h5py.string_dtype())


def map_of_other_sentences(file: h5py.File) -> None:
    file["0"] = np.zeros((3, 2, 4), np.float32)
    file["sentence_to_index"] = np.array(['{"one two three": "0"}'], dtype=h5py.string_dtype())


def a_group_and_a_data_set(file: h5py.File) -> None:
    file["0"] = np.zeros((3, 2, 4), np.float32)
    file.create_group("1")


def layout_of_another(file: h5py.File) -> None:
    file["0"] = np.zeros((3, 2, 4), np.float32)
    file.attrs["layout"] = "packed"


@pytest.mark.parametrize(
    "make",
    [
        *(
            external_link,
            soft_link,
            external_storage,
            virtual,
            terabytes,
            a_bomb,
            a_giant_chunk,
            not_numbers,
            another_shape,
        ),
        *(map_no_json, map_of_other_sentences, a_group_and_a_data_set, layout_of_another),
    ],
)
def test_a_hostile_hdf5_file_is_one_clear_error(tmp_path: Path, make):
    path = tmp_path / "bad.h5"
    with h5py.File(path, "w") as file:
        make(file)
    with pytest.raises(FeaturesError, match=r"bad\.h5") as caught:
        read_all(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change", ["offsets beyond", "offsets falling", "keys too few", "no tokens", "huge"]
)
def test_a_packed_file_whose_parts_disagree_is_refused(tmp_path: Path, change: str):
    description, sentences = FeatureSpec(("top",), 4), corpus("a b", "c")
    path = write(
        tmp_path / "bad.h5", "packed", sentences, arrays_for(sentences, description), description
    )
    with h5py.File(path, "r+") as file:
        if change == "offsets beyond":
            file["offsets"][2] = 9
        elif change == "offsets falling":
            file["offsets"][1] = 5
        elif change == "keys too few":
            file["keys"].resize((1,))
        elif change == "no tokens":
            del file["tokens"]
        else:
            file["layers"].resize(10**12, axis=0)
    with pytest.raises(FeaturesError, match=r"bad\.h5"):
        read_all(path)


def test_a_zip_that_declares_more_than_it_holds_is_refused(tmp_path: Path):
    description, sentences = FeatureSpec(("top",), 4), corpus("a b", "c")
    path = write(
        tmp_path / "bad.npz", "npz", sentences, arrays_for(sentences, description), description
    )
    members = {
        info.filename: zipfile.ZipFile(path).read(info) for info in zipfile.ZipFile(path).infolist()
    }

    def rewrite(**changed: bytes) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in {**members, **changed}.items():
                if content:
                    archive.writestr(name, content)

    for name, content in [
        ("layers.npy", members["layers.npy"].replace(b"(3, 4)", b"(9, 4)")),
        ("layers.npy", members["layers.npy"].replace(b"'<f4'", b"'|O' ")),
        ("layers.npy", b""),
        ("offsets.npy", b"no array"),
        ("tokens.json", b"[["),
        ("tokens.json", b"[1, 2]"),
        ("keys.json", b"[]"),
        ("metadata.json", b"[]"),
    ]:
        rewrite(**{name: content})
        with pytest.raises(FeaturesError, match=r"bad\.npz"):
            read_all(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b'{"key": "0", "number": 0, "tokens": ["a"], "top": [[1, 2]]}\nno\n',
            "bad.jsonl:2: is not JSON",
        ),
        (b'{"key": "0", "number": 0, "tokens": ["a"]}\n', "bad.jsonl:1: contains no layers"),
        (
            b'{"key": "0", "number": 0, "tokens": ["a"], "top": [["x"]]}\n',
            "not matrices of numbers",
        ),
        (
            b'{"key": 0, "number": 0, "tokens": ["a"], "top": [[1, 2]]}\n',
            "needs a key, a number and tokens",
        ),
        (
            b'{"key": "0", "number": 0, "tokens": ["a"], "top": [[1, 2]]}\n' * 2 + b"[]\n",
            "bad.jsonl:3: is not an object",
        ),
        (
            (
                b'{"key": "0", "number": 0, "tokens": ["a"], "layer_0": [[1, 2]], "layer_1": [[1, '
                b"2], [3, 4]]}\n"
            ),
            "have different shapes",
        ),
        (b'{"a": ' + b"[" * 100_000, "is not JSON"),
        (
            (
                b'{"key": "0", "number": 0, "tokens": ["a"], "top": [[1, 2]]}\n{"key": "1", '
                b'"number": 1, "tokens": ["a"], "top": [[1]]}'
            ),
            ":2: ",
        ),
    ],
)
def test_bad_json_lines_are_named(tmp_path: Path, content: bytes, words: str):
    (tmp_path / "bad.jsonl").write_bytes(content)
    with pytest.raises(FeaturesError, match=words):
        read_all(tmp_path / "bad.jsonl")


def test_tables_that_hold_no_features_are_refused(tmp_path: Path):
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(8, np.float32)), 4)
    good = {"key": ["a", "b"], "number": [0, 1], "tokens": [["x"], ["y"]], "layer_0": vectors}
    for changed, words in [
        ({"layer_0": None}, "column 'layer_0' is missing, the columns are key, number, tokens"),
        ({"tokens": None}, "column 'tokens' is missing"),
        ({"layer_0": pa.array([[1.0], [2.0]])}, "not vectors of float32 or float16"),
        (
            {"layer_0": pa.array([[1.0] * 4, None], vectors.type)},
            "has nulls|Expected all lists to be of size",
        ),
        ({"key": pa.array(["a", None])}, "has no key, number or tokens"),
    ]:
        columns = {
            name: column for name, column in {**good, **changed}.items() if column is not None
        }
        pq.write_table(pa.table(columns), tmp_path / "bad.parquet")
        with pytest.raises(FeaturesError, match=words):
            read_all(tmp_path / "bad.parquet")


def test_what_is_no_file_of_features_is_said(tmp_path: Path):
    (tmp_path / "empty.h5").touch()
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "folder").mkdir()
    for name, words in [
        ("none.h5", "no such file"),
        ("empty.h5", "is none of hdf5"),
        ("a.txt", "is none of hdf5"),
        ("folder", r"contains no \*\.parquet"),
    ]:
        with pytest.raises(FeaturesError, match=words):
            open_features(tmp_path / name)


def test_shards_of_two_runs_do_not_go_together(tmp_path: Path):
    for i, dim in enumerate((4, 5)):
        description, sentences = FeatureSpec(("top",), dim), corpus("a b")
        place = output_target(tmp_path / f"{i}.parquet", "parquet")
        with open_writer("parquet", place, description, WriteOptions()) as store:
            store.write(sentences, arrays_for(sentences, description))
    with pytest.raises(FeaturesError, match=r"1\.parquet: has other columns than 0\.parquet"):
        open_features(tmp_path)


@pytest.mark.parametrize("layout", sorted(FORMATS))
def test_damaged_bytes_are_never_a_crash(tmp_path: Path, layout: str):
    """Damage is a FeaturesError or goes unnoticed in the values; nothing else is raised.

    (The HDF5 library itself may end the process over changed bytes, so its files are only cut short
    here; tests/fuzz.py runs it in processes of its own.)
    """
    form = FORMATS[layout]
    names = ("layer_0", "layer_1") if form.layer_axis else ("layer_0",)
    description = FeatureSpec(names, 4, pooled=layout in POOLED, metadata={"model": "m"})
    sentences = corpus("a b", "", "c", "d e f")
    path = write(
        tmp_path / PATHS[layout], layout, sentences, arrays_for(sentences, description), description
    )
    whole, random = path.read_bytes(), np.random.default_rng(5)
    noticed = 0
    for _ in range(150):
        damaged = bytearray(whole)
        if path.suffix == ".h5" or random.random() < 0.3:
            damaged = damaged[: random.integers(len(whole))]
        for place in (
            ()
            if path.suffix == ".h5"
            else random.integers(0, max(1, len(damaged)), size=random.integers(1, 9))
        ):
            damaged[place : place + 1] = bytes([random.integers(256)])
        path.write_bytes(damaged)
        try:
            read_all(path)
        except FeaturesError:
            noticed += 1
    assert noticed > 30


def repeated(n: int, value: str) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int8)), pa.array([value]))


def tables(
    n_rows: int = 2, n_tokens: int = 3, word: str = "a", key: str = "k", dim: int = 2
) -> dict[str, object]:
    ends = pa.array(np.arange(n_rows + 1, dtype=np.int32) * n_tokens)
    vectors = pa.FixedSizeListArray.from_arrays(
        pa.array(np.zeros(n_rows * n_tokens * dim, np.float32)), dim
    )
    return {
        "key": repeated(n_rows, key),
        "number": pa.array(np.arange(n_rows)),
        "tokens": pa.ListArray.from_arrays(ends, repeated(n_rows * n_tokens, word)),
        "layer_0": pa.ListArray.from_arrays(ends, vectors),
    }


def write_table(path: Path, data: pa.Table) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(data, path, compression="zstd")
    else:
        new = pa.ipc.new_file if path.suffix == ".arrow" else pa.ipc.new_stream
        with new(path, data.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_table(data)
    return path


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.arrows"])
@pytest.mark.parametrize(
    ("large", "words"),
    [
        (
            {"n_rows": 30, "n_tokens": 30, "word": "x" * (1 << 20)},
            "column 'tokens' declares 900 MiB",
        ),
        ({"n_rows": 900, "key": "x" * (1 << 20)}, "column 'key' declares 900 MiB"),
        ({"n_tokens": 1 << 17, "dim": 100}, "declares [0-9]{3} MiB"),
    ],
    ids=["tokens", "keys", "vectors"],
)
def test_small_tables_that_stand_for_large_ones_are_refused(
    tmp_path: Path, name: str, large: dict, words: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("elmo_cli.io.sizes.FREE_BYTES", 1 << 26)
    path = write_table(tmp_path / name, pa.table(tables(**large)))
    with pytest.raises(
        FeaturesError,
        match=(
            rf"a\.[a-z]+: .*{words}, and stores [0-9,]+ bytes; write it again in smaller row "
            r"groups"
        ),
    ):
        read_all(path)


@pytest.mark.sandboxed
@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux enforces a limit of a process's memory"
)
@pytest.mark.parametrize("command", ["inspect", "convert"])
@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.arrows"])
def test_a_table_that_takes_too_much_memory_is_one_line(
    elmo: Callable[..., Result],
    tmp_path: Path,
    command: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(sandbox, "FREE_BYTES", 256 << 20)
    path = write_table(tmp_path / name, pa.table(tables(n_tokens=1 << 17, dim=400)))
    assert path.stat().st_size < 1 << 20
    result = elmo(command, path, *([tmp_path / "out.h5"] if command == "convert" else []))
    assert result.exit_code == 1
    assert re.fullmatch(rf"Error: .*{name}: .*takes more .*memory.*\n", result.stderr)
    assert not (tmp_path / "out.h5").exists()


def test_texts_in_dictionaries_are_read(tmp_path: Path):
    for name in ("a.parquet", "a.arrow", "a.arrows"):
        with open_features(
            write_table(tmp_path / name, pa.table(tables(word="über", key="x")))
        ) as features:
            assert (features.keys(), features.tokens(1), features[1].shape) == (
                ["x", "x"],
                ["über"] * 3,
                (1, 3, 2),
            )


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"key": pa.array([b"a", b"b"])},
            "column 'key' contains binary; this is not a file of features",
        ),
        ({"number": pa.array(["a", "b"])}, "column 'number' contains string"),
        ({"tokens": pa.array([1, 2])}, "column 'tokens' contains int64"),
        (
            {"layer_0": pa.array([[], []], pa.list_(pa.float32(), 0))},
            "not vectors",
        ),
    ],
)
def test_columns_of_another_type_are_named(tmp_path: Path, changed: dict, words: str):
    path = write_table(tmp_path / "a.arrow", pa.table({**tables(), **changed}))
    with pytest.raises(FeaturesError, match=words):
        read_all(path)


def test_a_layer_that_is_named_a_thousand_times_is_refused(tmp_path: Path):
    data = pa.table(tables()).replace_schema_metadata({"names": ",".join(["layer_0"] * 1000)})
    with pytest.raises(FeaturesError, match="has two columns of the same name"):
        read_all(write_table(tmp_path / "a.parquet", data))


def test_small_hdf5_files_that_stand_for_large_arrays_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sizes, "FREE_BYTES", 1 << 16)
    packed = {"compression": "gzip", "chunks": (1, 1 << 14, 4)}
    with h5py.File(tmp_path / "zeros.h5", "w") as file:
        file.create_dataset("0", data=np.zeros((1, 1 << 16, 4), np.float32), **packed)
    with pytest.raises(
        FeaturesError, match=r"declares 1,048,576 bytes, far more than the [0-9,]+ that are stored"
    ):
        read_all(tmp_path / "zeros.h5")
    for counts, refused in [
        ([1 << 16], True),
        ([2, (1 << 16) - 2], True),
        ([16] * (1 << 12), False),
    ]:
        path = tmp_path / f"{len(counts)}.h5"
        with h5py.File(path, "w") as file:
            file.attrs["layout"] = "packed"
            file.create_dataset("layers", data=np.zeros((1, 1 << 16, 4), np.float32), **packed)
            file["offsets"] = np.concatenate([[0], np.cumsum(counts)])
            file["numbers"] = np.arange(len(counts))
            for name, size in [("tokens", 1 << 16), ("keys", len(counts))]:
                file.create_dataset(
                    name,
                    (size,),
                    h5py.string_dtype(),
                    chunks=(min(size, 1 << 12),),
                    compression="gzip",
                )[:] = "a"
        if not refused:
            assert len(read_all(path)) == len(counts)
            continue
        monkeypatch.setattr(sizes, "MAX_RATIO", 1)
        with pytest.raises(FeaturesError, match=r"has a sentence of 65,53[46] tokens in a file of"):
            read_all(path)
        monkeypatch.setattr(sizes, "MAX_RATIO", 64)

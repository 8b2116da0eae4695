"""`elmo verify`: complete files pass, and each kind of damage is reported."""

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from elmo_cli.cli.main import main
from elmo_cli.features.checksums import Checksums, find_wrong, read_checksums
from elmo_cli.features.reader import open_features
from tests.conftest import SAMPLE, make_model, sentences_of

Elmo = Callable[..., Result]
FORMATS = {
    "allennlp": [],
    "packed": ["--layout", "packed"],
    "parquet": ["--output-format", "parquet"],
    "arrow": ["--output-format", "arrow"],
    "jsonl": ["--output-format", "jsonl"],
    "npz": ["--output-format", "npz"],
    "arrays": ["--output-format", "npz", "--layout", "arrays"],
    "pooled": ["--pool", "mean", "--layers", "average"],
    "float16": ["--dtype", "float16", "--layout", "packed"],
}
NAMED = {
    "allennlp": [],
    "by id": ["--keys", "id"],
    "by sentence": ["--keys", "sentence"],
    "packed": ["--layout", "packed"],
    "packed by number": ["--layout", "packed", "--keys", "number"],
    "packed by sentence": ["--layout", "packed", "--keys", "sentence"],
    "e2e-coref": ["--layout", "e2e-coref"],
    "parquet": ["--output-format", "parquet", "--compression", "none"],
    "rows": ["--output-format", "parquet", "--compression", "none", "--rows", "token"],
    "arrow": ["--output-format", "arrow"],
    "npz": ["--output-format", "npz"],
    "arrays": ["--output-format", "npz", "--layout", "arrays"],
    "jsonl": ["--output-format", "jsonl"],
    "forgotten": ["--forget-sentences"],
}
SUFFIXES = {"parquet": "", "arrow": ".arrow", "jsonl": ".jsonl", "npz": ".npz", "arrays": ".npz"}


@pytest.fixture(scope="session")
def outputs(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sample corpus in every layout."""
    folder = tmp_path_factory.mktemp("outputs")
    paths = {name: folder / f"{name}{SUFFIXES.get(name, '.h5')}" for name in FORMATS}
    for name, options in FORMATS.items():
        arguments = [
            "embed",
            SAMPLE,
            paths[name],
            "--model",
            model,
            "--window-tokens",
            600,
            *options,
        ]
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
    return paths


@pytest.mark.parametrize("name", FORMATS)
def test_a_whole_file_passes(elmo: Elmo, model: Path, outputs: dict[str, Path], name: str):
    result = elmo("verify", outputs[name], "--corpus", SAMPLE, "--model", model)
    assert result.exit_code == 0, result.output
    assert f"{len(sentences_of(SAMPLE))} sentences" in result.stdout
    assert f"tokens     those of {SAMPLE}" in result.stdout
    if name == "jsonl":
        assert "lacks elmo_version" in result.stdout
        assert "not recomputed: the metadata do not record how they were made" in result.stdout
    else:
        assert "20 sentences recomputed, largest difference" in result.stdout


def test_what_was_checked_is_told(elmo: Elmo, outputs: dict[str, Path]):
    lines = elmo("verify", outputs["allennlp"]).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["structure", "numbers", "checksums", "metadata"]
    assert "10 of CRC-32" in lines[2]


def damage(path: Path, found: bytes, put: bytes) -> None:
    content = path.read_bytes()
    assert content.count(found) >= 1
    path.write_bytes(content.replace(found, put, 1))


@pytest.fixture(scope="session")
def named(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a few sentences with ids in every layout, under its name in NAMED."""
    folder = tmp_path_factory.mktemp("named")
    corpus = folder / "corpus.tsv"
    corpus.write_text(
        "id\ttext\ndoc.9/1\tthe Qxyz sat\ndoc.9/2\ta cat\ndoc.9/3\tit rained all day\n"
    )
    for name, options in NAMED.items():
        arguments = [
            "embed",
            corpus,
            folder / name,
            "--column",
            "text",
            "--id-column",
            "id",
            "--model",
            model,
            *options,
        ]
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
    return folder


def written(folder: Path, name: str, told: str) -> bytes:
    """How a layout writes something of these sentences."""
    if told == "a value":
        with open_features(folder / name) as features:
            value = features[2].reshape(-1)[:1]
        return b"%.9g" % value[0] if name == "jsonl" else value.tobytes()
    return {"a token": b"Qxyz", "an id": b"doc.9", "the options": b"n_characters"}[told]


UNTOLD = {
    "a token": ("e2e-coref", "forgotten"),
    "an id": ("packed by number", "packed by sentence"),
    "the options": ("jsonl",),
}


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("told", ["a token", "a value", "an id", "the options"])
def test_one_changed_bit_of_what_is_told_is_found(
    elmo: Elmo, named: Path, tmp_path: Path, name: str, told: str
):
    copy, found = tmp_path / "out", written(named, name, told)
    if (named / name).is_dir():
        shutil.copytree(named / name, copy)
    else:
        shutil.copyfile(named / name, copy)
    [file] = copy.iterdir() if copy.is_dir() else [copy]
    if name in UNTOLD.get(told, ()):
        assert found not in file.read_bytes()
        return
    assert elmo("verify", copy).exit_code == 0
    damage(file, found, found[:-1] + bytes([found[-1] ^ 1]))
    assert elmo("verify", copy).exit_code == 1


@pytest.mark.parametrize("name", ["allennlp", "packed", "npz", "float16"])
def test_a_changed_value_is_found_by_its_checksum(
    elmo: Elmo, outputs: dict[str, Path], tmp_path: Path, name: str
):
    copy = tmp_path / outputs[name].name
    copy.write_bytes(outputs[name].read_bytes())
    with h5py.File(outputs["float16" if name == "float16" else "packed"]) as file:
        values = file["layers"][0, 100].tobytes()
    damage(copy, values[:8], values[:7] + bytes([values[7] ^ 1]))
    result = elmo("verify", copy)
    assert result.exit_code == 1
    assert "1 problem" in result.stderr


def test_a_changed_byte_of_a_parquet_shard_is_found(
    elmo: Elmo, outputs: dict[str, Path], tmp_path: Path
):
    copy = tmp_path / "shards"
    copy.mkdir()
    for shard in outputs["parquet"].iterdir():
        content = bytearray(shard.read_bytes())
        vectors = pq.read_metadata(shard).row_group(0).column(4)
        content[vectors.data_page_offset + vectors.total_compressed_size // 2] ^= 1
        (copy / shard.name).write_bytes(content)
    result = elmo("verify", copy)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")


def test_a_missing_part_is_told(elmo: Elmo, model: Path, tmp_path: Path):
    shards = tmp_path / "shards"
    options = ["--output-format", "parquet", "--shard-tokens", 1500, "--window-tokens", 600]
    assert elmo("embed", SAMPLE, shards, "--model", model, *options).exit_code == 0
    assert elmo("verify", shards).exit_code == 0
    (shards / "part-00001.parquet").unlink()
    result = elmo("verify", shards)
    assert result.exit_code == 1
    assert "part-00001.parquet is missing" in result.stderr


@pytest.mark.parametrize("name", ["offsets", "numbers"])
def test_a_changed_number_of_a_packed_file_is_found(
    elmo: Elmo, outputs: dict[str, Path], tmp_path: Path, name: str
):
    copy = tmp_path / "copy.h5"
    copy.write_bytes(outputs["packed"].read_bytes())
    with h5py.File(copy) as file:
        values = file[name][1:5].tobytes()
    damage(copy, values, values[:8] + bytes([values[8] ^ 1]) + values[9:])
    result = elmo("verify", copy)
    assert result.exit_code == 1
    assert "is damaged" in result.stderr


def test_a_data_set_that_was_renamed_is_told(elmo: Elmo, model: Path, corpus: Callable[..., Path]):
    path = corpus("a\nb\nc\nd\n")
    out = path.with_suffix(".h5")
    assert elmo("embed", path, out, "--model", model).exit_code == 0
    with h5py.File(out, "r+") as file:
        file.move("3", "7")
    result = elmo("verify", out, "--corpus", path)
    assert result.exit_code == 1
    assert f"sentence 7: has another number than {path}, sentence 4" in result.stderr


TELL_NO_ID = ("packed by number", "packed by sentence", "jsonl")


@pytest.mark.parametrize("name", NAMED)
def test_numbers_and_ids_are_compared_where_they_are_told(
    elmo: Elmo, model: Path, tmp_path: Path, name: str
):
    corpus, other, out = tmp_path / "a.tsv", tmp_path / "b.tsv", tmp_path / "out"
    corpus.write_text("id\ttext\nd/1\ta b\n\nd/2\tc\nd/3\ta b\nd\0/4\te\n")
    other.write_text(corpus.read_text().replace("d/2", "d/9"))
    reading = (
        "--input-format",
        "tsv",
        "--column",
        "text",
        "--id-column",
        "id",
        "--blank-lines",
        "skip",
    )
    made = elmo("embed", corpus, out, "--model", model, *reading, *NAMED[name])
    assert made.exit_code == 0, made.output
    for options in (reading, [option for option in reading if option not in ("--id-column", "id")]):
        result = elmo("verify", out, "--corpus", corpus, *options)
        assert result.exit_code == 0, result.output
    # It leaves out the equal sentence, and what is converted does not tell so
    if name != "by sentence":
        assert elmo("convert", out, tmp_path / "converted.npz").exit_code == 0
        assert (
            elmo("verify", tmp_path / "converted.npz", "--corpus", corpus, *reading).exit_code == 0
        )
    result = elmo("verify", out, "--corpus", other, *reading)
    assert result.exit_code == (name not in TELL_NO_ID), result.output
    assert ("has another id than" in result.stderr) == (name not in TELL_NO_ID)


def test_other_tokens_are_told(elmo: Elmo, outputs: dict[str, Path], corpus: Callable[..., Path]):
    lines = SAMPLE.read_text(encoding="utf-8").splitlines()
    for name in ("packed", "allennlp"):
        other = elmo(
            "verify",
            outputs[name],
            "--corpus",
            corpus("\n".join([lines[0], "another", *lines[2:]])),
        )
        assert "sentence 1: has other tokens than" in other.stderr
        shorter = elmo("verify", outputs[name], "--corpus", corpus("\n".join(lines[:-1])))
        assert "ends before sentence 354" in shorter.stderr
        longer = elmo(
            "verify", outputs[name], "--corpus", corpus("\n".join([*lines, "more", "and more"]))
        )
        assert "has 2 more sentences than the file" in longer.stderr


def test_another_model_is_told(elmo: Elmo, outputs: dict[str, Path], tmp_path: Path):
    other = make_model(tmp_path / "other", seed=2)
    result = elmo("verify", outputs["allennlp"], "--model", other)
    assert "made with a different model than other" in result.stderr
    with h5py.File(outputs["allennlp"]) as file, h5py.File(tmp_path / "plain.h5", "w") as plain:
        file.copy("0", plain)
        file.copy("sentence_to_index", plain)
        plain.attrs["layers"] = "all"
        del plain["sentence_to_index"]
        plain["sentence_to_index"] = [
            '{"' + SAMPLE.read_text(encoding="utf-8").splitlines()[0] + '": "0"}'
        ]
    differs = elmo("verify", tmp_path / "plain.h5", "--model", other)
    assert "differs by" in differs.stderr
    assert "lacks elmo_version" in differs.stdout


def test_blank_lines_that_were_skipped_and_equal_sentences_are_no_problem(
    elmo: Elmo, model: Path, corpus: Callable[..., Path]
):
    path = corpus("a b\n\nc\na b\nd\n")
    out = path.with_suffix(".h5")
    for options in (
        ["--blank-lines", "skip"],
        ["--blank-lines", "keep"],
        ["--blank-lines", "skip", "--use-sentence-keys"],
    ):
        assert elmo("embed", path, out, "--model", model, "--overwrite", *options).exit_code == 0
        result = elmo("verify", out, "--corpus", path, *options[:2])
        assert result.exit_code == 0, result.output


def test_a_value_that_is_no_number_is_told(elmo: Elmo, tmp_path: Path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["0"] = np.array([[[1, np.nan]]], dtype=np.float32)
    result = elmo("verify", tmp_path / "a.h5")
    assert result.exit_code == 1
    assert "sentence 0: contains NaN or infinite values" in result.stderr


def test_what_cannot_be_computed_again_is_said(
    elmo: Elmo, model: Path, corpus: Callable[..., Path]
):
    path = corpus("a b\n")
    out = path.with_suffix(".h5")
    for options, words in [
        (["--stateful"], "a state carried"),
        (["--mix", "0,0,0"], "its layers are mixed"),
    ]:
        assert elmo("embed", path, out, "--model", model, "--overwrite", *options).exit_code == 0
        result = elmo("verify", out, "--model", model)
        assert result.exit_code == 0, result.output
        assert words in result.stdout


@pytest.mark.parametrize(
    "options",
    [
        ["--layers", "top"],
        ["--layers", "0,2"],
        ["--pool", "mean"],
        ["--mix", "0,0,0"],
        ["--dtype", "float16"],
        ["--stateful"],
    ],
)
def test_json_lines_tell_nothing_that_vectors_could_be_computed_by(
    elmo: Elmo, model: Path, corpus: Callable[..., Path], options: list[str]
):
    path = corpus("a b\nc d e\n")
    out, converted = path.with_suffix(".jsonl"), path.with_suffix(".npz")
    assert elmo("embed", path, out, "--model", model, *options).exit_code == 0
    assert elmo("convert", out, converted).exit_code == 0
    for file in (out, converted):
        result = elmo("verify", file, "--corpus", path, "--model", model)
        assert result.exit_code == 0, result.output
        assert (
            "vectors    not recomputed: the metadata do not record how they were made"
            in result.stdout
        )


def test_what_was_float16_before_it_was_converted_is_no_problem(
    elmo: Elmo, model: Path, tmp_path: Path
):
    narrow, wide = tmp_path / "narrow.h5", tmp_path / "wide.h5"
    assert elmo("embed", SAMPLE, narrow, "--model", model, "--dtype", "float16").exit_code == 0
    assert elmo("convert", narrow, wide, "--dtype", "float32").exit_code == 0
    result = elmo("verify", wide, "--model", model)
    assert result.exit_code == 0, result.output
    assert "20 sentences recomputed" in result.stdout


@given(st.lists(st.integers(1, 5), max_size=30), st.data())
def test_checksums_find_a_change_and_nothing_else(windows: list[int], data: st.DataObject):
    arrays = [np.full((2, 1), i, dtype=np.float32) for i in range(sum(windows))]
    sums = Checksums()
    remaining = iter(arrays)
    for size in windows:
        for _ in range(size):
            sums.add((), next(remaining))
        sums.end_window()
    with h5py.File("memory.h5", "w", driver="core", backing_store=False) as file:
        sums.write(file)
        stored = read_checksums(file)
    assert stored is not None
    assert list(find_wrong([((), array) for array in arrays], stored)) == []
    if arrays:
        at = data.draw(st.integers(0, len(arrays) - 1))
        changed = data.draw(st.sampled_from([(("a",), arrays[at]), ((), arrays[at] + 1)]))
        [(first, end)] = find_wrong(
            [changed if i == at else ((), array) for i, array in enumerate(arrays)], stored
        )
        assert first <= at < end
        assert list(find_wrong([((), array) for array in arrays[:-1]], stored))


def test_checksums_of_a_long_file_stay_few():
    sums = Checksums()
    array = np.zeros((1, 1), dtype=np.float32)
    for _ in range(20_000):
        sums.add((), array)
        sums.end_window()
    assert 3000 < len(sums._sums) < 5000


def test_a_file_in_bfloat16_is_computed_again_in_bfloat16(elmo: Elmo, model: Path, tmp_path: Path):
    out = tmp_path / "out.h5"
    assert elmo("embed", SAMPLE, out, "--model", model, "--precision", "bf16", "-q").exit_code == 0
    result = elmo("verify", out, "--model", model)
    assert result.exit_code == 0, result.output
    assert "recomputed" in result.output


@pytest.fixture(scope="session")
def shards(model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The sample corpus in several shards, by two models."""
    folder = tmp_path_factory.mktemp("shards")
    for name, of in [("ours", model), ("other", make_model(folder / "model", seed=2))]:
        options = ["--output-format", "parquet", "--shard-tokens", "1200", "--window-tokens", "600"]
        result = CliRunner().invoke(
            main, ["embed", str(SAMPLE), str(folder / name), "--model", str(of), *options]
        )
        assert result.exit_code == 0, result.output
    return [folder / "ours", folder / "other"]


def swap(one: Path, other: Path) -> None:
    aside = one.rename(one.with_name("aside"))
    other.rename(one)
    aside.rename(other)


SPOILT = {
    "doubled": (
        lambda q, _: shutil.copy(q / "part-00001.parquet", q / "part-00001b.parquet"),
        "is shard 1, and comes after shard 1",
    ),
    "in place of another": (
        lambda q, _: shutil.copy(q / "part-00000.parquet", q / "part-00001.parquet"),
        "is shard 0, and comes after",
    ),
    "swapped": (
        lambda q, _: swap(q / "part-00000.parquet", q / "part-00001.parquet"),
        "is shard 0, and comes after shard 1",
    ),
    "of another model": (
        lambda q, other: shutil.copy(other / "part-00001.parquet", q),
        "is of another run than the shards before it",
    ),
}


@pytest.mark.parametrize("how", SPOILT)
def test_shards_that_do_not_make_up_one_run_are_told(
    elmo: Elmo, shards: list[Path], tmp_path: Path, how: str
):
    folder = shutil.copytree(shards[0], tmp_path / "copy")
    assert elmo("verify", folder).exit_code == 0
    spoil, words = SPOILT[how]
    spoil(folder, shards[1])
    for command in (["verify", folder], ["convert", folder, tmp_path / "out.npz"]):
        result = elmo(*command)
        assert result.exit_code == 1
        assert words in result.stderr


def test_columns_of_a_parquet_file_that_are_swapped_are_told(
    elmo: Elmo, named: Path, tmp_path: Path
):
    whole = named / "rows" / "part-00000.parquet"
    table, told = pq.read_table(whole), pq.read_metadata(whole).metadata
    one, other = table["layer_1"], table["layer_2"]
    for name, (first, second), words in [
        ("same", (one, other), None),
        ("swapped", (other, one), "do not match their checksum"),
    ]:
        columns = {
            **{name: table[name] for name in table.column_names},
            "layer_1": first,
            "layer_2": second,
        }
        with pq.ParquetWriter(tmp_path / f"{name}.parquet", table.schema) as writer:
            writer.write_table(pa.table(columns, schema=table.schema))
            writer.add_key_value_metadata(
                {key: told[key] for key in (b"part", b"parts", b"rows", b"row_group_crc32")}
            )
        result = elmo("verify", tmp_path / f"{name}.parquet")
        assert (result.exit_code, words is None or words in result.stderr) == (
            words is not None,
            True,
        ), result.output


def test_a_stream_whose_writer_was_stopped_is_no_file_of_features(
    elmo: Elmo, model: Path, tmp_path: Path
):
    stream = tmp_path / "out.arrows"
    written = elmo(
        "embed",
        SAMPLE,
        "-",
        "--output-format",
        "arrow",
        "--model",
        model,
        "--window-tokens",
        600,
        "--quiet",
    )
    stream.write_bytes(written.stdout_bytes)
    assert elmo("verify", stream).exit_code == 0
    stream.write_bytes(written.stdout_bytes[:-8])
    assert "is truncated: its writer was stopped; make it again" in elmo("verify", stream).stderr


@pytest.mark.parametrize("order", [[0, 1, 1, 2], [0, 2, 1], [2, 1, 0]])
def test_lines_that_are_doubled_or_moved_are_told(
    elmo: Elmo, named: Path, tmp_path: Path, order: list[int]
):
    lines = (named / "jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "out.jsonl").write_bytes(b"".join(lines[i] for i in order))
    result = elmo("verify", tmp_path / "out.jsonl")
    assert (result.exit_code, "stands after sentence" in result.stderr) == (1, True)

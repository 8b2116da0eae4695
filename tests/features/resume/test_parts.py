"""The parts of a work folder, complete and damaged."""

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elmo_cli.features.resume.parts import count_sentences, read_part, write_part
from elmo_cli.types import Sentence
from tests.helpers.runs import Check, Run, parts_of, work_of


def flip(path: Path, at: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize("at", [0.0, 0.001, 0.1, 0.5, 0.9999])
def test_a_damaged_part_and_those_after_it_are_computed_again(
    assert_whole: Check, run: Run, stopped: Run, tmp_path: Path, at: float
):
    stopped(after=5)
    flip(parts_of(tmp_path)[2], at)
    assert run("--resume").exit_code == 0
    assert_whole()


@pytest.mark.parametrize("size", [0, 7, 39, 41, 2000])
def test_a_torn_part_is_computed_again(
    assert_whole: Check, run: Run, stopped: Run, tmp_path: Path, size: int
):
    stopped()
    os.truncate(parts_of(tmp_path)[-1], size)
    assert run("--resume").exit_code == 0
    assert_whole()


def test_a_missing_part_ends_what_can_be_resumed(
    assert_whole: Check, run: Run, stopped: Run, tmp_path: Path
):
    stopped(after=5)
    parts_of(tmp_path)[1].unlink()
    assert run("--resume").exit_code == 0
    assert_whole()


@pytest.mark.parametrize("plan", [b"", b"{", b"[]", b'{"format": "0"}', b"\xff", b"[" * 200_000])
def test_a_damaged_plan_is_one_error(run: Run, stopped: Run, tmp_path: Path, plan: bytes):
    stopped()
    (work_of(tmp_path) / "plan.json").write_bytes(plan)
    result = run("--resume")
    assert result.exit_code == 1
    assert "is of another version of elmo, or damaged; pass --fresh to start over" in result.stderr
    assert run("--fresh").exit_code == 0


@pytest.mark.parametrize("options", [[], ["--resume"]])
def test_work_of_an_earlier_format_is_refused_in_one_line(
    run: Run, stopped: Run, tmp_path: Path, options: list[str]
):
    stopped()
    plan = json.loads((work_of(tmp_path) / "plan.json").read_bytes())
    old = {**plan, "format": "2"}
    del old["crc32"]
    old["crc32"] = zlib.crc32(json.dumps(old, sort_keys=True).encode())
    (work_of(tmp_path) / "plan.json").write_text(json.dumps(old))
    for part in parts_of(tmp_path):
        part.write_bytes(b"ELMOPART" + bytes(100))
    result = run(*options)
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: {work_of(tmp_path)}: is of another version of elmo, or damaged; pass --fresh "
        "to start over\n"
    )
    assert run("--fresh").exit_code == 0


def test_one_changed_bit_of_a_plan_is_found(run: Run, stopped: Run, tmp_path: Path):
    stopped()
    plan = work_of(tmp_path) / "plan.json"
    plan.write_bytes(plan.read_bytes().replace(b'"model": "tiny"', b'"model": "uiny"'))
    assert b"uiny" in plan.read_bytes()
    assert "or damaged; pass --fresh to start over" in run("--resume").stderr


def test_what_else_is_called_a_part_is_removed(
    assert_whole: Check, run: Run, stopped: Run, tmp_path: Path
):
    stopped()
    (work_of(tmp_path) / "00000005 (copy).part").touch()
    (work_of(tmp_path) / "99999999.part").mkdir()
    (work_of(tmp_path) / "00000007.part").symlink_to(tmp_path)
    assert run("--resume").exit_code == 0
    assert_whole()


WORDS = st.text(max_size=5)
SENTENCES = st.lists(
    st.tuples(
        st.lists(WORDS, max_size=4), st.none() | WORDS, st.none() | WORDS, st.integers() | st.none()
    ),
    max_size=4,
)


@given(SENTENCES, st.sampled_from(["<f4", "<f2"]), st.sampled_from([(), (3,)]))
def test_a_part_is_read_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, content: list, dtype: str, layers: tuple[int, ...]
):
    path = tmp_path_factory.getbasetemp() / "a.part"
    window = [
        Sentence(
            str(i),
            tokens,
            " ".join(tokens) if text is None else text,
            name,
            (value and value % 1000, {"a": [text]}),
        )
        for i, (tokens, text, name, value) in enumerate(content)
    ]
    arrays = [
        np.random.default_rng(i).random((*layers, len(s.tokens), 2)).astype(dtype)
        for i, s in enumerate(window)
    ]
    write_part(path, window, arrays)
    read = read_part(path)
    assert read is not None
    assert read[0] == window
    assert [(a.dtype, a.shape, a.tobytes()) for a in read[1]] == [
        (a.dtype, a.shape, a.tobytes()) for a in arrays
    ]
    assert count_sentences(path) == len(window)


def test_a_part_is_an_arrow_file_of_other_libraries_too(tmp_path: Path):
    window = [
        Sentence("0", ["a", "b"], "a b", None, ("x",)),
        Sentence("1", ["c"], "c", "id", ("y",), "doc"),
    ]
    layers = np.arange(18, dtype=np.float32).reshape(2, 3, 3)
    write_part(tmp_path / "part", window, [layers[:, :2], layers[:, 2:]])
    table = pa.ipc.open_file(tmp_path / "part").read_all()
    assert table.drop_columns(["shape", "values"]).to_pylist() == [
        {
            "key": "0",
            "tokens": ["a", "b"],
            "text": None,
            "id": None,
            "document": None,
            "kept_0": "x",
        },
        {"key": "1", "tokens": ["c"], "text": None, "id": "id", "document": "doc", "kept_0": "y"},
    ]
    assert table["shape"].to_pylist() == [[2, 2, 3], [2, 1, 3]]
    assert table["values"].to_pylist() == [
        layers[:, :2].ravel().tolist(),
        layers[:, 2:].ravel().tolist(),
    ]


@given(st.integers(0, 7), st.floats(0, 1, exclude_max=True))
def test_a_part_with_one_changed_bit_is_read_unchanged_or_not_at_all(
    tmp_path_factory: pytest.TempPathFactory, bit: int, at: float
):
    path = tmp_path_factory.getbasetemp() / "b.part"
    window = [Sentence("0", ["a"], "a"), Sentence("1", ["b", "c"], "x", "id")]
    arrays = [np.ones((2, len(sentence.tokens), 2), np.float32) for sentence in window]
    write_part(path, window, arrays)
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 1 << bit
    path.write_bytes(content)
    read = read_part(path)
    assert read is None or (read[0] == window and all(map(np.array_equal, read[1], arrays)))

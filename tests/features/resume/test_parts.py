"""The parts of a work folder, whole and damaged."""

import os
from pathlib import Path

import numpy as np
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

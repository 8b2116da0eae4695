"""The table of formats: no other module compares the name of a format."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import elmo_cli
from elmo_cli.features.formats.registry import FILE_FORMATS, FORMATS, load

PACKAGE = Path(elmo_cli.__file__).parent
# Corpora and models have formats of their own, some with the same names
OTHERS = ("readers", "models")
# Predictions have formats of their own as well
PREDICTIONS = {"downstream/predict_job.py", "downstream/prediction_writers.py"}
NAMES = {*FORMATS, *FILE_FORMATS}


def names_in(node: ast.AST) -> Iterator[str]:
    """The format names among the constants of an expression, not looking into function calls."""
    if isinstance(node, ast.Constant):
        if node.value in NAMES:
            yield node.value
    elif isinstance(node, ast.Tuple | ast.List | ast.Set):
        for element in node.elts:
            yield from names_in(element)


def decisions(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The lines that compare a format's name, look one up, or match it."""
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.Dict):
            parts = list(node.keys)
        elif isinstance(node, ast.Subscript):
            parts = [node.slice]
        elif isinstance(node, ast.MatchValue):
            parts = [node.value]
        for part in parts:
            yield from ((node.lineno, name) for name in (names_in(part) if part else ()))


def test_no_other_module_compares_the_name_of_a_format():
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE)
        if (
            place.parts[0] not in OTHERS
            and place.as_posix() not in PREDICTIONS
            and place.parts[:2] != ("features", "formats")
        ):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found += [f"{place}:{line}: {name!r}" for line, name in decisions(tree)]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "a == 'jsonl'",
        "a in ('x', 'npz')",
        "{'arrow': 1}",
        "TABLE['parquet']",
        "match a:\n case 'npy': pass",
    ],
)
def test_the_scan_finds_decisions(code: str):
    assert len(list(decisions(ast.parse(code)))) == 1


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_the_functions_of_the_table_exist(form: object):
    places = [form.writer, form.reader, form.detect, form.find_problems, form.check_sentence]
    assert all(callable(load(place)) for place in places if place)
    assert form.starts or form.detect


def test_the_table_imports_no_library_of_a_format():
    heavy = "{'h5py', 'pyarrow', 'torch'}"
    program = (
        f"import sys, elmo_cli.features.formats.options; sys.exit(str({heavy} & set(sys.modules) "
        "or ''))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.stderr == b"\n"

"""README.md and the guides: commands and options exist, examples print what is shown."""

import re
import shlex
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from elmo_cli.cli import main as cli
from elmo_cli.cli.commands.guide import guide_names, read_guide
from elmo_cli.models.catalogue import load_catalogue
from tests.conftest import SAMPLE

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDES = {name: read_guide(name) for name in guide_names()}
# Options of other programs
OTHER_PROGRAMS = {
    "--nproc-per-node",
    "--kills",
    "--fill",
    "--layer",
    "--protein",
    "--vector",
    "--text",
}
PAGES = {"README": README, **GUIDES}


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


every_page = pytest.mark.parametrize("page", PAGES)


@every_page
def test_every_option_that_a_page_names_exists(page: str):
    text = PAGES[page]
    commands = [import_module(f"elmo_cli.cli.commands.{name}").command for name in cli.COMMANDS]
    commands += [
        below for command in commands for below in getattr(command, "commands", {}).values()
    ]
    known = {
        name
        for command in commands
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    known |= {"--help", "--version", *OTHER_PROGRAMS}
    named = {
        name
        for span in re.findall(r"`([^`\n]+)`", text)
        for name in re.findall(r"(?<!-)--[a-z][a-z0-9-]+", span)
    } | {
        word for block in blocks("sh", text) for word in re.findall(r" (--[a-z][a-z0-9-]+)", block)
    }
    assert named - known == set()


@every_page
def test_every_command_that_a_page_names_exists(page: str):
    lines = [line for block in blocks("sh", PAGES[page]) for line in block.splitlines()]
    named = {shlex.split(line, comments=True)[1] for line in lines if line.startswith("elmo ")}
    assert named <= set(cli.COMMANDS)
    of_models = [
        words[2:3]
        for line in lines
        if (words := shlex.split(line, comments=True))[:2] == ["elmo", "models"]
    ]
    below = {name for words in of_models for name in words}
    assert below <= set(import_module("elmo_cli.cli.commands.models").command.commands)


def test_the_guide_of_models_names_every_command_of_elmo_models():
    commands = import_module("elmo_cli.cli.commands.models").command.commands
    assert all(f"elmo models {name}" in GUIDES["models"] for name in commands)


def test_the_models_that_the_guide_names_are_in_the_catalogue():
    text = GUIDES["models"]
    section = text[text.index("| name | language, domain") : text.index("```sh\nelmo models ")]
    assert set(re.findall(r"`([\w.-]+)`", section)) <= set(load_catalogue())


def test_every_guide_that_a_page_names_exists():
    named = {name for text in PAGES.values() for name in re.findall(r"`elmo guide ([a-z]+)`", text)}
    assert named <= set(GUIDES)
    assert all(f"guides/{name}.md" in README for name in GUIDES)  # README links each


def test_the_readme_is_read_in_ten_minutes():
    assert len(README.splitlines()) <= 220
    assert len(README.split()) <= 1700


def test_the_worked_example_prints_what_the_readme_says(
    elmo: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    assert elmo("embed", SAMPLE, "out.h5").exit_code == 0
    exec(compile(blocks("python")[0], "README.md", "exec"), {})  # noqa: S102  # our own text
    lines = [re.findall(r"-?[\d.]+", line) for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == ["0", "1", "2"]
    assert lines[0][1:] == ["1.000", "1.000"]  # layer 0 has no context
    assert all(
        float(money_loan) > float(money_river) + 0.1 for _, money_loan, money_river in lines[1:]
    )
    shown = re.findall(
        r"^    (\d) money-loan ([\d.]+) money-river ([\d.]+)$", README, flags=re.MULTILINE
    )
    np.testing.assert_allclose(
        np.array(lines, dtype=float), np.array(shown, dtype=float), atol=0.002
    )


def python_block(word: str, text: str = README) -> str:
    return next(block for block in blocks("python", text) if word in block)


def test_the_way_to_read_features_back_runs(
    elmo: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert elmo("embed", SAMPLE, "out.h5").exit_code == 0
    names: dict[str, object] = {}
    exec(compile(python_block("open_features"), "README.md", "exec"), names)  # noqa: S102  # our own text
    assert np.shape(names["array"])[0] == 3
    assert len(names["dataset"]) == len(SAMPLE.read_text(encoding="utf-8").splitlines())


def test_five_lines_of_scikit_learn_train_on_pooled_features(
    elmo: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    pytest.importorskip("pandas")
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    for name in ("train", "test"):
        questions = [
            f"place\tWhere is {name} {i} ?\nperson\tWho was {name} {i} ?\n" for i in range(10)
        ]
        Path(f"{name}.tsv").write_text("label\ttext\n" + "".join(questions))
    guide = GUIDES["sklearn"]
    commands = [
        line
        for block in blocks("sh", guide)
        for line in block.splitlines()
        if "--keep label" in line
    ]
    assert [elmo(*shlex.split(line)[1:]).exit_code for line in commands] == [0, 0]
    block = python_block("read_parquet", guide)
    exec(compile(block, "sklearn.md", "exec"), {})  # noqa: S102  # our own text
    assert float(capsys.readouterr().out) == 1.0


def test_the_sample_corpus_begins_as_the_readme_shows():
    shown = re.findall(r"^    (The bank .*|He sat .*|By Monday .*)$", README, flags=re.MULTILINE)
    assert shown == SAMPLE.read_text(encoding="utf-8").splitlines()[:3]


def test_the_blocks_that_ci_runs_are_there():
    assert re.findall(r"<!-- ci: (\w+) -->\n```sh\n", README) == ["use", "test"]

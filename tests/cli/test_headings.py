"""Groups of options: headings in the help text, and dataclasses that reject contradictions."""

import re
import subprocess
import sys
from importlib import import_module
from inspect import unwrap
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from elmo_cli.cli import main
from elmo_cli.cli.headings import HEADINGS
from elmo_cli.cli.option_groups import (
    ComputeOptions,
    InputOptions,
    ModelOptions,
    OutputOptions,
    ResumeOptions,
    SelectionOptions,
)
from elmo_cli.cli.parameter_types import Device, Integer, Number
from elmo_cli.errors import UsageError

COMMANDS = {name: import_module(f"elmo_cli.cli.commands.{name}").command for name in main.COMMANDS}
COMMANDS |= {f"models {name}": command for name, command in COMMANDS["models"].commands.items()}
GROUPED = sorted(COMMANDS.keys() - {"guide"})  # which has no option
HIDDEN = {"--file-friendly-logging", "--vocab-path", "--include-package", "--test-labels", "--keep"}
DISPLAYED_LENGTH = 80


def help_lines(name: str) -> list[str]:
    result = CliRunner().invoke(
        main.main, [*name.split(), "--help"], terminal_width=DISPLAYED_LENGTH
    )
    assert result.exit_code == 0
    return str(result.output).splitlines()


@pytest.mark.parametrize("name", GROUPED)
def test_help_lists_options_below_headings(name: str):
    lines = help_lines(name)
    found = [
        line.removesuffix(":")
        for line in lines
        if line and not line.startswith((" ", "Usage", "Commands"))
    ]
    assert found == [heading for heading in HEADINGS if heading in found]
    assert "Options" not in found
    shown = {
        name
        for option in COMMANDS[name].params
        if isinstance(option, click.Option)
        for name in option.opts
    } - HIDDEN
    assert all(any(name in line for line in lines) for name in shown)


@pytest.mark.parametrize("name", ["embed", "train", "fit"])
def test_only_the_options_of_no_group_have_no_heading(name: str):
    of_no_group = {
        option.name
        for option in COMMANDS[name].params
        if isinstance(option, click.Option) and not hasattr(option, "heading")
    }
    assert of_no_group == {"quiet"}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_no_range_and_ends_with_an_example(name: str):
    lines = help_lines(name)
    assert not [line for line in lines if "x<=" in line or "x>=" in line or "RANGE" in line]
    last = max(i for i, line in enumerate(lines) if line.lstrip().startswith("Example"))
    assert f"elmo {name}" in "".join(lines[last:])
    assert not [line for line in lines[last + 1 :] if line and not line.startswith("  ")]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_terminal_of_80_columns(name: str):
    assert not [line for line in help_lines(name) if len(line) > DISPLAYED_LENGTH]


def test_the_help_of_the_program_imports_no_command():
    program = (
        "import sys; from elmo_cli.cli.main import main; sys.argv = ['elmo', '--help']\ntry: "
        "main()\nfinally: print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "Compute the vectors of every token of a corpus." in done.stdout
    assert not {"numpy", "pyarrow", "rich", "elmo_cli.cli.commands.embed"} & set(
        done.stdout.split()
    )


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (ModelOptions, {"stateful": True, "prime": "a.txt"}),
        (InputOptions, {"inputs": ()}),
        (SelectionOptions, {"layers": "0", "top_layers": True}),
        (SelectionOptions, {"mix": "1,1", "all_layers": True}),
        (SelectionOptions, {"mix_layer_norm": True}),
        (OutputOptions, {"output": Path("a.h5"), "keys": "id", "use_sentence_keys": True}),
        (ComputeOptions, {"device": "cpu", "cuda_device": 0}),
        (ResumeOptions, {"resume": True, "fresh": True}),
    ],
)
def test_a_group_refuses_a_contradiction(kind: type, given: dict[str, object]):
    with pytest.raises(UsageError, match=r"pass (one of them|both)\.$|^Missing argument"):
        kind(**given)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_few_parameters(name: str):
    assert unwrap(COMMANDS[name].callback).__code__.co_argcount <= 8


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        (Integer(1, 9), "0", "0 is not in the range 1 to 9"),
        (Integer(1, 9), "1.5", "'1.5' is not an integer"),
        (Number(above=0), "0", "0 is not greater than 0"),
        (Number(least=0, below=1), "1", "1 is not less than 1"),
        (Number(least=0, most=1), "-1", "-1 is not at least 0"),
        (Number(least=0, most=1), "2", "2 is not at most 1"),
        (Number(above=0), "inf", "'inf' is not a finite number"),
        (Number(above=0), "x", "'x' is not a finite number"),
        (Device(), "all", "'all' is none of auto, cpu, cuda"),
        (Device(), "cpu,cpu", "'cpu,cpu' is none of auto, cpu, cuda"),
        (Device(several=True), "all,cpu", "'all,cpu' is none of auto, all, cpu, cuda"),
    ],
)
def test_a_value_outside_its_type_is_refused(kind: click.ParamType, value: str, problem: str):
    with pytest.raises(click.BadParameter, match=re.escape(problem)):
        kind.convert(value, None, None)


@pytest.mark.parametrize(
    ("several", "value"),
    [(False, "auto"), (False, "cuda:1"), (True, "all"), (True, "cuda:0,cuda:1")],
)
def test_a_device_is_kept_as_given(several: bool, value: str):
    assert Device(several=several).convert(value, None, None) == value

"""Options in groups: headings, and dataclasses that refuse contradictions."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from elmo_cli.cli.commands import convert, embed
from elmo_cli.cli.headings import HEADINGS
from elmo_cli.cli.option_groups import (
    ComputeOptions,
    InputOptions,
    ModelOptions,
    OutputOptions,
    ResumeOptions,
    SelectionOptions,
)
from elmo_cli.errors import UsageError


@pytest.mark.parametrize(
    ("command", "groups"),
    [(embed.command, HEADINGS), (convert.command, ("Output", "Resume", "Other options"))],
)
def test_help_lists_options_below_headings(command: click.Command, groups: tuple[str, ...]):
    lines = CliRunner().invoke(command, ["--help"]).output.splitlines()
    found = [
        line.removesuffix(":") for line in lines if line and not line.startswith((" ", "Usage"))
    ]
    assert found == list(groups)
    assert not any("1099511627776" in line for line in lines)  # a range without a meaning to a user
    hidden = {"--file-friendly-logging", "--vocab-path", "--include-package"}
    shown = {
        name
        for option in command.params
        if isinstance(option, click.Option)
        for name in option.opts
    } - hidden
    assert all(any(name in line for line in lines) for name in shown)


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


def test_the_command_has_few_parameters():
    assert embed.command.callback.__wrapped__.__code__.co_argcount <= 8

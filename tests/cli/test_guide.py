from collections.abc import Callable

from click.testing import Result

from elmo_cli.cli.commands.guide import guide_names, read_guide

Elmo = Callable[..., Result]


def test_without_a_name_every_guide_is_listed_with_its_title(elmo: Elmo):
    lines = elmo("guide").stdout.splitlines()
    assert [line.split()[0] for line in lines] == guide_names()
    assert "Input and output formats" in next(line for line in lines if line.startswith("formats"))


def test_into_a_pipe_a_guide_is_its_markdown(elmo: Elmo):
    assert elmo("guide", "state").stdout == read_guide("state")


def test_an_unknown_guide_is_wrong_usage_and_lists_the_guides(elmo: Elmo):
    done = elmo("guide", "nothing")
    assert done.exit_code == 2
    assert "formats" in done.stderr
    assert "Traceback" not in done.stderr

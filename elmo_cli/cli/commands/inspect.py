"""`elmo inspect`: summary of a feature file."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from elmo_cli.cli.headings import HeadedCommand
from elmo_cli.cli.options import features_argument, json_option
from elmo_cli.errors import printable

if TYPE_CHECKING:
    from elmo_cli.features.summary import FeatureSummary

EPILOG = """\b
Examples:
  elmo inspect out.h5
  elmo inspect features/ --json | jq .tokens
"""


@click.command(cls=HeadedCommand, epilog=EPILOG)
@click.argument("path", metavar="FILE", callback=features_argument)
@json_option("Print one JSON object instead of text.")
def command(path: Path, as_json: bool) -> None:
    """Print a summary of FILE, a feature file or a folder of shards of any layout.

    Files of AllenNLP can be read too. The summary has the layout, the numbers of sentences and
    tokens, layers, dimension, data type and metadata; for a sample of at most 500 sentences spread
    over the file, the mean norm of each layer's vectors and the mean cosine between consecutive
    layers; and the first three sentences.
    """
    from elmo_cli.features.summary import inspect
    from elmo_cli.io.sandbox import run_sandboxed

    found = run_sandboxed(inspect, path)
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2))
        return
    for name, value in _lines(found):
        click.echo(printable(f"{name:<14}{value}"))


def _lines(found: "FeatureSummary") -> list[tuple[str, str]]:
    from elmo_cli.cli.console import size

    complete = "yes" if found.complete else "unknown (written by another program)"
    told = [
        (name, value if len(value) <= 100 else f"{value[:100]}...")
        for name, value in found.metadata.items()
    ]
    return [
        ("file", f"{found.path}, {size(found.bytes)}"),
        ("layout", found.layout),
        ("contents", f"{found.axes.replace(' ', ', ')}; {found.dtype}"),
        ("sentences", f"{found.sentences:,}"),
        ("tokens", f"{found.tokens:,}"),
        ("layers", ", ".join(found.layers)),
        ("dim", str(found.dim)),
        ("complete", complete),
        *((name[:13], value) for name, value in told),
        (
            "norms",
            "  ".join(
                f"{name} {norm:.3f}" for name, norm in zip(found.layers, found.norms, strict=True)
            ),
        ),
        *((("cosines", "  ".join(_pairs(found))),) if found.cosines else ()),
        *(
            (("not finite", f"{found.not_finite:,} values of the sample"),)
            if found.not_finite
            else ()
        ),
        *(
            (f"#{row.key}"[:13], f"{row.shape}  {' '.join(row.tokens)}".rstrip())
            for row in found.rows
        ),
    ]


def _pairs(found: "FeatureSummary") -> list[str]:
    return [
        f"{a} to {b} {cosine:.3f}"
        for a, b, cosine in zip(found.layers, found.layers[1:], found.cosines, strict=False)
    ]

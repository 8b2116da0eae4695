"""Output of a probe: table, JSON, mix and plot files."""

import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from elmo_cli.downstream.mix import LearnedMix
from elmo_cli.downstream.probe_plot import draw_report
from elmo_cli.downstream.report import Report, Row
from elmo_cli.downstream.statistics import Interval
from elmo_cli.errors import ElmoError, UsageError
from elmo_cli.io.atomic import writing_errors
from elmo_cli.io.output_file import OutputFile, open_output

PLOTS = (".png", ".svg", ".pdf")


def check_outputs(outputs: Mapping[str, Path | None], *, overwrite: bool) -> None:
    """Check that files can be written, before the training.

    Raises:
        ElmoError: A file cannot be written, or matplotlib is missing.
        UsageError: Two are the same file, or a picture is of an unknown format.
    """
    named = {option: path for option, path in outputs.items() if path}
    if len({path.absolute() for path in named.values()}) < len(named):
        raise UsageError(f"{', '.join(named)}: two of them name the same file; name another.")
    plot = named.get("--plot")
    if plot and plot.suffix.lower() not in PLOTS:
        raise UsageError(
            f"--plot {plot}: is drawn as {', '.join(PLOTS)}; choose one as the suffix."
        )
    if plot and importlib.util.find_spec("matplotlib") is None:
        raise ElmoError(
            f"--plot {plot}: needs matplotlib, which is not installed; pip install "
            "'elmo-cli[analysis]'"
        )
    for path in named.values():
        OutputFile(path, overwrite).check()


def write_outputs(
    told: Mapping[str, Any],
    mixes: Sequence[LearnedMix],
    report: Report,
    output: Path | None,
    mix_output: Path | None,
    plot: Path | None,
    *,
    overwrite: bool,
) -> Iterator[Path]:
    """Write each requested file atomically, and yield its name.

    Raises:
        ElmoError: One cannot be written, or there is no mix.
    """
    if mix_output and not mixes:
        raise ElmoError(
            f"--mix-output {mix_output}: the features have one layer, so no mix was learned; embed "
            "with --layers all"
        )
    if output:
        yield _write(output, (json.dumps(told, indent=2) + "\n").encode(), overwrite=overwrite)
    if mix_output:
        yield _write(
            mix_output,
            (json.dumps(mixes[0].to_json(), indent=2) + "\n").encode(),
            overwrite=overwrite,
        )
    if plot:
        yield _write(plot, draw_report(report, plot.suffix[1:].lower()), overwrite=overwrite)


def _write(path: Path, content: bytes, *, overwrite: bool) -> Path:
    with writing_errors(path), open_output(OutputFile(path, overwrite)) as file:
        file.write(content)
    return path


def table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Return the header and the cells of the table of a report."""
    has = {
        "new": any(row.unseen is not None for row in report.rows),
        "control": any(row.control for row in report.rows),
    }
    header = ["features", report.metric.replace("f1", "F1")]
    header += ["unseen words"] * has["new"] + [f"less {report.best_layer}"]
    header += ["control", "selectivity"] * has["control"]
    return header, [
        _cells(row, has_new=has["new"], has_control=has["control"]) for row in report.rows
    ]


def _cells(row: Row, *, has_new: bool, has_control: bool) -> list[str]:
    cells = [row.name, _with_interval(row.interval)]
    if has_new:
        cells.append("" if row.unseen is None else _score(row.unseen))
    cells.append(_with_interval(row.difference, "+.3f") if row.difference else "")
    if has_control:
        cells += (
            [_score(row.control.score), _score(row.control.selectivity)]
            if row.control
            else ["", ""]
        )
    return cells


def summary(report: Report) -> Iterator[str]:
    """Iterate over the lines below the table."""
    test, unit = report.test, report.unit
    new = (
        f", {test.new_words:,} of them words that the training part does not have"
        if test.new_words is not None
        else ""
    )
    yield (
        f"{report.n_classes} labels; learned from {report.train.rows:,} {unit}s, tested on "
        f"{test.rows:,}{new}"
    )
    yield "in brackets: 95 % intervals, by resampling the sentences of the test part"
    if mix := report.mix:
        first = mix.mixes[0]
        shares = [
            f"layer {layer} {first.shares[i]:.2f}{_spread(mix.spread(i))}"
            for i, layer in enumerate(first.layers)
        ]
        yield f"mix, shares of layers of equal scale: {', '.join(shares)}"
        center = _spread((min(mix.centers), max(mix.centers)))
        seeds = f" (spread over {len(mix.mixes)} seeds in brackets)" if len(mix.mixes) > 1 else ""
        yield f"mix, center of gravity: {first.center_of_gravity:.2f}{center}{seeds}"
    if report.ceiling is not None:
        yield (
            "control task: a classifier that knows the training words by heart has "
            f"{_score(report.ceiling)}"
        )


def _score(value: float) -> str:
    return f"{value:.3f}"


def _with_interval(found: Interval, form: str = ".3f") -> str:
    return f"{found.score:{form}} [{found.low:{form}}, {found.high:{form}}]"


def _spread(limits: tuple[float, float]) -> str:
    return f" [{limits[0]:.2f} to {limits[1]:.2f}]" if limits[0] < limits[1] else ""

"""The picture of a training: learning curve and confusion matrix."""

import importlib.util
import io
from pathlib import Path
from typing import TYPE_CHECKING

from elmo_cli.downstream.figures import BLUE, DPI, ORANGE
from elmo_cli.downstream.fit_card import FitFacts
from elmo_cli.errors import ElmoError, UsageError
from elmo_cli.io.output_file import OutputFile, writing_errors

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLOTS = (".png", ".svg", ".pdf")
MOST_NAMES = 40  # of a confusion matrix, whose cells would otherwise be too small


def check_plot(path: Path | None, *, overwrite: bool) -> None:
    """Check that a picture can be written, before any work is done.

    Raises:
        ElmoError: It cannot, or matplotlib is missing.
        UsageError: Its format is unknown.
    """
    if path is None:
        return
    if path.suffix.lower() not in PLOTS:
        raise UsageError(f"--plot {path}: is drawn as {', '.join(PLOTS)}; choose one as the suffix.")
    if importlib.util.find_spec("matplotlib") is None:
        raise ElmoError(f"--plot {path}: needs matplotlib, which is not installed; pip install 'elmo-cli[analysis]'")
    OutputFile(path, overwrite).check()


def write_plot(path: Path, facts: FitFacts, *, overwrite: bool) -> None:
    """Draw the learning curve and, where there are few labels, the confusion matrix.

    Raises:
        ElmoError: The file cannot be written.
    """
    content = _draw(facts, path.suffix[1:].lower())
    output = OutputFile(path, overwrite)
    with writing_errors(path):
        partial = output.make_partial()
        try:
            partial.write(content)
            output.put_in_place(partial)
        finally:
            partial.discard()


def _draw(facts: FitFacts, format_: str) -> bytes:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    has_matrix = facts.test is not None and 0 < len(facts.test.names) <= MOST_NAMES
    figure = Figure(figsize=(11 if has_matrix else 6, 4.5), layout="constrained")
    axes = figure.subplots(1, 1 + has_matrix, squeeze=False)[0]
    _draw_curve(axes[0], facts)
    if has_matrix:
        _draw_matrix(axes[1], facts)
    file = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "elmo", "svg.fonttype": "none"}):  # the same bytes each time
        metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(format_)
        figure.savefig(file, format=format_, dpi=DPI, metadata=metadata)
    return file.getvalue()


def _draw_curve(axes: "Axes", facts: FitFacts) -> None:
    places = range(1, len(facts.history) + 1)
    axes.plot(places, [step.loss for step in facts.history], color=ORANGE, marker=".")
    axes.set_ylabel("loss", color=ORANGE)
    is_search = any(step.name.startswith("l2") for step in facts.history)
    axes.set_xlabel("penalty" if is_search else "epoch")
    if is_search:
        axes.set_xticks(list(places), [step.name.removeprefix("l2 ") for step in facts.history])
    scores = axes.twinx()
    scores.plot(places, [step.score for step in facts.history], color=BLUE, marker=".")
    scores.set_ylabel("held-out score", color=BLUE)


def _draw_matrix(axes: "Axes", facts: FitFacts) -> None:
    assert facts.test is not None  # noqa: S101  # for mypy
    names, counts = facts.test.names, facts.test.confusion
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")

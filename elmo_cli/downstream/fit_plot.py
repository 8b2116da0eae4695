"""Plot of a training run: learning curve and confusion matrix."""

from pathlib import Path
from typing import TYPE_CHECKING

from elmo_cli.downstream.figures import new_figure, save_figure, text_style
from elmo_cli.downstream.fit_card import FitFacts
from elmo_cli.downstream.palette import OKABE_ITO
from elmo_cli.downstream.probe_output import check_outputs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE = OKABE_ITO[0], OKABE_ITO[5]
MOST_NAMES = 40  # of a confusion matrix, whose cells would otherwise be too small
MOST_NUMBERED = 12  # labels, up to which the cells contain their counts


def check_plot(path: Path | None, *, overwrite: bool) -> None:
    """Check that a plot can be written, before the training.

    Raises:
        ElmoError: The plot cannot be written, or matplotlib is missing.
        UsageError: Its format is unknown.
    """
    check_outputs({"--plot": path}, overwrite=overwrite)


def write_plot(path: Path, facts: FitFacts) -> list[str]:
    """Draw the learning curve and, where there are few labels, the confusion matrix.

    Returns notes for the user.

    Raises:
        ElmoError: The file cannot be written.
    """
    has_matrix = facts.test is not None and 0 < len(facts.test.names) <= MOST_NAMES
    figure = new_figure(11 if has_matrix else 6, 4.5, constrained=True)
    axes = figure.subplots(1, 1 + has_matrix, squeeze=False)[0]
    _draw_curve(axes[0], facts)
    if has_matrix:
        _draw_matrix(axes[1], facts)
    return save_figure(figure, path)


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
    if (best := facts.best) is not None:
        place = 1 + facts.history.index(best)
        scores.plot([place], [best.score], color=BLUE, marker="o", markersize=9, fillstyle="none")
    axes.set_title("training; the circle marks the chosen weights", fontsize=9)


def _draw_matrix(axes: "Axes", facts: FitFacts) -> None:
    assert facts.test is not None  # noqa: S101  # for mypy
    names, counts = facts.test.names, facts.test.confusion
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.figure.colorbar(image, ax=axes, label="share of the true label", shrink=0.8)
    axes.set_title("predictions on the test part", fontsize=9)
    if len(names) <= MOST_NUMBERED:
        for i, row in enumerate(counts):
            for j, count in enumerate(row):
                color = "white" if shares[i][j] > 0.5 else "black"
                axes.text(j, i, f"{count:,}", ha="center", va="center", fontsize=7, color=color)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7, **text_style())
    axes.set_yticks(range(len(names)), names, fontsize=7, **text_style())
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")

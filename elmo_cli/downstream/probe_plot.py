"""Plots of probe results."""

import io
from typing import TYPE_CHECKING, Any

from elmo_cli.downstream.figures import DPI
from elmo_cli.downstream.report import MixReport, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colour-blind safe palette
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
INK = "#222222"  # of marks in the legend that have several colours
CONTROL: dict[str, Any] = {"marker": "|", "markersize": 12, "markeredgewidth": 2}


def draw_report(report: Report, format_: str) -> bytes:
    """Return a plot of the scores of a probe with intervals, and of the shares of the mix.

    Args:
        report: The result.
        format_: "png", "svg" or "pdf".

    Returns:
        Contents of the file.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    panels = 2 if report.mix else 1
    height = 2.0 + 0.42 * len(report.rows)
    figure = Figure(figsize=(8.5 if report.mix else 6.5, height), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False, width_ratios=[3, 1.4][:panels])[0]
    _draw_scores(axes[0], report)
    if report.mix:
        _draw_shares(axes[1], report.mix)
    _draw_legend(figure, report)
    file = io.BytesIO()
    # A fixed salt and no date: the file has the same bytes each time
    with mpl.rc_context({"svg.hashsalt": "elmo", "svg.fonttype": "none"}):
        metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(format_)
        figure.savefig(file, format=format_, dpi=DPI, metadata=metadata)
    return file.getvalue()


def _draw_scores(axes: "Axes", report: Report) -> None:
    places = range(len(report.rows))
    for place, row in zip(places, report.rows, strict=True):
        color = GREY if row.name.startswith("majority") else ORANGE if row.name == "mix" else BLUE
        low, score, high = row.interval.low, row.interval.score, row.interval.high
        axes.errorbar(
            score,
            place,
            xerr=[[max(score - low, 0)], [max(high - score, 0)]],
            fmt="o",
            color=color,
            capsize=3,
        )
        axes.annotate(
            f"{score:.3f}",
            (score, place),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=color,
        )
        if row.unseen is not None:
            axes.plot(row.unseen, place, "x", color=color, alpha=0.7)
        if row.control:
            axes.plot(row.control.score, place, color=GREEN, **CONTROL)
    axes.set_yticks(list(places), [row.name for row in report.rows])
    axes.invert_yaxis()
    axes.margins(y=0.12)
    axes.set_xlabel(_metric(report))
    axes.grid(visible=True, axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _metric(report: Report) -> str:
    return report.metric.replace("f1", "F1")


def _draw_legend(figure: "Figure", report: Report) -> None:
    """Draw an entry for each mark and each colour, below the panels."""
    from matplotlib.legend_handler import HandlerErrorbar
    from matplotlib.lines import Line2D

    # Without data, for the look of its entry
    score = figure.axes[0].errorbar([], [], xerr=[], fmt="o", color=INK, capsize=3)
    metric = _metric(report)
    entries: dict[str, Any] = {
        f"{metric} on {report.test.rows:,} {report.unit}s with its 95 % interval": score
    }
    if any(row.unseen is not None for row in report.rows):
        entries[f"{metric} on unseen words"] = Line2D([], [], ls="", marker="x", color=INK)
    if any(row.control for row in report.rows):
        entries["accuracy in the control task"] = Line2D([], [], ls="", color=GREEN, **CONTROL)
    colors = {"baselines": GREY, "layers": BLUE} | ({"learned mix": ORANGE} if report.mix else {})
    entries |= {
        name: Line2D([], [], ls="", marker="s", color=color) for name, color in colors.items()
    }
    figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside lower left",
        ncols=2,
        fontsize=8,
        handler_map={type(score): HandlerErrorbar(xerr_size=1.1)},
    )


def _draw_shares(axes: "Axes", mix: MixReport) -> None:
    first = mix.mixes[0]
    places = range(len(first.layers))
    spreads = [mix.spread(place) for place in places]
    errors = [
        [max(first.shares[i] - low, 0) for i, (low, _) in enumerate(spreads)],
        [max(high - first.shares[i], 0) for i, (_, high) in enumerate(spreads)],
    ]
    axes.barh(list(places), first.shares, color=ORANGE, alpha=0.75, xerr=errors, capsize=3)
    axes.set_yticks(list(places), [f"layer {layer}" for layer in first.layers])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    seeds = f"\nline: range over {len(mix.mixes)} seeds" if len(mix.mixes) > 1 else ""
    axes.set_xlabel(f"bar: share of the layer in the mix{seeds}", fontsize=9)
    axes.set_title(f"center of gravity {first.center_of_gravity:.2f}", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)

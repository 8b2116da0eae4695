"""Plot of many occurrences of a word: a map of each layer, coloured by label or island."""

from pathlib import Path
from typing import Any

import numpy as np

from elmo_cli.downstream.figures import clean, new_figure, save_figure, text_style
from elmo_cli.downstream.label_places import place_labels
from elmo_cli.downstream.palette import color_of, shape_of
from elmo_cli.downstream.word_map import Panel, WordMap

PANEL, NARROW = 4.6, 1.5  # inches
HEIGHT = 4.7
MOST_NAMES = 10  # of a panel, those of its largest islands
MARKERS = {"circle": "o", "triangle": "^", "square": "s"}
GREY = "#555555"
LEGEND_COLUMN = 2.6  # inches of an entry of the legend, about


def draw_word(found: WordMap, path: Path) -> list[str]:
    """Draw the maps of a word's occurrences, side by side.

    Args:
        found: The data.
        path: A .png, .svg or .pdf file.

    Returns:
        Notes for the user.
    """
    widths = [NARROW if panel.context_free else PANEL for panel in found.panels]
    columns = max(1, int(max(sum(widths), 6) / LEGEND_COLUMN))
    rows = -(-(len(found.categories) + 1) // columns)
    figure = new_figure(max(sum(widths), 6), HEIGHT + 0.22 * rows, constrained=True)
    grid = figure.add_gridspec(1, len(widths), width_ratios=widths)
    style = text_style()
    axes = [figure.add_subplot(grid[0, column]) for column in range(len(widths))]
    for panel, axis in zip(found.panels, axes, strict=True):
        (_draw_forms if panel.context_free else _draw_map)(axis, panel, found, style)
    figure.suptitle(_title(found), fontsize=11, x=0.01, ha="left", **style)
    _draw_legend(figure, found, columns, style)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the axes stay where they are now
    for panel, axis in zip(found.panels, axes, strict=True):
        _draw_names(axis, panel, style)
    return save_figure(figure, path)


def _title(found: WordMap) -> str:
    shown = len(found.occurrences)
    sample = f"{shown:,} of {found.total:,}" if shown < found.total else f"{shown:,}"
    return f"{clean(found.word, 40)}: {sample} occurrences"


def _bare(axis: Any, title: str) -> None:  # noqa: ANN401  # matplotlib is untyped
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(title.replace("_", " "), fontsize=10)
    for spine in axis.spines.values():
        spine.set_color("#DDDDDD")


def _draw_forms(axis: Any, panel: Panel, found: WordMap, style: dict[str, Any]) -> None:  # noqa: ANN401
    """Layer 0: a dot for each form, however many occurrences it has."""
    _bare(axis, panel.name)
    forms = list(
        dict.fromkeys(one.token for one in sorted(found.occurrences, key=lambda one: one.token))
    )
    places = {one.token: point for one, point in zip(found.occurrences, panel.points, strict=True)}
    for form in forms:
        axis.plot(*places[form], "o", color=GREY, markersize=9)
    if len(forms) > 1:
        for form in forms:
            count = sum(one.token == form for one in found.occurrences)
            label = f"{clean(form, 14)} {count:,}"
            axis.annotate(
                label,
                places[form],
                (0, -14),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                **style,
            )
    n = len(found.occurrences)
    words = (
        f"all {n:,} are\none vector:\nno context yet"
        if len(forms) == 1
        else f"{n:,} occurrences,\n{len(forms)} vectors:\nno context yet"
    )
    axis.text(
        0.5, 0.04, words, transform=axis.transAxes, ha="center", va="bottom", fontsize=8, color=GREY
    )
    lowest = min(point[1] for point in panel.points)
    axis.set(xlim=(-1, 1), ylim=(lowest - 1.6, 1.1))


def _draw_map(axis: Any, panel: Panel, found: WordMap, _style: dict[str, Any]) -> None:  # noqa: ANN401
    _bare(axis, panel.name)
    axis.set_aspect("equal", adjustable="datalim")
    axis.margins(0.06)
    size = float(np.clip(9000 / len(found.occurrences), 4, 26))
    for category in range(-1, len(found.categories)):
        points = panel.points[found.category == category]
        if len(points):
            look = {"c": color_of(category), "marker": MARKERS[shape_of(category)], "s": size}
            axis.scatter(
                *points.T,
                **look,
                linewidths=0.25,
                edgecolors="white" if category >= 0 else "none",
                zorder=2 + (category >= 0),
            )


def _draw_names(axis: Any, panel: Panel, style: dict[str, Any]) -> None:  # noqa: ANN401
    """Names of the islands, where they cover least."""
    from matplotlib.patheffects import withStroke

    numbers = [i for i, name in enumerate(panel.island_names) if not name.startswith("island ")][
        :MOST_NAMES
    ]
    halo = [withStroke(linewidth=2.2, foreground="white")]
    texts = [
        axis.text(
            *panel.points[panel.islands == i].mean(axis=0),
            clean(panel.island_names[i], 40).replace(" ", "\n"),
            fontsize=7.5,
            ha="center",
            va="center",
            zorder=5,
            path_effects=halo,
            linespacing=0.95,
            **style,
        )
        for i in numbers
    ]
    place_labels(axis, texts, panel.points, [panel.points[panel.islands == i] for i in numbers])


def _draw_legend(figure: Any, found: WordMap, columns: int, style: dict[str, Any]) -> None:  # noqa: ANN401
    from matplotlib.lines import Line2D

    present = [c for c in [*range(len(found.categories)), -1] if (found.category == c).any()]
    names = [_category_name(found, category) for category in present]
    dots = [
        Line2D(
            [], [], linestyle="none", marker=MARKERS[shape_of(c)], color=color_of(c), markersize=6
        )
        for c in present
    ]
    legend = figure.legend(
        dots,
        names,
        loc="outside lower left",
        ncols=columns,
        fontsize=8,
        frameon=False,
        title=clean(found.title, 40),
        title_fontsize=8,
        alignment="left",
        handletextpad=0.2,
    )
    for text in legend.get_texts():
        text.set(**style)


def _category_name(found: WordMap, category: int) -> str:
    count = int((found.category == category).sum())
    nothing = "between islands" if found.title == "island" else "no label"
    return f"{clean(found.categories[category], 34) if category >= 0 else nothing} ({count:,})"

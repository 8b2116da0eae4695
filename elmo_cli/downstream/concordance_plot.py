"""Plot of few occurrences of a word: concordance lines and a cosine heat map of each layer."""

from pathlib import Path
from typing import Any

from elmo_cli.downstream.figures import clean, new_figure, save_figure, text_style
from elmo_cli.downstream.palette import NO_CATEGORY, color_of
from elmo_cli.downstream.word_map import WordMap

LINE = 0.21  # inches
HEAT = 2.2
TEXT = 6.6
SIDE = 44  # characters of the context on either side
COLORS = "viridis"  # even in brightness, also to colour-blind readers


def draw_concordance(found: WordMap, path: Path) -> list[str]:
    """Draw the lines of a word's occurrences and the cosines between them in each layer.

    Args:
        found: The data, its occurrences in the order in which they are shown.
        path: A .png, .svg or .pdf file.

    Returns:
        Notes for the user.
    """
    n = len(found.occurrences)
    body = max(HEAT * 0.55, LINE * n)
    side = min(max(body, 1.6), 4.2)
    width, height = TEXT + (side + 0.15) * len(found.panels) + 0.9, body + 0.95
    figure = new_figure(width, height)
    style, top = text_style(), 1 - 0.62 / height
    lines = figure.add_axes((0, 0.33 / height, TEXT / width, body / height))
    _draw_lines(lines, found, style)
    figure.text(0.12 / width, 1 - 0.1 / height, _title(found), va="top", fontsize=11, **style)
    image = None
    for column, panel in enumerate(found.panels):
        place = (
            (TEXT + (side + 0.15) * column) / width,
            top - body / height,
            side / width,
            body / height,
        )
        image = _draw_heat(figure.add_axes(place), panel.cosines, panel.name)
    if image is not None:
        bar = figure.add_axes((1 - 0.62 / width, top - body / height, 0.12 / width, body / height))
        figure.colorbar(image, cax=bar).ax.tick_params(labelsize=7)
        bar.set_title("cosine", fontsize=7)
    _draw_key(figure, found, height, width, style)
    return save_figure(figure, path)


def _title(found: WordMap) -> str:
    shown = len(found.occurrences)
    of = f" of {found.total:,}" if shown < found.total else ""
    return f"{clean(found.word, 40)}: {shown}{of} occurrences, similar ones beside each other"


def _draw_lines(axis: Any, found: WordMap, style: dict[str, Any]) -> None:  # noqa: ANN401  # matplotlib is untyped
    n, middle = len(found.occurrences), 0.5
    axis.set(xlim=(0, 1), ylim=(n - 0.5, -0.5))
    axis.axis("off")
    labelled = found.title != "island"
    for row, one in enumerate(found.occurrences):
        color = color_of(int(found.category[row])) if labelled else "#0072B2"
        word = axis.text(
            middle,
            row,
            clean(one.token, 24),
            ha="center",
            va="center",
            fontsize=8,
            fontweight="bold",
            color="black",
            **style,
        )
        if labelled:
            axis.plot([0.012], [row], "o", color=color, markersize=5, clip_on=False)
        half = _half_width(axis, word)
        left, right = (
            _fitting(one.left(found.context)[::-1])[::-1],
            _fitting(one.right(found.context)),
        )
        context = {"va": "center", "fontsize": 8, "color": "#444444", **style}
        axis.text(middle - half, row, clean(" ".join(left)), ha="right", **context)
        axis.text(middle + half, row, clean(" ".join(right)), ha="left", **context)


def _fitting(tokens: list[str]) -> list[str]:
    """Return the first tokens that fit in SIDE characters.

    If there are more, an ellipsis after them.
    """
    used = 0
    for place, token in enumerate(tokens):
        used += len(token) + 1
        if used > SIDE:
            return [*tokens[:place], "…"]
    return tokens


def _half_width(axis: Any, word: Any) -> float:  # noqa: ANN401
    box = word.get_window_extent(axis.figure.canvas.get_renderer())
    return float(box.width / axis.get_window_extent().width / 2 + 0.008)


def _draw_heat(axis: Any, cosines: Any, name: str) -> Any:  # noqa: ANN401
    image = axis.imshow(
        cosines, cmap=COLORS, vmin=0, vmax=1, aspect="auto", interpolation="nearest"
    )
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(name.replace("_", " "), fontsize=9)
    return image


def _draw_key(
    figure: Any,  # noqa: ANN401
    found: WordMap,
    height: float,
    width: float,
    style: dict[str, Any],
) -> None:
    if found.title == "island":
        return
    x = 0.12
    for category, name in [*enumerate(found.categories), (-1, "no label")]:
        if (found.category == category).any():
            color = color_of(category) if category >= 0 else NO_CATEGORY
            figure.text(x / width, 0.1 / height, "●", color=color, fontsize=9)
            figure.text((x + 0.16) / width, 0.1 / height, clean(name, 30), fontsize=8, **style)
            x += 0.4 + 0.078 * min(len(name), 30)

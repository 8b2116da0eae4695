"""Placement of labels beside groups of points, without overlaps."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from elmo_cli.downstream.projection import Points

DIRECTIONS = 12
DISTANCES = (0.0, 0.5, 1.0, 1.5, 2.2)  # from the centre of a group, in multiples of its radius
OUTSIDE = 1e6


def place_labels(axis: Any, texts: Sequence[Any], points: Points, groups: Sequence[Points]) -> None:  # noqa: ANN401  # matplotlib is untyped
    """Move each text to the place near its group where it covers least.

    One that would cover another is removed.

    Args:
        axis: Axes that were laid out already.
        texts: Text artists, most important first, centred on their positions.
        points: (point, 2), all that is drawn.
        groups: The points of each text's group.
    """
    renderer = (
        axis.figure.canvas.get_renderer() if hasattr(axis.figure.canvas, "get_renderer") else None
    )
    dots = axis.transData.transform(points)
    frame = axis.get_window_extent()
    taken: list[tuple[float, float, float, float]] = []
    for text, group in zip(texts, groups, strict=True):
        box = text.get_window_extent(renderer)
        half = np.array([box.width, box.height]) / 2 + 2
        pixels = axis.transData.transform(group)
        places = _candidates(pixels)
        costs = [_cost(place, half, dots, pixels.mean(axis=0), taken, frame) for place in places]
        best = int(np.argmin(costs))
        if costs[best] >= OUTSIDE:
            text.remove()
            continue
        text.set_position(axis.transData.inverted().transform(places[best]))
        taken.append((*(places[best] - half), *(places[best] + half)))


def _candidates(pixels: Points) -> list[Points]:
    centre = np.median(pixels, axis=0)
    radius = np.percentile(np.linalg.norm(pixels - centre, axis=1), 80) + 12
    angles = np.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return [
        centre,
        *(centre + distance * radius * way for distance in DISTANCES[1:] for way in ring),
    ]


def _cost(
    place: Points,
    half: Points,
    dots: Points,
    centre: Points,
    taken: list[tuple[float, float, float, float]],
    frame: Any,  # noqa: ANN401
) -> float:
    low, high = place - half, place + half
    outside = low[0] < frame.x0 or low[1] < frame.y0 or high[0] > frame.x1 or high[1] > frame.y1
    covers = any(
        low[0] < x1 and high[0] > x0 and low[1] < y1 and high[1] > y0 for x0, y0, x1, y1 in taken
    )
    if outside or covers:
        return OUTSIDE
    under = ((dots > low) & (dots < high)).all(axis=1).sum()
    return float(under + 0.03 * np.linalg.norm(place - centre))

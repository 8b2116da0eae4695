"""Placement of labels in the free space near groups of points, with lines to distant groups."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from elmo_cli.downstream.projection import Points

Grid = npt.NDArray[np.float64]
CELL = 4.0  # pixels of the grid of places
MARGIN = 5.0  # pixels around a text that contain no centre of a point: their radius is 4 at most
COVERED = 300.0  # pixels that a label is moved away rather than cover a point
OUTSIDE = 1e6
LINE_FROM = 6.0  # pixels between a label and its group from which a line connects them
GREY = "#777777"


def place_labels(axis: Any, texts: Sequence[Any], points: Points, groups: Sequence[Points]) -> None:  # noqa: ANN401  # matplotlib is untyped
    """Move each text to the place nearest to its group that covers no point, or the fewest.

    A line connects a text with a group that is not beside it. A text that would cover another is
    removed.

    Args:
        axis: Axes that were laid out already.
        texts: Text artists, most important first, centred on their positions.
        points: (point, 2), all that is drawn.
        groups: The points of each text's group.
    """
    renderer = (
        axis.figure.canvas.get_renderer() if hasattr(axis.figure.canvas, "get_renderer") else None
    )
    frame = axis.get_window_extent()
    origin = np.array([frame.x0, frame.y0])
    occupied = _count(axis.transData.transform(points) - origin, frame)
    for text, group in zip(texts, groups, strict=True):
        box = text.get_window_extent(renderer)
        half = np.array([box.width, box.height]) / 2
        pixels = axis.transData.transform(group) - origin
        found = _best_place(occupied, half + MARGIN, pixels)
        if found is None:
            text.remove()
            continue
        text.set_position(axis.transData.inverted().transform(found + origin))
        low = np.maximum((found - half) // CELL, 0).astype(int)
        high = np.ceil((found + half) / CELL).astype(int)
        occupied[low[0] : high[0], low[1] : high[1]] += OUTSIDE
        _connect(axis, found, half, pixels, origin)


def _count(pixels: Points, frame: Any) -> Grid:  # noqa: ANN401
    """Return the number of points in each cell of the frame, (x, y)."""
    shape = [int(frame.width // CELL), int(frame.height // CELL)]
    edges = [np.arange(n + 1) * CELL for n in shape]
    counts: Grid = np.histogram2d(pixels[:, 0], pixels[:, 1], bins=edges)[0]
    return counts


def _best_place(occupied: Grid, half: Points, group: Points) -> Points | None:
    """Return the centre of the best box of a size, in pixels; None if each covers a text."""
    from scipy.spatial import KDTree

    size = np.ceil(2 * half / CELL).astype(int)
    if (size > occupied.shape).any():
        return None
    sums = np.pad(occupied, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    wide, high = size
    covered = sums[wide:, high:] - sums[:-wide, high:] - sums[wide:, :-high] + sums[:-wide, :-high]
    places = (np.moveaxis(np.indices(covered.shape), 0, -1) + size / 2) * CELL
    distances = KDTree(group).query(places)[0]
    from_centre = np.linalg.norm(places - np.median(group, axis=0), axis=-1)
    costs = COVERED * covered + distances + from_centre / 4
    best = np.unravel_index(np.argmin(costs), costs.shape)
    found: Points = places[best]
    return found if covered[best] < OUTSIDE else None


def _connect(axis: Any, place: Points, half: Points, group: Points, origin: Points) -> None:  # noqa: ANN401
    """Draw a line from a label to the nearest point of its group, unless it is beside it."""
    from matplotlib.lines import Line2D

    edges = np.clip(group, place - half, place + half)
    distances = np.linalg.norm(group - edges, axis=1)
    nearest = int(np.argmin(distances))
    if distances[nearest] > MARGIN + LINE_FROM:
        ends = np.stack([edges[nearest], group[nearest]]) + origin
        # An artist, which leaves the limits of the axes as they are
        ends = axis.transData.inverted().transform(ends)
        axis.add_artist(Line2D(*ends.T, linewidth=0.7, color=GREY, zorder=1.5))

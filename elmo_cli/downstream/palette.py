"""Colours and shapes of categories, in the colour-blind safe palette of Okabe and Ito (2008)."""

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
NO_CATEGORY = "#B8B8B8"
SHAPES = ("circle", "triangle", "square")  # of the first seven categories, the next seven, ...


def color_of(category: int) -> str:
    """Return the colour of a category; negative: that of no category."""
    return OKABE_ITO[category % len(OKABE_ITO)] if category >= 0 else NO_CATEGORY


def shape_of(category: int) -> str:
    """Return the shape of a category."""
    return SHAPES[category // len(OKABE_ITO) % len(SHAPES)] if category >= 0 else SHAPES[0]

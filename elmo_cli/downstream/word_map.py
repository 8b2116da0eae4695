"""Data of a word plot: occurrences, map or heat map of each layer, labels and islands."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from elmo_cli.downstream.islands import NO_ISLAND, find_islands, name_islands, stop_words
from elmo_cli.downstream.kept import label_of
from elmo_cli.downstream.occurrences import (
    Floats,
    Ints,
    Occurrence,
    WordScan,
    choose_layers,
    read_occurrences,
    read_vectors,
    sample_places,
    scan_word,
    unit,
)
from elmo_cli.downstream.projection import Points, map_forms, map_vectors, one_thread
from elmo_cli.errors import FeaturesError
from elmo_cli.features.reader import Features

FEW = 40  # occurrences up to which each is shown as a line beside heat maps
CONTEXT_FREE = "layer_0"
OTHERS, NO_LABEL = "others", "no label"
MOST_CATEGORIES = 20


@dataclass(frozen=True)
class WordOptions:
    """Options of a word plot."""

    word: str
    exact: bool = False
    layers: tuple[int, ...] | None = None
    sample: int = 1000
    context: int = 12
    color: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Panel:
    """One layer: a map of the occurrences, and, of few occurrences, their cosines."""

    name: str
    points: Points  # (occurrence, 2)
    islands: Ints  # of each occurrence; NO_ISLAND between them
    island_names: list[str]
    cosines: Floats | None = None  # (occurrence, occurrence)

    @property
    def context_free(self) -> bool:
        """Whether equal tokens have equal vectors."""
        return self.name == CONTEXT_FREE


@dataclass(frozen=True)
class WordMap:
    """Data of a word plot."""

    word: str
    occurrences: list[Occurrence]
    total: int  # occurrences in the file, of which these are a sample
    panels: list[Panel]
    title: str  # of the categories: the column's name, or "island"
    categories: list[str]
    category: Ints  # of each occurrence; NO_ISLAND: none
    context: int

    @property
    def few(self) -> bool:
        """Whether each occurrence has its own line."""
        return len(self.occurrences) <= FEW


def map_word(features: Features, options: WordOptions) -> WordMap:
    """Return the data of a word plot.

    Args:
        features: An open file of token vectors.
        options: Options of the plot.

    Raises:
        FeaturesError: The word occurs less than twice, or a requested layer or column is missing.
    """
    layers = choose_layers(features, options.layers)
    label = label_of(features, options.color)
    scan = scan_word(features, options.word, exact=options.exact)
    if len(scan.places) < 2:
        raise FeaturesError(
            f"{features.path}: {options.word!r} occurs once; a picture compares two occurrences or "
            "more"
        )
    places = sample_places(scan.places, options.sample, options.seed)
    occurrences = read_occurrences(features, places, label)
    vectors = read_vectors(features, places, layers)
    names = [features.description.names[layer] for layer in layers]
    if len(occurrences) <= FEW:
        order = order_by_similarity(vectors[-1])
        occurrences, vectors = [occurrences[i] for i in order], vectors[:, order]
    panels = [
        _panel(name, layer, occurrences, scan, options.seed)
        for name, layer in zip(names, vectors, strict=True)
    ]
    title, categories, category = _categories(occurrences, panels, options.color)
    return WordMap(
        options.word,
        occurrences,
        len(scan.places),
        panels,
        title,
        categories,
        category,
        options.context,
    )


def order_by_similarity(vectors: Floats) -> list[int]:
    """Return an order in which similar vectors are neighbours.

    It is that of the leaves of average linkage on cosine distances.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    with one_thread():
        distances = np.clip(1 - unit(vectors).astype(np.float64) @ unit(vectors).T, 0, 2)
        np.fill_diagonal(distances, 0)
        tree = linkage(squareform(distances, checks=False), "average", optimal_ordering=True)
    order: list[int] = leaves_list(tree).tolist()
    return order


def _panel(
    name: str, vectors: Floats, occurrences: Sequence[Occurrence], scan: WordScan, seed: int
) -> Panel:
    context_free, few = name == CONTEXT_FREE, len(occurrences) <= FEW
    cosines = np.clip(unit(vectors) @ unit(vectors).T, -1, 1) if few else None
    points = (
        map_forms([one.token for one in occurrences])
        if context_free
        else map_vectors(vectors, seed)
    )
    islands = np.full(len(points), NO_ISLAND) if context_free or few else find_islands(points)
    return Panel(
        name, points, islands, name_islands(islands, occurrences, stop_words(scan)), cosines
    )


def _categories(
    occurrences: Sequence[Occurrence], panels: Sequence[Panel], column: str | None
) -> tuple[str, list[str], npt.NDArray[np.int64]]:
    """Return title, names and each occurrence's number of the colours.

    Colours show labels, or the last panel's islands.
    """
    if column is None:
        return "island", panels[-1].island_names, panels[-1].islands
    labels = [NO_LABEL if one.label is None else one.label for one in occurrences]
    names = [
        name for name, _ in sorted(Counter(labels).items(), key=lambda item: (-item[1], item[0]))
    ]
    shown = [name for name in names if name != NO_LABEL]
    if len(shown) > MOST_CATEGORIES:
        shown = [*shown[: MOST_CATEGORIES - 1], OTHERS]
    numbers = [shown.index(one) if one in shown else len(shown) - 1 for one in labels]
    numbers = [
        NO_ISLAND if one == NO_LABEL else number
        for one, number in zip(labels, numbers, strict=True)
    ]
    return column, shown, np.array(numbers, dtype=np.int64)

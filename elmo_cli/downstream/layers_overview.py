"""Overview of the layers: norms, similarity, anisotropy.

Similarity is linear CKA (Kornblith et al. 2019); anisotropy is from Ethayarajh (2019).
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from elmo_cli.downstream.figures import clean, new_figure, save_figure, text_style
from elmo_cli.downstream.occurrences import Floats, choose_layers, read_layers, unit
from elmo_cli.downstream.palette import OKABE_ITO
from elmo_cli.errors import FeaturesError
from elmo_cli.features.reader import Features

Doubles = npt.NDArray[np.float64]
MOST = 20_000  # vectors of the sample, at most


@dataclass(frozen=True)
class LayersOverview:
    """Statistics of a sample of the vectors, by layer."""

    names: list[str]
    vectors: int
    norms: Doubles  # (layer, 3): 5th percentile, median, 95th
    similarity: Doubles  # (layer, layer): linear CKA, which does not depend on the axes of a layer
    anisotropy: Doubles  # (layer,): mean cosine between two vectors of the sample
    same_word: Doubles | None  # (layer,): mean cosine between two occurrences of a word


def measure_layers(
    features: Features, layers: tuple[int, ...] | None, sample: int, seed: int
) -> LayersOverview:
    """Return the statistics of the layers on a random sample of sentences.

    Args:
        features: An open feature file, of token or pooled vectors.
        layers: Numbers of layers, or None for all.
        sample: Maximum number of sentences.
        seed: Seed of the sample.

    Raises:
        FeaturesError: The file has fewer than two vectors, or lacks a layer.
    """
    chosen = choose_layers(features, layers)
    names = [features.description.names[layer] for layer in chosen]
    vectors, words = _read_sample(features, chosen, sample, seed)
    if vectors.shape[1] < 2:
        raise FeaturesError(
            f"{features.path}: has {vectors.shape[1]} vectors; the statistics need two or more"
        )
    lengths = np.linalg.norm(vectors, axis=-1)
    directions = unit(vectors).astype(np.float64)
    similarity = _linear_cka(vectors)
    same = _same_word(directions, words) if words else None
    norms = np.percentile(lengths, [5, 50, 95], axis=1).T
    return LayersOverview(
        names, vectors.shape[1], norms, similarity, _mean_cosine(directions), same
    )


def _read_sample(
    features: Features, layers: list[int], sample: int, seed: int
) -> tuple[Floats, list[str]]:
    """Return vectors (layer, vector, dim) of random sentences, and their words if recorded."""
    chosen = np.random.default_rng(seed).permutation(len(features))[:sample]
    arrays, words, n = (
        [np.empty((len(layers), 0, features.description.dim), np.float32)],
        list[str](),
        0,
    )
    for index in chosen.tolist():
        array = read_layers(features, index, layers)
        if features.description.pooled:
            array = array[:, None]
        else:
            words += features.sentence(index).tokens
        arrays.append(array)
        n += array.shape[1]
        if n >= MOST:
            break
    return np.concatenate(arrays, axis=1), words if all(words) else []


def _linear_cka(vectors: Floats) -> Doubles:
    """Return the linear centred kernel alignment of each pair of layers, from 0 to 1."""
    centred = vectors - vectors.mean(axis=1, keepdims=True)
    products = np.array(
        [[np.linalg.norm(one.T @ other) ** 2 for other in centred] for one in centred],
        dtype=np.float64,
    )
    own = np.sqrt(np.maximum(np.diag(products), np.finfo(np.float64).tiny))
    similarity: Doubles = products / own[:, None] / own
    return similarity


def _mean_cosine(directions: Doubles) -> Doubles:
    """Return the mean cosine of all pairs of different vectors: (|sum|² - n) / (n² - n)."""
    n = directions.shape[1]
    mean: Doubles = (
        (directions.sum(axis=1) ** 2).sum(axis=-1) - (directions**2).sum(axis=(1, 2))
    ) / (n * (n - 1))
    return mean


def _same_word(directions: Doubles, words: list[str]) -> Doubles | None:
    """Return the mean cosine between a word's occurrences, over words that occur twice or more."""
    rows = defaultdict[str, list[int]](list)
    for row, word in enumerate(words):
        rows[word].append(row)
    means = [_mean_cosine(directions[:, own]) for own in rows.values() if len(own) > 1]
    return np.mean(means, axis=0) if means else None


def draw_layers(found: LayersOverview, name: str, path: Path) -> list[str]:
    """Write a plot of the statistics, and return notes for the user."""
    n = len(found.names)
    style, labels = text_style(), [name.replace("_", " ") for name in found.names]
    figure = new_figure(11, 3.9, constrained=True)
    norms, similarity, cosines = figure.subplots(1, 3)
    figure.suptitle(
        f"{clean(name, 80)}: {found.vectors:,} vectors", fontsize=11, x=0.01, ha="left", **style
    )
    low, middle, high = found.norms.T
    norms.errorbar(
        range(n), middle, [middle - low, high - middle], fmt="o", capsize=4, color=OKABE_ITO[0]
    )
    norms.set(title="length (median, 5 to 95 %)", ylim=(0, None), xlim=(-0.5, n - 0.5))
    norms.set_xticks(range(n), labels)
    similarity.imshow(found.similarity, vmin=0, vmax=1, cmap="viridis")
    for (row, column), value in np.ndenumerate(found.similarity):
        ink = "white" if value < 0.6 else "black"
        similarity.text(column, row, f"{value:.2f}", ha="center", va="center", color=ink)
    similarity.set_xticks(range(n), labels)
    similarity.set_yticks(range(n), labels)
    similarity.set_title("similarity of the layers (linear CKA)")
    _draw_cosines(cosines, found, labels)
    return save_figure(figure, path)


def _draw_cosines(axis: Any, found: LayersOverview, labels: list[str]) -> None:  # noqa: ANN401  # matplotlib is untyped
    n = len(labels)
    if found.same_word is not None:
        axis.plot(
            range(n), found.same_word, "s-", color=OKABE_ITO[1], label="the same word, two contexts"
        )
    axis.plot(range(n), found.anisotropy, "o-", color=OKABE_ITO[0], label="any two (anisotropy)")
    axis.set(
        title="mean cosine",
        ylim=(min(0.0, float(found.anisotropy.min())) - 0.03, 1.03),
        xlim=(-0.5, n - 0.5),
    )
    axis.set_xticks(range(n), labels)
    axis.legend(fontsize=8)


def layers_table(found: LayersOverview) -> dict[str, list[Any]]:
    """Return the statistics as columns, with one row per layer."""
    n = len(found.names)
    return {
        "layer": found.names,
        "norm_p5": found.norms[:, 0].tolist(),
        "norm_median": found.norms[:, 1].tolist(),
        "norm_p95": found.norms[:, 2].tolist(),
        "anisotropy": found.anisotropy.tolist(),
        "same_word_cosine": found.same_word.tolist() if found.same_word is not None else [None] * n,
        **{f"cka_to_{name}": found.similarity[:, i].tolist() for i, name in enumerate(found.names)},
    }

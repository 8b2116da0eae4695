"""Two-dimensional maps of vectors: reproducible t-SNE (van der Maaten and Hinton 2008)."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from elmo_cli.downstream.occurrences import Floats, unit
from elmo_cli.errors import ElmoError

Points = npt.NDArray[np.float64]
PERPLEXITY = 30.0
FEWEST = 5  # vectors for t-SNE; fewer are projected on their principal components
EXTRA = "analysis"


def need_analysis(*modules: str) -> None:
    """Check that the libraries of the extra are installed.

    Raises:
        ElmoError: A library is missing.
    """
    for module, name in (("sklearn", "scikit-learn"), ("matplotlib", "matplotlib")):
        if module in modules and find_spec(module) is None:
            raise ElmoError(f"{name} is not installed; pip install 'elmo-cli[{EXTRA}]'")


def map_vectors(vectors: Floats, seed: int = 0) -> Points:
    """Return a map of vectors in the plane, equal bit for bit for equal vectors and seed.

    Args:
        vectors: (vector, dim) float32.
        seed: Seed of t-SNE's optimisation.

    Returns:
        (vector, 2) float64.
    """
    directions = unit(vectors - vectors.mean(axis=0))  # without the common part of all occurrences
    if np.ptp(vectors, axis=0).max(initial=0) < 1e-6:  # one vector
        return np.zeros((len(vectors), 2))
    with one_thread():
        return _principal(directions) if len(vectors) < FEWEST else _tsne(directions, seed)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, so that rounding does not depend on the machine."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


def _tsne(directions: Floats, seed: int) -> Points:
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(directions) - 1) / 3)
    tsne = TSNE(metric="cosine", init="pca", random_state=seed, perplexity=perplexity, n_jobs=1)
    points: Points = tsne.fit_transform(directions).astype(np.float64)
    return points


def _principal(directions: Floats) -> Points:
    centred = directions.astype(np.float64) - directions.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(directions), 2))
    points[:, : len(sizes)] = (left * sizes)[:, :2]
    return points


def map_forms(tokens: list[str]) -> Points:
    """Return the map of a layer without context: a point for each distinct form, stacked."""
    forms = sorted(set(tokens), key=lambda form: (-tokens.count(form), form))
    return np.array([[0.0, 0.0 - forms.index(token)] for token in tokens])

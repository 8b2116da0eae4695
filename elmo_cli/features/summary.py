"""What a file of features holds: counts and metadata of all of it, norms and cosines of a sample."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from elmo_cli.features.formats import FORMATS
from elmo_cli.features.reader import Features, open_features
from elmo_cli.types import Array

SAMPLE = 500  # sentences whose vectors are read, spread over the file
ROWS = 3  # sentences that are shown
SHOWN_TOKENS = 12


@dataclass(frozen=True)
class Row:
    """One sentence of those shown."""

    key: str
    shape: tuple[int, ...]
    tokens: list[str]  # the first ones; empty strings where the file does not tell them


@dataclass(frozen=True)
class FeatureSummary:
    """What is told of a file."""

    path: str
    layout: str
    bytes: int
    sentences: int
    tokens: int
    layers: list[str]
    dim: int
    dtype: str
    axes: str
    complete: bool | None  # None: the file was made by another program, which does not say
    metadata: dict[str, str]
    sampled_sentences: int
    norms: list[float]  # of each layer, the mean length of its vectors
    cosines: list[float]  # between each layer and the next, the mean over tokens
    not_finite: int  # values of the sample that are NaN or infinite
    rows: list[Row]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def inspect(path: Path) -> FeatureSummary:
    """Look into a file of any layout. Of the vectors a sample of sentences is read; of the rest only how long they are.

    Raises:
        FeaturesError: It cannot be read.
    """
    with open_features(path) as features:
        sample = sorted(set(np.linspace(0, len(features) - 1, SAMPLE).astype(int).tolist())) if len(features) else []
        norms, cosines, not_finite = _statistics(features, sample)
        described = features.description
        return FeatureSummary(
            path=str(path),
            layout=features.layout,
            bytes=sum(file.stat().st_size for file in (path.iterdir() if path.is_dir() else [path])),
            sentences=len(features),
            tokens=sum(features.token_counts()),
            layers=list(described.names),
            dim=described.dim,
            dtype=described.dtype,
            axes=described.axes,
            complete=True if "elmo_version" in features.metadata else None,
            metadata=features.metadata,
            sampled_sentences=len(sample),
            norms=norms,
            cosines=cosines,
            not_finite=not_finite,
            rows=[_row(features, index) for index in range(min(ROWS, len(features)))],
        )


def _row(features: Features, index: int) -> Row:
    sentence, by_number = features.sentence(index), FORMATS[features.layout].default_keys == "number"
    key = sentence.key if by_number or sentence.id is None else sentence.id
    return Row(key, features[index].shape, sentence.tokens[:SHOWN_TOKENS])


def _statistics(features: Features, sample: list[int]) -> tuple[list[float], list[float], int]:
    n = len(features.description.names)
    norms, cosines, vectors, not_finite = np.zeros(n), np.zeros(n - 1), 0, 0
    for index in sample:
        layers = _as_layers(features, features[index])
        lengths = np.linalg.norm(layers, axis=-1)
        not_finite += int((~np.isfinite(layers)).sum())
        norms += lengths.sum(axis=1)
        products = np.maximum(lengths[1:] * lengths[:-1], np.finfo(float).tiny)
        cosines += ((layers[1:] * layers[:-1]).sum(axis=-1) / products).sum(axis=1)
        vectors += layers.shape[1]
    return [(total / max(1, vectors)).tolist() for total in (norms, cosines)] + [not_finite]  # type: ignore[return-value]


def _as_layers(features: Features, array: Array) -> npt.NDArray[np.float64]:
    """(layer, token, dim), whatever axes the file leaves out."""
    n = len(features.description.names)
    return array.astype(np.float64).reshape(n, -1, features.description.dim)

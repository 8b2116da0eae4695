"""Summary of a feature file: counts and metadata of the file, norms and cosines of a sample."""

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
    """A sentence of the summary."""

    key: str
    shape: tuple[int, ...]
    tokens: list[str]  # the first ones; empty strings if the file does not contain them


@dataclass(frozen=True)
class FeatureSummary:
    """Summary of a feature file."""

    path: str
    layout: str
    bytes: int
    sentences: int
    tokens: int
    layers: list[str]
    dim: int
    dtype: str
    axes: str
    complete: bool | None  # None: the file was made by another program, which does not record it
    metadata: dict[str, str]
    sampled_sentences: int
    norms: list[float]  # mean length of the vectors of each layer
    cosines: list[float]  # between each layer and the next, the mean over tokens
    not_finite: int  # values of the sample that are NaN or infinite
    rows: list[Row]

    def to_json(self) -> dict[str, Any]:
        """Return the summary as values of JSON."""
        return asdict(self)


def inspect(path: Path) -> FeatureSummary:
    """Return the summary of a feature file of any format.

    The vectors of a sample of sentences are read; of the other sentences only the number of tokens.

    Args:
        path: Path of the file, or of a folder of shards.

    Raises:
        FeaturesError: The file cannot be read.
    """
    with open_features(path) as features:
        sample = (
            sorted(set(np.linspace(0, len(features) - 1, SAMPLE).astype(int).tolist()))
            if len(features)
            else []
        )
        norms, cosines, not_finite = _statistics(features, sample)
        described = features.description
        return FeatureSummary(
            path=str(path),
            layout=features.layout,
            bytes=sum(
                file.stat().st_size for file in (path.iterdir() if path.is_dir() else [path])
            ),
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
    sentence, by_number = (
        features.sentence(index),
        FORMATS[features.layout].default_keys == "number",
    )
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
    """Return an array as (layer, token, dim), with the axes that the file leaves out."""
    n = len(features.description.names)
    return array.astype(np.float64).reshape(n, -1, features.description.dim)

"""Figures: their contents, and their display."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Scores = dict[str, float]  # by layer: "0", "1", ..., "mean"
# Sentences to their layers (layer, token, dim); each call starts anew
Embed = Callable[[Iterable[list[str]]], Iterator[Floats]]


class Figure(NamedTuple):
    """One experiment: scores by row and layer, and what they are measured against."""

    rows: dict[str, Scores]
    against: dict[str, float]
    details: dict[str, Any]


def by_layer(features: Floats) -> Iterator[tuple[str, Floats]]:
    """Each layer's features (example, dim) of (layer, example, dim), and the mean of the layers."""
    yield "0", features[0, :, : features.shape[2] // 2]  # layer 0 is one vector twice
    yield from ((str(layer), part) for layer, part in enumerate(features[1:], start=1))
    yield "mean", features.mean(axis=0)


def unit(vectors: Floats) -> Floats:
    """The vectors, scaled to length 1."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)  # type: ignore[no-any-return]


def baseline(shared: Path, task: str, name: str) -> float:
    """A reference score of the evaluation sets' own table."""
    return float(json.loads((shared / "eval" / "BASELINES.json").read_text())[task][name])


def describe(model: Any) -> str:  # scikit-learn is untyped
    """A pipeline's steps, as they are written."""
    return ", ".join(str(step) for step in model)


def show(scores: Scores) -> str:
    """Scores on one line."""
    return ", ".join(f"{name} {score:.4f}" for name, score in scores.items())


def say(line: str) -> None:
    """Tell how far it is."""
    click.echo(f"{time.strftime('%H:%M:%S')} {line}", err=True)


def table(figures: dict[str, Figure]) -> str:
    """All figures as Markdown."""
    names = list(
        dict.fromkeys(
            name
            for figure in figures.values()
            for scores in figure.rows.values()
            for name in scores
        )
    )
    lines = [["", *(f"layer {name}" if name.isdigit() else name for name in names), "beside"]]
    lines.append(["---"] * len(lines[0]))
    for title, figure in figures.items():
        beside = ", ".join(f"{name} {value:.4g}" for name, value in figure.against.items())
        for row, scores in (figure.rows or {title: {}}).items():
            lines.append(
                [row, *(f"{scores[name]:.4f}" if name in scores else "" for name in names), beside]
            )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

"""Word senses, by the nearest vectors."""

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.manual.figures.figure import (
    Embed,
    Figure,
    Floats,
    Scores,
    baseline,
    by_layer,
    say,
    show,
    unit,
)

Ints = npt.NDArray[np.int64]
ROUNDING = 1e-6  # cosines nearer than this are equal


def read_senses(path: Path, limit: int | None) -> list[dict[str, Any]]:
    """The {word, index, sense, tokens} of a JSON-lines file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in islice(lines, limit)]


def measure_senses(embed: Embed, shared: Path, limit: int | None) -> Figure:
    """Senses of CoarseWSD-20 (lower-cased text) by the nearest labelled occurrence and by the
    nearest centroid, mean over words.
    """
    folder = shared / "eval" / "wsd_coarsewsd20"
    by_word = {}
    for word in sorted(path.name.split(".")[0] for path in folder.glob("*.train.jsonl")):
        train, test = (
            read_senses(folder / f"{word}.{part}.jsonl", limit) for part in ("train", "test")
        )
        by_word[word] = score_senses(embed, train, test)
        say(f"wsd: {word} {show(by_word[word]['nearest neighbour'])}")
    rows = {
        f"CoarseWSD-20, {how}": macro([scores[how] for scores in by_word.values()])
        for how in NEAREST
    }
    frequent = {"most frequent sense": baseline(shared, "wsd_coarsewsd20", "most_frequent_sense")}
    return Figure(rows, frequent, {"by_word": by_word})


def score_senses(
    embed: Embed, train: list[dict[str, Any]], test: list[dict[str, Any]]
) -> dict[str, Scores]:
    """Accuracy on one word's test set, by method and layer."""
    senses = sorted({example["sense"] for example in train})
    one_hot = np.array(
        [[example["sense"] == sense for sense in senses] for example in train], dtype=np.float32
    )
    layers = list(
        zip(
            by_layer(embed_targets(embed, train)), by_layer(embed_targets(embed, test)), strict=True
        )
    )
    gold = [example["sense"] for example in test]
    return {
        how: {
            name: agreement(guess(unit(train_x), one_hot, unit(test_x)), senses, gold)
            for (name, train_x), (_, test_x) in layers
        }
        for how, guess in NEAREST.items()
    }


def embed_targets(embed: Embed, examples: Sequence[dict[str, Any]]) -> Floats:
    """The vectors of each example's target word, (layer, example, dim)."""
    embedded = embed(example["tokens"] for example in examples)
    return np.stack(
        [layers[:, example["index"]] for example, layers in zip(examples, embedded, strict=True)],
        axis=1,
    )


def nearest_neighbour(train: Floats, one_hot: Floats, test: Floats) -> Ints:
    """The sense of the nearest training vector.

    Of several equal ones (layer 0 has one vector a form), their most frequent sense.
    """
    return np.asarray(np.argmax(nearest(test @ train.T) @ one_hot, axis=1))


def nearest_centroid(train: Floats, one_hot: Floats, test: Floats) -> Ints:
    """The sense whose mean training vector is nearest; of several equal ones, the most frequent."""
    return np.asarray(
        np.argmax(nearest(test @ unit(one_hot.T @ train).T) * one_hot.sum(axis=0), axis=1)
    )


def nearest(cosines: Floats) -> Floats:
    """1 where a row of cosines has its maximum, up to rounding, and 0 elsewhere."""
    return np.asarray(cosines >= cosines.max(axis=1, keepdims=True) - ROUNDING, np.float32)


NEAREST = {"nearest neighbour": nearest_neighbour, "nearest centroid": nearest_centroid}


def agreement(guessed: Ints, senses: Sequence[str], gold: Sequence[str]) -> float:
    """Share of the guesses that are right."""
    return float(
        np.mean([senses[guess] == sense for guess, sense in zip(guessed, gold, strict=True)])
    )


def macro(scores: Sequence[Scores]) -> Scores:
    """Mean over words."""
    return {name: float(np.mean([word[name] for word in scores])) for name in scores[0]}

"""Part-of-speech tags of single tokens."""

from pathlib import Path
from typing import Any

import numpy as np

from tests.manual.figures.figure import Embed, Figure, baseline, by_layer, describe, say


def read_tagged(path: Path, limit: int | None) -> tuple[list[list[str]], list[str]]:
    """Sentences of a FORM TAB UPOS TAB XPOS file, and the UPOS of all their tokens."""
    blocks = path.read_text(encoding="utf-8").strip("\n").split("\n\n")[:limit]
    rows = [[line.split("\t") for line in block.split("\n")] for block in blocks]
    return [[row[0] for row in block] for block in rows], [
        row[1] for block in rows for row in block
    ]


def measure_tags(embed: Embed, shared: Path, limit: int | None) -> Figure:
    """UPOS of EWT's test part by logistic regression on frozen features of its training part."""
    folder = shared / "eval" / "pos_en_ewt"
    sets = [read_tagged(folder / name, limit) for name in ("train.tsv", "test.tsv")]
    train, test = (np.concatenate(list(embed(sentences)), axis=1) for sentences, _ in sets)
    scores, iterations = {}, {}
    for (name, train_x), (_, test_x) in zip(by_layer(train), by_layer(test), strict=True):
        model = tag_classifier().fit(train_x, sets[0][1])
        scores[name] = float(model.score(test_x, sets[1][1]))
        iterations[name] = int(model[-1].n_iter_[0])
        say(f"pos: layer {name} {scores[name]:.4f}")
    details = {
        "classifier": describe(model),
        "iterations": iterations,
        "train_tokens": train.shape[1],
        "test_tokens": test.shape[1],
    }
    return Figure(
        {"EWT UPOS accuracy": scores},
        {"most frequent tag": baseline(shared, "pos_en_ewt", "most_frequent_tag_acc")},
        details,
    )


def tag_classifier() -> Any:  # scikit-learn is untyped
    """Logistic regression on whitened features: correlated ones, of the same scale or not, take
    lbfgs five times as long.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    return make_pipeline(
        PCA(whiten=True, svd_solver="covariance_eigh"),
        LogisticRegression(solver="lbfgs", max_iter=500),
    )

"""Question types, by vectors of complete sentences."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.manual.figures.figure import Embed, Figure, Floats, baseline, by_layer, describe, say

ALL = "all layers"


def read_labelled(path: Path, limit: int | None) -> tuple[list[list[str]], list[str]]:
    """Sentences and coarse labels of a COARSE:fine TAB text file."""
    rows = [
        line.split("\t")
        for line in path.read_text(encoding="utf-8").strip("\n").split("\n")[:limit]
    ]
    return [text.split() for _, text in rows], [label.split(":")[0] for label, _ in rows]


def measure_questions(embed: Embed, shared: Path, limit: int | None) -> Figure:
    """TREC's six coarse types by logistic regression on pooled features.

    Its C is chosen on the training part alone.
    """
    sets = [
        read_labelled(shared / "eval" / "cls_trec" / name, limit)
        for name in ("train.tsv", "test.tsv")
    ]
    train, test = (dict(pooled(list(embed(sentences)))) for sentences, _ in sets)
    scores, chosen = {}, {}
    for name, features in train.items():
        model = question_classifier().fit(features, sets[0][1])
        scores[name] = float(model.score(test[name], sets[1][1]))
        chosen[name] = model.best_params_["logisticregression__C"]
        say(f"trec: {name} {scores[name]:.4f}")
    together = {
        "all layers, mean and max": scores.pop(ALL),
        "TF-IDF": baseline(shared, "cls_trec", "tfidf_logreg"),
    }
    return Figure(
        {"TREC, 6 types, mean-pooled": scores},
        together,
        {"classifier": describe(model.best_estimator_), "C": chosen},
    )


def pooled(embedded: Sequence[Floats]) -> Iterator[tuple[str, Floats]]:
    """Features (sentence, dim) by name: the tokens' mean of each layer, and the mean and maximum of
    all layers beside each other.
    """
    mean = np.stack([layers.mean(axis=1) for layers in embedded], axis=1)  # (layer, sentence, dim)
    greatest = np.stack([layers.max(axis=1) for layers in embedded], axis=1)
    yield from by_layer(mean)
    yield ALL, np.concatenate([*mean, *greatest], axis=1)


def question_classifier() -> Any:  # scikit-learn is untyped
    """Logistic regression on standardised features, its C by three-fold cross-validation."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = make_pipeline(StandardScaler(), LogisticRegression(solver="lbfgs", max_iter=1000))
    return GridSearchCV(regression, {"logisticregression__C": [1e-4, 1e-3, 1e-2, 1e-1, 1]}, cv=3)

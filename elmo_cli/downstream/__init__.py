"""Downstream tasks on ELMo features: classifiers, probes, plots, search."""

from typing import TYPE_CHECKING

from elmo_cli.lazy import lazy_names

if TYPE_CHECKING:
    from elmo_cli.downstream.labels import LabelledSentence, read_labels
    from elmo_cli.downstream.predictor import Predictor, load_predictor
    from elmo_cli.downstream.sklearn import ElmoVectorizer

__all__ = ["ElmoVectorizer", "LabelledSentence", "Predictor", "load_predictor", "read_labels"]

__getattr__ = lazy_names(
    __name__,
    {
        "ElmoVectorizer": "elmo_cli.downstream.sklearn",
        "LabelledSentence": "elmo_cli.downstream.labels",
        "Predictor": "elmo_cli.downstream.predictor",
        "load_predictor": "elmo_cli.downstream.predictor",
        "read_labels": "elmo_cli.downstream.labels",
    },
)

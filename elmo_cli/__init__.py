"""ELMo representations (Peters et al. 2018) of every token of a corpus: command and library."""

from typing import TYPE_CHECKING

from elmo_cli.lazy import lazy_names
from elmo_cli.version import __version__

if TYPE_CHECKING:
    from elmo_cli.downstream.predictor import Predictor, load_predictor
    from elmo_cli.downstream.sklearn import ElmoVectorizer
    from elmo_cli.features.reader import open_features
    from elmo_cli.inference.elmo import Elmo, batch_to_ids, load_model
    from elmo_cli.inference.elmo_embedder import ElmoEmbedder
    from elmo_cli.nn.scalar_mix import ScalarMix

__all__ = [
    "Elmo",
    "ElmoEmbedder",
    "ElmoVectorizer",
    "Predictor",
    "ScalarMix",
    "__version__",
    "batch_to_ids",
    "load_model",
    "load_predictor",
    "open_features",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Elmo": "elmo_cli.inference.elmo",
        "ElmoEmbedder": "elmo_cli.inference.elmo_embedder",
        "ElmoVectorizer": "elmo_cli.downstream.sklearn",
        "Predictor": "elmo_cli.downstream.predictor",
        "ScalarMix": "elmo_cli.nn.scalar_mix",
        "batch_to_ids": "elmo_cli.inference.elmo",
        "load_model": "elmo_cli.inference.elmo",
        "load_predictor": "elmo_cli.downstream.predictor",
        "open_features": "elmo_cli.features.reader",
    },
)

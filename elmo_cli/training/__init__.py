"""Training of biLMs: encoded corpora, truncated back-propagation, checkpoints, exported models."""

from typing import TYPE_CHECKING

from elmo_cli.lazy import lazy_names

if TYPE_CHECKING:
    from elmo_cli.training.job import TrainJob
    from elmo_cli.training.language_model import LanguageModel
    from elmo_cli.training.loop import TrainProgress
    from elmo_cli.training.perplexity import Perplexity
    from elmo_cli.training.settings import Run, Settings

__all__ = ["LanguageModel", "Perplexity", "Run", "Settings", "TrainJob", "TrainProgress"]

__getattr__ = lazy_names(
    __name__,
    {
        "LanguageModel": "elmo_cli.training.language_model",
        "Perplexity": "elmo_cli.training.perplexity",
        "Run": "elmo_cli.training.settings",
        "Settings": "elmo_cli.training.settings",
        "TrainJob": "elmo_cli.training.job",
        "TrainProgress": "elmo_cli.training.loop",
    },
)

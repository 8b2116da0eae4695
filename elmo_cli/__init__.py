"""elmo: ELMo representations of every token of a corpus (Peters et al. 2018), and the library behind the command."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elmo_cli.downstream.sklearn import ElmoVectorizer
    from elmo_cli.features.reader import open_features
    from elmo_cli.inference.elmo_embedder import ElmoEmbedder
    from elmo_cli.nn.characters import batch_to_ids
    from elmo_cli.nn.scalar_mix import ScalarMix

__version__ = "0.1.0"
__all__ = ["ElmoEmbedder", "ElmoVectorizer", "ScalarMix", "batch_to_ids", "open_features"]

_HOMES = {
    "ElmoEmbedder": "elmo_cli.inference.elmo_embedder",
    "ElmoVectorizer": "elmo_cli.downstream.sklearn",
    "ScalarMix": "elmo_cli.nn.scalar_mix",
    "batch_to_ids": "elmo_cli.nn.characters",
    "open_features": "elmo_cli.features.reader",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401  # whatever the name stands for
    """Import a public name when it is first used: `import elmo_cli` loads no torch, so `elmo --help` is quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'elmo_cli' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

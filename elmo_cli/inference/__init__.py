"""Inference: embedders, engines and the embedding job."""

from typing import TYPE_CHECKING

from elmo_cli.lazy import lazy_names

if TYPE_CHECKING:
    from elmo_cli.inference.arrow_batches import EmbedArrowBatches
    from elmo_cli.inference.elmo import Elmo, load_model
    from elmo_cli.inference.elmo_embedder import ElmoEmbedder
    from elmo_cli.inference.embedder import Embedder, StatefulEmbedder
    from elmo_cli.inference.embedder_spec import EmbedderSpec, InitialState
    from elmo_cli.inference.job import EmbedJob
    from elmo_cli.inference.selection import Selection

__all__ = [
    "Elmo",
    "ElmoEmbedder",
    "EmbedArrowBatches",
    "EmbedJob",
    "Embedder",
    "EmbedderSpec",
    "InitialState",
    "Selection",
    "StatefulEmbedder",
    "load_model",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Elmo": "elmo_cli.inference.elmo",
        "ElmoEmbedder": "elmo_cli.inference.elmo_embedder",
        "EmbedArrowBatches": "elmo_cli.inference.arrow_batches",
        "EmbedJob": "elmo_cli.inference.job",
        "Embedder": "elmo_cli.inference.embedder",
        "EmbedderSpec": "elmo_cli.inference.embedder_spec",
        "InitialState": "elmo_cli.inference.embedder_spec",
        "Selection": "elmo_cli.inference.selection",
        "StatefulEmbedder": "elmo_cli.inference.embedder",
        "load_model": "elmo_cli.inference.elmo",
    },
)

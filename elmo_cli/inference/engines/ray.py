"""The engine of a Ray cluster."""

from elmo_cli.inference.embedder_spec import EmbedderSpec
from elmo_cli.inference.engines.protocol import Engine, EngineOptions
from elmo_cli.inference.selection import Selection


def RayEngine(spec: EmbedderSpec, selection: Selection, options: EngineOptions) -> Engine:
    raise NotImplementedError

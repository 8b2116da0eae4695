"""Worker of the Ray engine, run on any node of the cluster."""

import tempfile
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from elmo_cli.features.resume.shard_maker import Shard, ShardMaker
from elmo_cli.inference.embedder_spec import EmbedderSpec, InitialState
from elmo_cli.inference.engines.blocks import Layout
from elmo_cli.inference.engines.protocol import Tokens, WorkerFacts, to_window
from elmo_cli.inference.engines.worker import WindowEmbedder
from elmo_cli.inference.selection import Selection
from elmo_cli.models.files import ModelFiles
from elmo_cli.readers.corpus import Corpus

Answer = tuple[Exception | None, Any]  # an error and its traceback, or None and the answer


@dataclass(frozen=True)
class Cargo:
    """Contents of the files that a worker needs and its node may not have.

    Args:
        model: Name and content of each file of the model, by its part in the format.
        prime: Name and content of the priming text, if any.
    """

    model: Mapping[str, tuple[str, bytes]]
    prime: tuple[str, bytes] | None = None

    @classmethod
    def of(cls, spec: EmbedderSpec) -> "Cargo":
        """Return the files of an embedder."""
        prime = spec.start.prime.local_paths[0] if spec.start.prime else None
        return cls(
            {part: _read(path) for part, path in spec.files.files.items()},
            _read(prime) if prime else None,
        )

    def unpack(self, spec: EmbedderSpec, folder: Path) -> EmbedderSpec:
        """Write the files to a folder, and return the specification with these paths."""
        files = {
            part: _write(folder / str(i), *file)
            for i, (part, file) in enumerate(self.model.items())
        }
        found = ModelFiles(spec.files.name, spec.files.format, files, spec.files.built_in)
        start = spec.start
        if start.prime and self.prime:
            text = _write(folder / "prime", *self.prime)
            start = InitialState(
                start.stateful,
                start.batch_size,
                Corpus([str(text)], start.prime.blank_lines, start.prime.reading),
            )
        return replace(spec, model=found, options=None, weights=None, start=start)


def _read(path: Path) -> tuple[str, bytes]:
    return path.name, path.read_bytes()


def _write(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir()
    (folder / name).write_bytes(content)
    return folder / name


class Actor:
    """Embedder of windows. Errors are returned, so that Ray does not wrap them.

    Args:
        spec: Specification of the embedder, with the driver's paths.
        selection: Choice of the vectors that are written.
        cargo: Contents of the files.
    """

    def __init__(self, spec: EmbedderSpec, selection: Selection, cargo: Cargo) -> None:
        self._facts = _answer(lambda: self._load(spec, selection, cargo))

    def _load(self, spec: EmbedderSpec, selection: Selection, cargo: Cargo) -> WorkerFacts:
        # The files are not needed once they are loaded
        with tempfile.TemporaryDirectory() as folder:
            self._worker = WindowEmbedder(cargo.unpack(spec, Path(folder)), selection)
            return self._worker.facts()

    def facts(self) -> Answer:
        """Return the worker's facts, once the model is loaded."""
        return self._facts

    def embed(self, window: Tokens) -> Answer:
        """Return layout, values (bytes,) uint8 and truncated tokens of a window."""
        return _answer(lambda: self._embed(window))

    def count(self, window: Tokens) -> Answer:
        """Return the truncated tokens of a window."""
        return _answer(lambda: self._worker.count(to_window(window)))

    def write(self, shard: Shard, maker: ShardMaker) -> Answer:
        """Make a shard; return its size and its truncated tokens."""
        return _answer(lambda: self._worker.write(shard, maker)[1:])

    def _embed(self, window: Tokens) -> Any:  # noqa: ANN401  # described above
        _, arrays, truncated = self._worker.embed(to_window(window))
        layout = Layout.of(arrays)
        # One array goes through the object store without a copy
        memory = np.empty(layout.n_bytes, dtype=np.uint8)
        for view, array in zip(layout.views(memory), arrays, strict=True):
            view[...] = array
        return layout, memory, truncated


def _answer(question: Callable[[], Any]) -> Answer:
    try:
        return None, question()
    except Exception as error:  # noqa: BLE001  # raised again by the driver
        return error, traceback.format_exc()

"""Search queries: parsing and embedding of sentences, with an optional bracketed word."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from elmo_cli.downstream.occurrences import Floats
from elmo_cli.errors import DownloadError, FeaturesError, ModelError, UsageError
from elmo_cli.features.reader import Features
from elmo_cli.inference.selection import Selection
from elmo_cli.nn.scalar_mix import FixedMix
from elmo_cli.types import Array, Sentence

if TYPE_CHECKING:
    from elmo_cli.models.files import ModelFiles

BRACKETED = re.compile(r"\[(.+)\]")
POOLED = ("none", "mean", "first", "last")  # supported pooling of features
MIX = re.compile(
    r"softmax of (?P<weights>[-+.e0-9, ]+), times (?P<gamma>[-+.e0-9]+)(?P<norm>, layers "
    r"normalised)?"
)


@dataclass(frozen=True)
class Query:
    """A tokenized query; `position` is that of the bracketed word, if there is one."""

    text: str
    tokens: list[str]
    position: int | None

    @property
    def word(self) -> str:
        """The bracketed word."""
        return self.tokens[self.position or 0]


def parse_query(text: str, place: str = "QUERY") -> Query:
    """Parse a query: tokens separated by white space, one of them perhaps in brackets.

    Raises:
        UsageError: The query is empty, or its brackets are invalid.
    """
    tokens = text.split()
    if not tokens:
        raise UsageError(f"{place}: is empty; give a sentence, or one with a word in brackets")
    found = [i for i, token in enumerate(tokens) if BRACKETED.fullmatch(token)]
    # A bracket that stands alone is a token of the corpus
    odd = [
        token
        for i, token in enumerate(tokens)
        if i not in found and len(token) > 1 and (token[0] == "[" or token[-1] == "]")
    ]
    if len(found) > 1 or odd:
        shown = " ".join(tokens)[:60]
        raise UsageError(
            f"{place}: {shown!r} has not exactly one bracketed word; put one token in brackets, "
            "such as: the muddy [bank] of it"
        )
    if not found:
        return Query(text.strip(), tokens, None)
    tokens[found[0]] = tokens[found[0]][1:-1]
    return Query(text.strip(), tokens, found[0])


def check_features(features: Features) -> None:
    """Check that queries can be embedded like the features of a file.

    Raises:
        FeaturesError: The features are max-pooled, or did not start from the zero state.
    """
    told = features.metadata
    pool, start = told.get("pool", "none"), told.get("start_state", "zero")
    if pool not in POOLED:
        raise FeaturesError(
            f"{features.path}: contains {pool}-pooled vectors, whose cosines mean little; embed "
            "with --pool mean"
        )
    if start != "zero":
        raise FeaturesError(
            f"{features.path}: its sentences did not start from the zero state ({start}); embed "
            "them without --stateful, --prime"
        )


def find_query_model(features: Features, given: str | None) -> "ModelFiles":
    """Return the model of a file, from its name in the metadata or the user's choice.

    Raises:
        FeaturesError: The model is not found, or is a different one.
    """
    from elmo_cli.models.cache import Cache, default_folder
    from elmo_cli.models.catalogue import load_catalogue
    from elmo_cli.models.resolve import find_model

    told = features.metadata
    name = given or told.get("model")
    if name is None:
        raise FeaturesError(f"{features.path}: does not record its model; pass --model NAME|DIR")
    try:
        model = find_model(name, cache=Cache(default_folder(), offline=True))
        sha256 = model.sha256
    except (ModelError, DownloadError) as error:
        if given:
            raise
        fetch = f", or run elmo models download {name}" if name in load_catalogue() else ""
        raise FeaturesError(
            f"{features.path}: its model {name!r} is not here; pass --model DIR{fetch}"
        ) from error
    if told.get("model_sha256", sha256) != sha256:
        hashes = f"sha256 {told['model_sha256'][:12]}..., not {sha256[:12]}..."
        raise FeaturesError(
            f"{features.path}: was made by a different model than {name} ({hashes}); pass --model "
            "DIR"
        )
    return model


class QueryEmbedder:
    """Embedder of queries, with the settings of a feature file.

    Args:
        model: The model of the file.
        features: The open file.
        threads: Threads of torch; None: the default.

    Raises:
        FeaturesError: The model has other layers or dimensions than the file.
    """

    def __init__(self, model: "ModelFiles", features: Features, threads: int | None = None) -> None:
        from elmo_cli.inference.embedder_spec import EmbedderSpec

        self._embedder = EmbedderSpec(model, device="cpu", threads=threads).build()
        config, told = self._embedder.bilm.config, features.description
        selection = _selection_of(features)
        self._select = selection.function(config.n_output_layers)
        self.pooled = told.pooled
        if (
            selection.names(config.n_output_layers) != told.names
            or self._select(
                np.zeros((config.n_output_layers, 1, config.output_dim), np.float32)
            ).shape[-1]
            != told.dim
        ):
            raise FeaturesError(
                f"{features.path}: has {', '.join(told.names)} of {told.dim} dimensions, which the "
                f"model {model.name} does not have"
            )

    def embed(self, queries: Sequence[Query], layers: Sequence[int]) -> list[Floats]:
        """Return layers of each query: (layer, token, dim), or (layer, dim) if pooled."""
        from elmo_cli.inference.pipeline import embed_window
        from elmo_cli.nn.batching import BATCH_TOKENS

        window = [Sentence(str(i), query.tokens, query.text) for i, query in enumerate(queries)]
        return [
            self._layers(array, layers)
            for array in embed_window(window, self._embedder, BATCH_TOKENS)
        ]

    def _layers(self, array: Array, layers: Sequence[int]) -> Floats:
        selected = np.asarray(self._select(array), dtype=np.float32)
        axes = 2 if self.pooled else 3
        return selected[list(layers)] if selected.ndim == axes else selected[None]


def _selection_of(features: Features) -> Selection:
    told, names = features.metadata, features.description.names
    pool = told.get("pool", "none") if features.description.pooled else "none"
    if (found := MIX.fullmatch(told.get("mix", ""))) is not None:
        weights = tuple(map(float, found["weights"].split(",")))
        return Selection(
            mix=FixedMix(weights, float(found["gamma"]), found["norm"] is not None), pool=pool
        )
    by_name = ",".join(name.removeprefix("layer_") for name in names)
    return Selection(
        told.get("layers", by_name if features.description.layered else names[0]), pool=pool
    )

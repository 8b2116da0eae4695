"""scikit-learn transformer from documents to pooled ELMo vectors."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from elmo_cli import __version__
from elmo_cli.downstream.vector_cache import VectorCache
from elmo_cli.errors import ElmoError
from elmo_cli.inference.arguments import errors_name_arguments, tokens_of
from elmo_cli.inference.embedder_spec import EmbedderSpec
from elmo_cli.inference.in_process import EMBEDDERS, Stamp, embed_selected, file_stamp
from elmo_cli.inference.selection import POOLS, Selection, select_layers
from elmo_cli.types import Sentence

try:
    from sklearn.base import BaseEstimator, TransformerMixin
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "sklearn":
        raise
    raise ElmoError(
        "ElmoVectorizer: scikit-learn is not installed; pip install 'elmo-cli[sklearn]'"
    ) from None

Array = npt.NDArray[np.float32]
Document = str | Sequence[str]

GROUP = 4096  # documents that are embedded between two additions to the cache
FORMAT = 1  # of the cache's vectors
TABLE = "X is a table; pass one column of it (in a ColumnTransformer by its name, not by a list)"


class ElmoVectorizer(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Convert documents to fixed-size vectors: the ELMo layers of their tokens, pooled.

    A document is a string, which is split at white space, or a sequence of tokens. Its vector
    depends on the document and the settings alone, so nothing is learned by `fit`, and vectors may
    be kept in a cache (`memory`) over folds, searches and processes without a change of results.
    `elmo guide sklearn` has examples.

    Args:
        model: What `elmo embed --model` takes: a name, folder, archive or URL.
        layers: "all", "top", "average", or a list such as "0,2"; vectors of several layers are
            concatenated.
        pool: Pooling over the tokens: "mean", "max", "first" or "last".
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: Precision of the LSTMs' matrix products: "fp32", "tf32", "bf16" or "fp16".
        threads: CPU threads of a process that loads the model; None leaves them as they are.
        memory: Folder of a cache on a local disk, which several processes may share; None: no
            cache. All layers are kept, so that a search over `layers` embeds a document once.
        memory_bytes: Size of the cache, above which the oldest vectors are removed.

    Example:
        >>> from elmo_cli import ElmoVectorizer
        >>> ElmoVectorizer().fit_transform(["a string", ["or", "its", "tokens"]]).shape
        (2, 512)
    """

    def __init__(
        self,
        model: str | Path = "tiny",
        layers: str = "average",
        pool: str = "mean",
        *,
        device: str = "auto",
        precision: str = "fp32",
        threads: int | None = None,
        memory: str | Path | None = None,
        memory_bytes: int = 1 << 30,
    ) -> None:
        self.model = model
        self.layers = layers
        self.pool = pool
        self.device = device
        self.precision = precision
        self.threads = threads
        self.memory = memory
        self.memory_bytes = memory_bytes

    @errors_name_arguments
    def fit(self, X: Iterable[Document], y: Any = None) -> "ElmoVectorizer":  # noqa: N803, ANN401, ARG002  # scikit-learn's names
        """Check the settings; nothing is learned.

        Args:
            X: Documents; they are not read.
            y: Ignored.

        Returns:
            The transformer itself.

        Raises:
            ElmoError: A setting is not one that the model has.
            TypeError: X is not a sequence of documents.
        """
        self._rows()
        _check_documents(X)
        return self

    @errors_name_arguments
    def transform(self, X: Iterable[Document]) -> Array:  # noqa: N803  # scikit-learn's name
        """Return the vectors of documents.

        Args:
            X: Documents: strings or sequences of tokens.

        Returns:
            (document, feature) float32; a document without tokens has zeros.

        Raises:
            ElmoError: A token is empty, or the vectors cannot be computed.
            TypeError: X is not a sequence of documents.
        """
        rows, dim = self._rows(), self._dim
        _check_documents(X)
        documents = [_tokens(i, document) for i, document in enumerate(_listed(X))]
        vectors = np.empty((len(documents), len(rows) * dim), np.float32)
        for start in range(0, len(documents), GROUP):
            some = documents[start : start + GROUP]
            for i, layers in enumerate(self._embed(some), start=start):
                vectors[i] = layers.reshape(-1, dim)[rows].reshape(-1)
        return vectors

    @errors_name_arguments
    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:  # noqa: ANN401, ARG002  # scikit-learn's argument
        """Return the names of the features: "elmo_average_0", ..., "elmo_layer_2_511".

        Args:
            input_features: Ignored.
        """
        names, dim = Selection(self.layers).names(self._n_layers), self._dim
        return np.array([f"elmo_{name}_{i}" for name in names for i in range(dim)], dtype=object)

    @property
    def _spec(self) -> EmbedderSpec:
        return EmbedderSpec(
            model=str(self.model),
            device=self.device,
            precision=self.precision,
            threads=self.threads,
        )

    @property
    def _n_layers(self) -> int:
        return self._spec.files.config().n_output_layers

    @property
    def _dim(self) -> int:
        return self._spec.files.config().output_dim

    def _rows(self) -> list[int]:
        """Return the indices of the pooled vectors (layer 0, ..., average) that are features."""
        pools = [pool for pool in POOLS if pool != "none"]
        if self.pool not in pools:
            raise ElmoError(f"pool={self.pool!r}: not a choice; one of {', '.join(pools)}")
        n_layers = self._n_layers
        places = {
            "top": n_layers - 1,
            "average": n_layers,
            **{f"layer_{i}": i for i in range(n_layers)},
        }
        return [places[name] for name in Selection(self.layers).names(n_layers)]

    def _embed(self, documents: Sequence[list[str]]) -> Iterator[Array]:
        """Iterate over the pooled vectors of documents, each distinct document embedded once."""
        spec = self._spec
        key_of = _key_function(spec, self.pool)
        keys = [key_of(tokens) for tokens in documents]
        tokens_of = dict(zip(keys, documents, strict=True))
        cache = (
            VectorCache(Path(self.memory), self.memory_bytes) if self.memory is not None else None
        )
        found = cache.get(list(tokens_of)) if cache else {}
        missing = {key: tokens for key, tokens in tokens_of.items() if key not in found}
        if missing:
            new = _pooled(missing, spec, self.pool)
            if cache:
                cache.put(new)
            found.update(new)
        return (found[key] for key in keys)

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401  # scikit-learn has no types
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array = True, False
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _more_tags(self) -> dict[str, Any]:  # the same for scikit-learn 1.5
        return {"X_types": ["string"], "requires_fit": False, "preserves_dtype": []}


def _pooled(
    sentences: Mapping[bytes, list[str]], spec: EmbedderSpec, pool: str
) -> dict[bytes, Array]:
    """The pooled vectors of each layer and of their average, (layer + 1, dim), by key."""
    average = select_layers("average", 0)
    numbered = [Sentence(str(i), tokens, "") for i, tokens in enumerate(sentences.values())]

    def select(layers: Array) -> Array:
        return POOLS[pool](np.concatenate([layers, average(layers)[None]]))

    arrays = embed_selected(numbered, EMBEDDERS.load(spec), spec, select)
    return dict(zip(sentences, arrays, strict=True))


def _key_function(spec: EmbedderSpec, pool: str) -> Callable[[list[str]], bytes]:
    """A function from tokens to their key: a hash of model, settings and tokens."""
    device, precision = spec.place
    settings = [
        FORMAT,
        __version__,
        _model_hash(spec, file_stamp(spec)),
        device.partition(":")[0],
        precision,
        pool,
    ]
    start = hashlib.sha256(json.dumps(settings).encode())

    def key_of(tokens: list[str]) -> bytes:
        digest = start.copy()
        digest.update(json.dumps(tokens).encode())
        return digest.digest()

    return key_of


@lru_cache(maxsize=16)
def _model_hash(spec: EmbedderSpec, stamp: Stamp) -> str:  # noqa: ARG001  # changes with the files
    return f"{spec.files.sha256} {json.dumps(spec.files.options(), sort_keys=True)}"


def _check_documents(documents: Any) -> None:  # noqa: ANN401  # anything a user passes
    if isinstance(documents, str | bytes):
        raise TypeError(f"X is one {type(documents).__name__}; pass a sequence of documents")
    if hasattr(documents, "columns") or getattr(documents, "ndim", 1) != 1:
        raise TypeError(TABLE)
    if not isinstance(documents, Iterable):
        raise TypeError(f"X is of type {type(documents).__name__}; pass a sequence of documents")


def _listed(documents: Any) -> Iterable[Any]:  # noqa: ANN401  # any sequence
    """The documents as Python's objects; columns of Arrow and Polars have a method for it."""
    for method in ("to_pylist", "to_list"):
        if hasattr(documents, method):
            return list(getattr(documents, method)())
    found: Iterable[Any] = documents
    return found


def _tokens(number: int, document: Any) -> list[str]:  # noqa: ANN401  # anything a user passes
    """The tokens of a document."""
    return (
        document.split()
        if isinstance(document, str)
        else tokens_of(document, f"document {number}: ")
    )

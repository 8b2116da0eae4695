"""Trained classifiers loaded from their folder, with the interface of scikit-learn."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from elmo_cli.downstream.examples import LABEL_SETS, NUMBERS, SENTENCES
from elmo_cli.downstream.predictor_folder import (
    PredictorSettings,
    find_bilm,
    read_head,
    read_settings,
)
from elmo_cli.downstream.sentence_head import EVEN, SentenceHead
from elmo_cli.downstream.tag_schemes import convert_tags
from elmo_cli.downstream.token_head import TokenHead
from elmo_cli.errors import UsageError
from elmo_cli.features.values import check_finite
from elmo_cli.inference.arguments import errors_name_arguments, tokens_of
from elmo_cli.inference.embedder import Embedder
from elmo_cli.inference.embedder_spec import EmbedderSpec
from elmo_cli.inference.pipeline import embed_window, windows
from elmo_cli.models.cache import Cache
from elmo_cli.nn.batching import bucket_by_length
from elmo_cli.types import Array, Select, Sentence

BATCH_TOKENS, BATCH_SENTENCES = 8192, 256
Document = str | Sequence[str]
Floats = npt.NDArray[np.float32]


class TrainedHead:
    """A trained classifier of vectors: from arrays of sentences to classes and probabilities."""

    def __init__(self, settings: PredictorSettings, head: torch.nn.Module) -> None:
        self.settings = settings
        self.head = head.eval()

    def results(self, arrays: Sequence[Array], *, proba: bool) -> list[Floats]:
        """Return the results of sentences, in their order.

        Args:
            arrays: What the selection of the settings keeps of each sentence's layers.
            proba: Whether probabilities of the labels of tokens are computed; otherwise they are 0.

        Returns:
            For labels of tokens (token, 2), the number of the label and its probability; otherwise
            (label,), the probabilities, or (1,), the number; (0,) for a sentence without tokens.
        """
        if not self.settings.of_tokens:
            return self._pooled_results(arrays)
        found: dict[int, Floats] = {}
        lengths = [array.shape[-2] for array in arrays]
        for batch in bucket_by_length(lengths, BATCH_TOKENS):
            chosen = [i for i in batch if lengths[i]]
            found.update((i, np.zeros((0, 2), np.float32)) for i in batch if not lengths[i])
            if chosen:
                labels = self._token_results(
                    self._rows([arrays[i] for i in chosen]),
                    [lengths[i] for i in chosen],
                    proba=proba,
                )
                found.update(
                    zip(
                        chosen,
                        np.split(labels, np.cumsum([lengths[i] for i in chosen])[:-1]),
                        strict=True,
                    )
                )
        return [found[i] for i in range(len(arrays))]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the settings and the weights, hexadecimal."""
        digest = hashlib.sha256(repr(self.settings).encode())
        for name, value in self.head.state_dict().items():
            digest.update(name.encode() + np.ascontiguousarray(value.numpy()).tobytes())
        return digest.hexdigest()

    def label_probabilities(self, array: Array) -> Floats:
        """Return the probability of each label at each token of a sentence, (token, label)."""
        if not array.shape[-2]:
            return np.zeros((0, len(self.settings.labels)), np.float32)
        head = cast("TokenHead", self.head)
        lengths = [array.shape[-2]]
        with torch.no_grad():
            emissions = head.emissions(self._rows([array]), lengths)
        return np.asarray(head.probabilities(emissions, lengths).numpy())

    def _rows(self, arrays: Sequence[Array]) -> torch.Tensor:
        n_layers, dim = self.settings.n_layers, self.settings.dim
        return torch.from_numpy(
            np.concatenate([array.reshape(n_layers, -1, dim) for array in arrays], axis=1)
        )

    def _token_results(self, rows: torch.Tensor, lengths: Sequence[int], *, proba: bool) -> Floats:
        head = cast("TokenHead", self.head)
        with torch.no_grad():
            emissions = head.emissions(rows, lengths)
        labels = head.decode(emissions, lengths)
        # NaN where the vectors are not finite, which stops the run; 0 otherwise
        chances = emissions.sum(dim=1) * 0
        if proba:
            chances = (
                chances + head.probabilities(emissions, lengths).gather(1, labels[:, None])[:, 0]
            )
        return np.asarray(torch.stack([labels.float(), chances], dim=1).numpy())

    def _pooled_results(self, arrays: Sequence[Array]) -> list[Floats]:
        head = cast("SentenceHead", self.head)
        if not arrays:
            return []
        with torch.no_grad():
            rows = torch.from_numpy(np.stack([array.reshape(-1) for array in arrays]))
            return list(head.probabilities(head(rows)).numpy())

    def names(self, result: Floats, scheme: str | None = None) -> Any:  # noqa: ANN401  # by the task
        """Return the meaning of a result; None without tokens.

        It is a list of token labels, a label, a list of labels, or a number.

        Args:
            result: One of `results`.
            scheme: Tag scheme to write tags in; None: that of the training part.
        """
        settings = self.settings
        if settings.of_tokens:
            tags = [settings.labels[int(label)] for label in result[:, 0]]
            wanted = scheme or settings.output_scheme
            return (
                convert_tags(tags, wanted)
                if settings.scheme and wanted and wanted != settings.scheme
                else tags
            )
        if not len(result):
            return None
        if settings.task == NUMBERS:
            return float(result[0])
        if settings.task == LABEL_SETS:
            return [
                label
                for label, chance in zip(settings.labels, result, strict=True)
                if chance > EVEN
            ]
        return settings.labels[int(result.argmax())]


class Predictor:
    """A trained classifier with its biLM, which is loaded when it is first used.

    `load_predictor` makes one. A document is a string, which is split at white space, or a sequence
    of tokens; its prediction depends on the document alone.

    Args:
        trained: The classifier.
        spec: The biLM and where it runs.

    Attributes:
        classes_: Names of the labels, in the order of the columns of `predict_proba`.
        settings: What is predicted, and from which vectors.
    """

    def __init__(self, trained: TrainedHead, spec: EmbedderSpec) -> None:
        self.trained = trained
        self.settings = trained.settings
        self.spec = spec
        self.classes_ = np.array(trained.settings.labels, dtype=object)

    @cached_property
    def _steps(self) -> tuple[Select, Select]:
        return self.settings.selection.steps(self.spec.files.config().n_output_layers)

    @cached_property
    def embedder(self) -> Embedder:
        """The embedder, which keeps what the classifier needs of the layers."""
        return self.spec.build(self._steps[0])

    def select(self, array: Array) -> Array:
        """Return what the classifier takes of what the embedder has kept of a sentence's layers."""
        return self._steps[1](array)

    def embed(self, window: Sequence[Sentence]) -> list[Array]:
        """Return the vectors of a window of sentences that the classifier takes.

        Raises:
            ElmoError: They are not finite, or memory is insufficient.
        """
        found = embed_window(
            window, self.embedder, self.spec.max_batch_tokens(self.spec.files.config())
        )
        arrays = [self.select(array) for array in found]
        check_finite(window, arrays)
        return arrays

    @errors_name_arguments
    def predict(self, X: Iterable[Document]) -> Any:  # noqa: N803, ANN401  # scikit-learn's name; by the task
        """Return the predictions of documents.

        Args:
            X: Documents: strings or sequences of tokens.

        Returns:
            An array (document,) of labels or numbers; for labels of tokens and sets of labels a
            list of lists.

        Raises:
            ElmoError: A token is empty, or the vectors cannot be computed.
            TypeError: X is not a sequence of documents.
        """
        results = (
            result
            for window in self._windows(X)
            for result in self.trained.results(self.embed(window), proba=False)
        )
        found = [self.trained.names(result) for result in results]
        if self.settings.task == NUMBERS:
            return np.array(found, dtype=np.float64)
        return np.array(found, dtype=object) if self.settings.task == SENTENCES else found

    @errors_name_arguments
    def predict_proba(self, X: Iterable[Document]) -> Any:  # noqa: N803, ANN401  # scikit-learn's name; by the task
        """Return the probabilities of the labels of documents.

        Args:
            X: Documents: strings or sequences of tokens.

        Returns:
            An array (document, label) float32; for labels of tokens a list of arrays (token,
            label).

        Raises:
            ElmoError: As `predict`; or the classifier predicts numbers.
            TypeError: X is not a sequence of documents.
        """
        if self.settings.task == NUMBERS:
            raise UsageError("predict_proba: a regression has no probabilities; call predict")
        arrays = (array for window in self._windows(X) for array in self.embed(window))
        if self.settings.of_tokens:
            return list(map(self.trained.label_probabilities, arrays))
        found = [self.trained.results([array], proba=True)[0] for array in arrays]
        return np.stack(found) if found else np.zeros((0, len(self.classes_)), np.float32)

    def score(self, X: Iterable[Document], y: Sequence[Any]) -> float:  # noqa: N803  # scikit-learn's name
        """Return the accuracy on documents, or R2 of numbers.

        If tokens are labelled, it is the share of tokens.

        Args:
            X: Documents.
            y: Their labels, of the form that `predict` returns.
        """
        found = self.predict(X)
        if self.settings.task == NUMBERS:
            gold = np.asarray(y, dtype=np.float64)
            return float(1 - ((gold - found) ** 2).sum() / ((gold - gold.mean()) ** 2).sum())
        pairs = list(zip(found, y, strict=True))
        if self.settings.of_tokens:
            pairs = [pair for labels, gold in pairs for pair in zip(labels, gold, strict=True)]
        if self.settings.task == LABEL_SETS:
            pairs = [(set(labels), set(gold)) for labels, gold in pairs]
        return float(np.mean([one == other for one, other in pairs]))

    def _windows(self, documents: Any) -> Iterator[list[Sentence]]:  # noqa: ANN401  # anything a user passes
        if (
            isinstance(documents, str | bytes)
            or not isinstance(documents, Iterable)
            or hasattr(documents, "columns")
        ):
            raise TypeError(
                f"X is of type {type(documents).__name__}; pass a sequence of documents"
            )
        sentences = (
            Sentence(str(i), _tokens(i, document), "") for i, document in enumerate(documents)
        )
        return windows(sentences, self.spec.max_window_tokens)


def _tokens(number: int, document: Any) -> list[str]:  # noqa: ANN401  # anything a user passes
    return (
        document.split()
        if isinstance(document, str)
        else tokens_of(document, f"document {number}: ")
    )


@errors_name_arguments
def load_predictor(
    folder: str | Path,
    *,
    model: str | Path | None = None,
    device: str = "auto",
    precision: str = "fp32",
    threads: int | None = None,
    cache: Cache | None = None,
) -> Predictor:
    """Load a classifier that `elmo fit` has trained.

    Args:
        folder: Its folder.
        model: Folder of its biLM, where that is neither inside nor known by its name.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: Precision of the LSTMs' matrix products: "fp32", "tf32", "bf16" or "fp16".
        threads: CPU threads of the process; None leaves them as they are.
        cache: Cache of downloaded models.

    Returns:
        The classifier; its biLM is loaded when it is first used.

    Raises:
        ElmoError: The folder is not one that `elmo fit` has made, or its biLM is not on this
            machine.

    Example:
        >>> load_predictor("intents/").predict(["where is my card ?"])  # doctest: +SKIP
        array(['card_arrival'], dtype=object)
    """
    folder = Path(folder)
    settings = read_settings(folder)
    head = read_head(folder, settings)
    files = find_bilm(folder, settings, None if model is None else str(model), cache)
    return Predictor(
        TrainedHead(settings, head),
        EmbedderSpec(files, device=device, precision=precision, threads=threads),
    )

"""Similarity search in a feature file."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from elmo_cli.downstream.hits import Hit
from elmo_cli.downstream.kept import default_label_column, label_of
from elmo_cli.downstream.query import Query, QueryEmbedder
from elmo_cli.downstream.sentence_search import SentenceIndex, search_layers, sentence_hits
from elmo_cli.downstream.word_search import WordIndex, word_hits, word_layers
from elmo_cli.features.reader import Features


@dataclass(frozen=True)
class SearchOptions:
    """Options of a search."""

    size: int = 10
    layers: tuple[int, ...] | None = None
    raw: bool = False
    any_word: bool = False
    label: str | None = None  # a kept column; None: the one named "label", or the only one


@dataclass
class Searcher:
    """Search in one feature file, with cached indexes.

    Args:
        features: The open file.
        embedder: Embedder of the queries.
        options: Options of the search.
    """

    features: Features
    embedder: QueryEmbedder
    options: SearchOptions
    _sentences: SentenceIndex | None = None
    _words: dict[str | None, WordIndex] = field(default_factory=dict)

    def search(self, queries: Sequence[Query]) -> list[list[Hit]]:
        """Return the hits of each query, best first.

        Raises:
            FeaturesError: A bracketed word does not occur, or a requested layer or column is
                missing.
        """
        found: dict[int, list[Hit]] = {}
        groups: dict[tuple[bool, str | None], list[int]] = {}
        for i, query in enumerate(queries):
            word = (
                query.word.casefold()
                if query.position is not None and not self.options.any_word
                else None
            )
            groups.setdefault((query.position is None, word), []).append(i)
        for (of_sentences, word), members in groups.items():
            chosen = [queries[i] for i in members]
            hits = (
                self._search_sentences(chosen) if of_sentences else self._search_word(chosen, word)
            )
            found.update(zip(members, hits, strict=True))
        return [found[i] for i in range(len(queries))]

    def _label_column(self) -> str | None:
        return self.options.label or default_label_column(self.features)

    def _search_sentences(self, queries: Sequence[Query]) -> list[list[Hit]]:
        layers = search_layers(self.features, self.options.layers)
        if self._sentences is None:
            self._sentences = SentenceIndex(self.features, layers, raw=self.options.raw)
        vectors = [self._mean(array) for array in self.embedder.embed(queries, layers)]
        best = self._sentences.search(np.stack(vectors, axis=1), self.options.size)
        label = label_of(self.features, self._label_column())
        return [sentence_hits(self.features, best.rows(i), label) for i in range(len(queries))]

    def _mean(self, array: np.ndarray) -> np.ndarray:
        return array if self.features.description.pooled else array.mean(axis=1, dtype=np.float32)

    def _search_word(self, queries: Sequence[Query], word: str | None) -> list[list[Hit]]:
        layers = word_layers(self.features, self.options.layers)
        if word not in self._words:
            self._words = {word: WordIndex(self.features, layers, word, raw=self.options.raw)}
        vectors = [
            array[:, query.position]
            for query, array in zip(queries, self.embedder.embed(queries, layers), strict=True)
        ]
        label = label_of(self.features, self._label_column())
        return [
            word_hits(self.features, rows, label)
            for rows in self._words[word].search(np.stack(vectors, axis=1), self.options.size)
        ]

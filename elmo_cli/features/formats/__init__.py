"""Layouts of features, one a file, each written and read there. A new layout is a file here and its line in STORES."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from elmo_cli.errors import OutputError
from elmo_cli.features.formats.allennlp import AllennlpReader, AllennlpWriter
from elmo_cli.features.formats.arrow import ArrowWriter, open_arrow
from elmo_cli.features.formats.e2e_coref import CorefReader, CorefWriter, document_of
from elmo_cli.features.formats.jsonl import JsonLinesReader, JsonLinesWriter
from elmo_cli.features.formats.npy import NpyReader, NpyStore
from elmo_cli.features.formats.npz import NpzReader, NpzWriter
from elmo_cli.features.formats.npz_arrays import NpzArraysReader, NpzArraysStore
from elmo_cli.features.formats.packed import PackedReader, PackedWriter
from elmo_cli.features.formats.parquet import ParquetWriter, open_parquet
from elmo_cli.features.formats.word2vec import Word2VecReader, Word2VecStore, check_one_vector
from elmo_cli.features.layouts import NEED_TOKENS, POOLED, WITHOUT_KEYS, is_folder
from elmo_cli.features.protocols import FeatureReader, FeatureWriter
from elmo_cli.features.spec import FeatureSpec, WriteOptions, name_of
from elmo_cli.io.output_file import OutputFile, OutputTarget
from elmo_cli.io.output_folder import OutputFolder
from elmo_cli.io.stdout import STDOUT, Stdout
from elmo_cli.types import Sentence


class Layout(NamedTuple):
    """How a layout is written and read, and what it costs in bytes beside its values (measured)."""

    store: Callable[[Any, FeatureSpec, WriteOptions], FeatureWriter]
    open: Callable[[Path], FeatureReader]
    of_sentence: int
    of_token: int
    of_text: float  # for each byte of the sentences' text
    of_value: float = 1.0  # for each byte of the values
    most_vectors: int = 1 << 62


STORES = {
    "allennlp": Layout(AllennlpWriter, AllennlpReader, 375, 0, 2),  # the map is written twice: first beside the file
    "packed": Layout(PackedWriter, PackedReader, 80, 48, 1),
    "e2e-coref": Layout(CorefWriter, CorefReader, 1200, 0, 1),
    "parquet": Layout(ParquetWriter, open_parquet, 60, 8, 1),
    "npz": Layout(NpzWriter, NpzReader, 64, 16, 2, 2.0),  # all is written twice: first beside the file
    "arrays": Layout(NpzArraysStore, NpzArraysReader, 320, 8, 4),  # a sentence is named twice
    "arrow": Layout(ArrowWriter, open_arrow, 64, 24, 2),
    "jsonl": Layout(JsonLinesWriter, JsonLinesReader, 120, 16, 2, 3.5),  # a number takes up to 15 characters
    "word2vec": Layout(Word2VecStore, Word2VecReader, 0, 1, 1, 4.0, 1 << 22),  # a vector a word type, of which no corpus has more
    "npy": Layout(NpyStore, NpyReader, 0, 0, 0),
}


def open_writer(layout: str, place: OutputTarget, description: FeatureSpec, options: WriteOptions) -> FeatureWriter:
    """The store of a layout, to be used in a `with` block."""
    return STORES[layout].store(place, description, options)


def check_description(layout: str, description: FeatureSpec) -> None:
    """Make sure that a layout can hold such arrays.

    Raises:
        OutputError: It cannot.
    """
    if layout == "word2vec":
        check_one_vector(description)
    if layout in POOLED and not description.pooled:
        raise OutputError(f"{layout} holds one vector a sentence, and there is one a token; write .npz --layout arrays, or another layout")


def warnings_of(store: FeatureWriter) -> list[str]:
    """Return what a store has changed, in words for the user; most change nothing."""
    found: list[str] = getattr(store, "warnings", [])
    return found


def check_name(sentence: Sentence, layout: str, options: WriteOptions) -> None:
    """Make sure that a layout has a name for a sentence, and the tokens that it needs.

    Raises:
        OutputError: It is called by its id, and has none; or its tokens are not known.
    """
    if layout == "e2e-coref":
        document_of(sentence)
    elif layout not in WITHOUT_KEYS:
        name_of(sentence, options.keys)
    if layout in NEED_TOKENS and sentence.tokens and not any(sentence.tokens):
        raise OutputError(f"{layout} needs words, and the source does not hold the tokens of its sentences; write another layout")


def estimate_bytes(layout: str, description: FeatureSpec, sentences: int, tokens: int, text_bytes: int) -> int:
    """Size of the output for such a corpus, at most: nothing is taken off for compression."""
    costs = STORES[layout]
    vectors = min(costs.most_vectors, len(description.names) * (sentences if description.pooled else tokens))
    values = vectors * description.dim * np.dtype(description.dtype).itemsize
    return int(values * costs.of_value + sentences * costs.of_sentence + tokens * costs.of_token + text_bytes * costs.of_text)


def output_target(path: Path, layout: str, *, overwrite: bool = False) -> OutputTarget:
    """The place that a path means for a layout."""
    if path == STDOUT:
        return Stdout()
    return OutputFolder(path, overwrite) if is_folder(path, layout) else OutputFile(path, overwrite)

"""Formats of feature files: `FORMATS` records their capabilities and the location of their code.

To add a format, write three things: a module in this package with a writer and a reader
(`FeatureWriter` and `FeatureReader` in features/protocols.py), an entry in `FORMATS`, and a test of
its particular properties; tests/features/test_formats.py tests the contract for all of `FORMATS`.
No module outside this package compares a format's name: it reads a field of `Format` instead.

The table is plain data, since the options of the command line are made from it: h5py, pyarrow and
the modules of the formats are imported when a file is written or read.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

TOKENS, NAMES, METADATA, COLUMNS = "tokens", "names", "metadata", "columns"
TOKEN, SENTENCE, WORD_TYPE = "token", "sentence", "word type"  # units of text


@dataclass(frozen=True)
class Costs:
    """Bytes of a file in addition to its values, without compression (measured)."""

    per_sentence: int = 0
    per_token: int = 0
    per_text_byte: float = 0
    per_value_byte: float = 1.0
    max_vectors: int = 1 << 62


@dataclass(frozen=True)
class Format:
    """Capabilities of a format of feature files, and the location of its code.

    An implementer of a format writes one entry of this type. `name`, `file_format`, `suffixes`,
    `writer`, `reader` and `costs` are required; the file is detected by `starts` or `detect`.

    Attributes:
        name: `Features.layout`, and the name of the format in messages.
        file_format: Its value of `--output-format`. Several formats may share one, such as HDF5's;
            `--layout` then chooses by name, and the first in FORMATS is the default.
        title: The file format in messages; without one, `file_format`.
        suffixes: Of file names, the usual one first.
        writer: "module:function" in this package: the function takes an OutputTarget, a FeatureSpec
            and WriteOptions, and returns a context manager of a FeatureWriter.
        reader: "module:function": the function takes a path and returns a FeatureReader.
        costs: Sizes, for the check of the disk before a run.
        starts: First bytes, any of which identifies the format.
        detect: "module:function": the function takes a path and the first bytes of the file, and
            returns the name of the format or None; formats with the same start share one.
        find_problems: "module:function": the function takes a path and yields a
            description of each missing or damaged part that reading all sentences does not find.
        check_sentence: "module:function": raises OutputError for a sentence that the format cannot
            name; without one, `--keys` decides the names.
        compressions: Codecs, the default first.
        vectors: Units that have a vector: TOKEN, SENTENCE (pooled), or WORD_TYPE.
        keeps: Which of TOKENS, NAMES, METADATA and COLUMNS (of the input) the file contains.
        default_keys: Names of the sentences without `--keys`; "auto" is the id if there is one.
        default_layers: `--layers` if it is not given.
        corpus_format: The reader of corpora that reads the columns, if the format's own does not.
        streams: Whether it can be written to standard output.
        makes_folders: Whether a path without one of its suffixes is a folder of shards.
        token_rows: Whether a row can be a token.
        layer_axis: Whether several layers of one token can be stored.
        distinguishes_unknown_tokens: Whether tokens that the source does not contain stay unknown;
            elsewhere they become empty.
        sandboxed: Whether a damaged file can crash the library that reads it.
    """

    name: str
    file_format: str
    suffixes: tuple[str, ...]
    writer: str
    reader: str
    costs: Costs
    title: str = ""
    starts: tuple[bytes, ...] = ()
    detect: str = ""
    find_problems: str = ""
    check_sentence: str = ""
    compressions: tuple[str, ...] = ("none", "gzip")
    vectors: tuple[str, ...] = (TOKEN, SENTENCE)
    keeps: tuple[str, ...] = (TOKENS, NAMES, METADATA)
    default_keys: str = "auto"
    default_layers: str = "all"
    corpus_format: str = ""
    streams: bool = False
    makes_folders: bool = False
    token_rows: bool = False
    layer_axis: bool = True
    distinguishes_unknown_tokens: bool = False
    sandboxed: bool = False


_HDF5: dict[str, Any] = {
    "file_format": "hdf5",
    "title": "HDF5",
    "suffixes": (".h5", ".hdf5"),
    "detect": "_hdf5:detect",
    "sandboxed": True,
}
_TABLE: dict[str, Any] = {
    "keeps": (TOKENS, NAMES, METADATA, COLUMNS),
    "token_rows": True,
    "sandboxed": True,
}
_NPZ: dict[str, Any] = {"file_format": "npz", "suffixes": (".npz",), "detect": "npz_arrays:detect"}

_FORMATS = (
    Format(
        "allennlp",
        writer="allennlp:open_writer",
        reader="allennlp:AllennlpReader",
        costs=Costs(375, 0, 2),  # the map is written twice: first to a temporary file
        default_keys="number",
        distinguishes_unknown_tokens=True,
        **_HDF5,
    ),
    Format(
        "packed",
        writer="packed:open_writer",
        reader="packed:PackedReader",
        costs=Costs(80, 48, 1),
        **_HDF5,
    ),
    Format(
        "e2e-coref",
        writer="e2e_coref:open_writer",
        reader="e2e_coref:CorefReader",
        costs=Costs(1200, 0, 1),
        check_sentence="e2e_coref:document_of",
        vectors=(TOKEN,),
        keeps=(NAMES, METADATA),
        **_HDF5,
    ),
    Format(
        "parquet",
        file_format="parquet",
        suffixes=(".parquet",),
        writer="parquet:ParquetWriter",
        reader="parquet:open_parquet",
        costs=Costs(60, 8, 1),
        starts=(b"PAR1",),
        find_problems="parquet:find_missing",
        compressions=("zstd", "gzip", "none"),
        makes_folders=True,
        **_TABLE,
    ),
    Format(
        "npz",
        writer="npz:open_writer",
        reader="npz:NpzReader",
        costs=Costs(64, 16, 2, 2.0),  # everything is written twice: first to temporary files
        find_problems="npz:find_damaged_members",
        **_NPZ,
    ),
    Format(
        "arrays",
        writer="npz_arrays:open_writer",
        reader="npz_arrays:NpzArraysReader",
        costs=Costs(320, 8, 4),  # the name of a sentence is written twice
        **_NPZ,
    ),
    Format(
        "arrow",
        file_format="arrow",
        suffixes=(".arrow", ".feather", ".arrows"),
        writer="arrow:open_writer",
        reader="arrow:open_arrow",
        costs=Costs(64, 24, 2),
        starts=(b"ARROW1", b"\xff\xff\xff\xff"),
        compressions=("none", "zstd"),
        streams=True,
        **_TABLE,
    ),
    Format(
        "jsonl",
        file_format="jsonl",
        title="JSON Lines",
        suffixes=(".jsonl", ".ndjson"),
        writer="jsonl:open_writer",
        reader="jsonl:JsonLinesReader",
        costs=Costs(120, 16, 2, 3.5),  # a number takes up to 15 characters
        detect="jsonl:detect",
        compressions=("none",),
        keeps=(TOKENS, NAMES, COLUMNS),
        corpus_format="jsonl",
        streams=True,
    ),
    Format(
        "word2vec",
        file_format="word2vec",
        suffixes=(".vec", ".txt"),
        writer="word2vec:open_writer",
        reader="word2vec:Word2VecReader",
        costs=Costs(0, 1, 1, 4.0, 1 << 22),  # no corpus has more word types
        detect="word2vec:detect",
        compressions=("none",),
        vectors=(WORD_TYPE,),
        keeps=(TOKENS,),
        default_layers="0",
        layer_axis=False,
    ),
    Format(
        "npy",
        file_format="npy",
        title=".npy",
        suffixes=(".npy",),
        writer="npy:open_writer",
        reader="npy:NpyReader",
        costs=Costs(),
        starts=(b"\x93NUMPY",),
        compressions=("none",),
        vectors=(SENTENCE,),
        keeps=(),
    ),
)
FORMATS = {form.name: form for form in _FORMATS}
FILE_FORMATS = tuple(dict.fromkeys(form.file_format for form in _FORMATS))  # --output-format
LAYOUTS = tuple(form.name for form in _FORMATS if form.name not in FILE_FORMATS)  # --layout
DEFAULT = _FORMATS[0]  # of a name without a suffix


def load(place: str) -> Any:  # noqa: ANN401  # any function of a format
    """Import and return the function or class that a field of `Format` names."""
    module, name = place.split(":")
    return getattr(import_module(f"{__package__}.{module}"), name)


def formats_of(file_format: str) -> list[Format]:
    """Return the formats that share a file format, its default first."""
    return [form for form in _FORMATS if form.file_format == file_format]

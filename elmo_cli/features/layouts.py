"""What the output can be, as data: formats by name and by suffix, and which options belong to which layout."""

from pathlib import Path

from elmo_cli.errors import UsageError
from elmo_cli.io.stdout import STDOUT

SUFFIXES = {  # of each format; the first is its own name for it
    "hdf5": (".h5", ".hdf5"),
    "parquet": (".parquet",),
    "npz": (".npz",),
    "arrow": (".arrow", ".feather", ".arrows"),
    "jsonl": (".jsonl", ".ndjson"),
    "word2vec": (".vec", ".txt"),
    "npy": (".npy",),
}
FORMATS = tuple(SUFFIXES)
LAYOUTS = {  # of a format that has several, its default first; of the others it is the format's own name
    "hdf5": ("allennlp", "packed", "e2e-coref"),
    "npz": ("npz", "arrays"),
}
NAMED_LAYOUTS = ("allennlp", "packed", "e2e-coref", "arrays")  # what --layout takes
COMPRESSIONS = {  # of each layout, its default first
    "allennlp": ("none", "gzip"),
    "packed": ("none", "gzip"),
    "e2e-coref": ("none", "gzip"),
    "parquet": ("zstd", "gzip", "none"),
    "npz": ("none", "gzip"),
    "arrays": ("none", "gzip"),
    "arrow": ("none", "zstd"),
    "jsonl": ("none",),
    "word2vec": ("none",),
    "npy": ("none",),
}
STREAMS = ("arrow", "jsonl")  # can be written to standard output
TABLES = ("parquet", "arrow")  # can have a row a token
KEEPERS = ("parquet", "arrow", "jsonl")  # can carry columns of the input over
OF_TOKENS = ("e2e-coref", "word2vec")  # have no place for one vector a sentence
POOLED = ("npy",)  # have one vector a sentence
DEFAULT_LAYERS = {"word2vec": "0"}  # where it is not "all"
WITHOUT_METADATA = {"jsonl": "JSON Lines", "word2vec": "word2vec", "npy": ".npy"}
NEED_TOKENS = ("word2vec",)
WITHOUT_TOKENS = ("e2e-coref", "npy")
WITHOUT_KEYS = ("word2vec", "npy")  # do not name sentences
KEYS = ("number", "id", "sentence")
ROWS = ("sentence", "token")
POOLS = ("none", "mean", "max", "mean+max", "first", "last")
DTYPES = ("float32", "float16")


def choose_layout(path: Path, output_format: str | None, layout: str | None) -> str:
    """Return the layout that a path, a format and one of its layouts ask for together. A name without a suffix is HDF5.

    Args:
        path: The output.
        output_format: One of FORMATS, which goes before a suffix that no format has.
        layout: One of NAMED_LAYOUTS.

    Raises:
        UsageError: They contradict one another, no format has the suffix, or the format cannot be written there.
    """
    by_suffix = next((name for name, suffixes in SUFFIXES.items() if path.suffix.lower() in suffixes), None)
    by_layout = next((name for name, layouts in LAYOUTS.items() if layout in layouts), None)
    if output_format and by_suffix and output_format != by_suffix:
        raise UsageError(f"--output-format {output_format} and the name {path} ({by_suffix}) contradict each other; change one of them.")
    chosen = output_format or by_suffix or by_layout
    if chosen is None and path.suffix:
        raise UsageError(f"{path}: no output format has the suffix {path.suffix}; name a file that ends in {_suffixes()}; {_choice()}.")
    chosen = chosen or "hdf5"
    if by_layout and chosen != by_layout:
        owner, example = {"hdf5": "HDF5"}.get(by_layout, by_layout), f"out{SUFFIXES[by_layout][0]}"
        raise UsageError(
            f"--layout {layout} is one of {owner}'s, and the output is {chosen}; leave it out, or name a file such as {example}."
        )
    if path == STDOUT and chosen not in STREAMS:
        raise UsageError(f"-: {'HDF5' if chosen == 'hdf5' else chosen} cannot be written to standard output; {_remedy()}")
    return layout or LAYOUTS.get(chosen, (chosen,))[0]


def _suffixes() -> str:
    return ", ".join(f"{' or '.join(suffixes)} ({name})" for name, suffixes in SUFFIXES.items())


def _choice() -> str:
    return f"or pass --output-format, which takes {', '.join(FORMATS)}"


def _remedy() -> str:
    return f"name a file, or pass --output-format {' or '.join(STREAMS)}."


def is_folder(path: Path, layout: str) -> bool:
    """Whether the output is a folder of shards: Parquet under any name but FILE.parquet."""
    return layout == "parquet" and path.suffix.lower() not in SUFFIXES["parquet"]


def check_options(
    path: Path, layout: str, *, compression: str | None, rows: str, shard_tokens: int | None, pool: str | None, keys: str | None
) -> None:
    """Make sure that a layout takes its options; `pool` is None where the source decides it.

    Raises:
        UsageError: It does not take one of them.
    """
    if compression and compression not in COMPRESSIONS[layout]:
        raise UsageError(f"--compression {compression} is not for {layout}, which takes {' or '.join(COMPRESSIONS[layout])}.")
    if rows == "token" and layout not in TABLES:
        raise UsageError(f"--rows token is for {' and '.join(TABLES)}, and the output is {layout}.")
    if rows == "token" and pool not in (None, "none"):
        raise UsageError("--rows token and --pool contradict each other: a pooled sentence has no rows for its tokens.")
    if layout in OF_TOKENS and pool not in (None, "none"):
        raise UsageError(f"{layout} and --pool contradict each other: the layout holds tokens.")
    if layout in POOLED and pool == "none":
        raise UsageError(
            f"{path}: {layout} holds one vector a sentence; pass --pool mean (max, first, last), or write .npz --layout arrays."
        )
    if layout in WITHOUT_KEYS and keys:
        raise UsageError(f"--keys {keys} is not for {layout}, which does not name sentences.")
    if shard_tokens and not is_folder(path, layout):
        raise UsageError("--shard-tokens is for a folder of Parquet files; name one, with --output-format parquet.")

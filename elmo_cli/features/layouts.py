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
}
FORMATS = tuple(SUFFIXES)
HDF5_LAYOUTS = ("allennlp", "packed", "e2e-coref")
COMPRESSIONS = {  # of each layout, its default first
    "allennlp": ("none", "gzip"),
    "packed": ("none", "gzip"),
    "e2e-coref": ("none", "gzip"),
    "parquet": ("zstd", "gzip", "none"),
    "npz": ("none", "gzip"),
    "arrow": ("none", "zstd"),
    "jsonl": ("none",),
}
STREAMS = ("arrow", "jsonl")  # can be written to standard output
TABLES = ("parquet", "arrow")  # can have a row a token
KEEPERS = ("parquet", "arrow", "jsonl")  # can carry columns of the input over
KEYS = ("number", "id", "sentence")
ROWS = ("sentence", "token")
POOLS = ("none", "mean", "max", "mean+max", "first", "last")
DTYPES = ("float32", "float16")


def choose_layout(path: Path, output_format: str | None, layout: str | None) -> str:
    """The layout that a path, a format and an HDF5 layout ask for together. A name without a suffix that is known is HDF5, as ever.

    Raises:
        UsageError: They contradict one another, or the format cannot be written there.
    """
    by_suffix = next((name for name, suffixes in SUFFIXES.items() if path.suffix.lower() in suffixes), None)
    if output_format and by_suffix and output_format != by_suffix:
        raise UsageError(f"--output-format {output_format} and the name {path} ({by_suffix}) contradict each other; change one of them.")
    chosen = output_format or by_suffix or "hdf5"
    if layout and chosen != "hdf5":
        raise UsageError(f"--layout {layout} is one of HDF5's, and the output is {chosen}; leave it out, or name a file such as out.h5.")
    if path == STDOUT and chosen not in STREAMS:
        raise UsageError(f"-: {'HDF5' if chosen == 'hdf5' else chosen} cannot be written to standard output; {_remedy()}")
    return (layout or "allennlp") if chosen == "hdf5" else chosen


def _remedy() -> str:
    return f"name a file, or pass --output-format {' or '.join(STREAMS)}."


def is_folder(path: Path, layout: str) -> bool:
    """Whether the output is a folder of shards: Parquet under any name but FILE.parquet."""
    return layout == "parquet" and path.suffix.lower() not in SUFFIXES["parquet"]


def check_options(path: Path, layout: str, *, compression: str | None, rows: str, shard_tokens: int | None, pool: str) -> None:
    """Make sure that a layout takes its options.

    Raises:
        UsageError: It does not take one of them.
    """
    if compression and compression not in COMPRESSIONS[layout]:
        raise UsageError(f"--compression {compression} is not for {layout}, which takes {' or '.join(COMPRESSIONS[layout])}.")
    if rows == "token" and layout not in TABLES:
        raise UsageError(f"--rows token is for {' and '.join(TABLES)}, and the output is {layout}.")
    if rows == "token" and pool != "none":
        raise UsageError("--rows token and --pool contradict each other: a pooled sentence has no rows for its tokens.")
    if layout == "e2e-coref" and pool != "none":
        raise UsageError("--layout e2e-coref and --pool contradict each other: the layout holds tokens.")
    if shard_tokens and not is_folder(path, layout):
        raise UsageError("--shard-tokens is for a folder of Parquet files; name one, with --output-format parquet.")

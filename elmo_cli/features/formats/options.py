"""Choice of a feature format by path and options, and the check of the options that it takes."""

from pathlib import Path

from elmo_cli.errors import UsageError
from elmo_cli.features.formats.registry import (
    DEFAULT,
    FILE_FORMATS,
    FORMATS,
    NAMES,
    SENTENCE,
    Format,
    formats_of,
)
from elmo_cli.io.stdout import STDOUT

STREAMS = tuple(dict.fromkeys(form.file_format for form in FORMATS.values() if form.streams))
TABLES = tuple(form.name for form in FORMATS.values() if form.token_rows)


def choose_format(path: Path, output_format: str | None, layout: str | None) -> Format:
    """Return the format that a path and two options select together.

    Args:
        path: Path of the output. A name without a suffix is HDF5.
        output_format: One of FILE_FORMATS, which takes precedence over an unknown suffix.
        layout: One of LAYOUTS.

    Returns:
        The format.

    Raises:
        UsageError: They contradict each other, no format has the suffix, or the format cannot be
            written to standard output.
    """
    forms = FORMATS.values()
    suffix = path.suffix.lower()
    by_suffix = next((form.file_format for form in forms if suffix in form.suffixes), None)
    by_layout = FORMATS[layout] if layout else None
    if output_format and by_suffix and output_format != by_suffix:
        raise UsageError(
            f"--output-format {output_format} and the name {path} ({by_suffix}) contradict each "
            "other; change one of them."
        )
    chosen = output_format or by_suffix or (by_layout.file_format if by_layout else None)
    if chosen is None and suffix:
        raise UsageError(
            f"{path}: no output format has the suffix {path.suffix}; name a file that ends in "
            f"{_suffixes()}; "
            f"or pass --output-format, which takes {', '.join(FILE_FORMATS)}."
        )
    form = formats_of(chosen or DEFAULT.file_format)[0]
    if by_layout and form.file_format != by_layout.file_format:
        raise UsageError(
            f"--layout {layout} is one of {_title(by_layout)}'s, and the output is {chosen}; "
            f"leave it out, or name a file such as out{by_layout.suffixes[0]}."
        )
    if path == STDOUT and not form.streams:
        raise UsageError(
            f"-: {_title(form)} cannot be written to standard output; name a file, or pass "
            f"--output-format {' or '.join(STREAMS)}."
        )
    return by_layout or form


def _title(form: Format) -> str:
    return form.title or form.file_format


def _suffixes() -> str:
    forms = (formats_of(name)[0] for name in FILE_FORMATS)
    return ", ".join(f"{' or '.join(form.suffixes)} ({form.file_format})" for form in forms)


def is_folder(path: Path, form: Format) -> bool:
    """Return whether the output is a folder of shards: any path without a suffix of the format."""
    return form.makes_folders and path.suffix.lower() not in form.suffixes


def check_options(
    path: Path,
    form: Format,
    *,
    compression: str | None,
    rows: str,
    shard_tokens: int | None,
    pool: str | None,
    keys: str | None,
) -> None:
    """Check that a format supports its options.

    Args:
        path: Path of the output.
        form: The format.
        compression: One of the format's codecs.
        rows: "sentence" or "token".
        shard_tokens: Tokens in a shard.
        pool: One of POOLS; None if the source decides it.
        keys: One of KEYS.

    Raises:
        UsageError: It does not support one of them.
    """
    name = form.name
    if compression and compression not in form.compressions:
        raise UsageError(
            f"--compression {compression} is not for {name}, which supports "
            f"{' or '.join(form.compressions)}."
        )
    if rows == "token" and not form.token_rows:
        raise UsageError(f"--rows token is for {' and '.join(TABLES)}, and the output is {name}.")
    if rows == "token" and pool not in (None, "none"):
        raise UsageError(
            "--rows token and --pool contradict each other: a pooled sentence has no rows for its "
            "tokens."
        )
    if SENTENCE not in form.vectors and pool not in (None, "none"):
        raise UsageError(f"{name} and --pool contradict each other: the layout contains tokens.")
    if form.vectors == (SENTENCE,) and pool == "none":
        raise UsageError(
            f"{path}: {name} contains one vector per sentence; pass --pool mean (max, first, "
            "last), or write .npz --layout arrays."
        )
    if NAMES not in form.keeps and keys:
        raise UsageError(f"--keys {keys} is not for {name}, which does not name sentences.")
    if shard_tokens and not is_folder(path, form):
        raise UsageError(
            "--shard-tokens is for a folder of Parquet files; name one, with --output-format "
            "parquet."
        )

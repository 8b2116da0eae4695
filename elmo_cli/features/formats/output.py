"""Writers of feature files of any format, with their checks and the estimate of the size."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from elmo_cli.errors import OutputError
from elmo_cli.features.formats.options import is_folder
from elmo_cli.features.formats.registry import FORMATS, NAMES, SENTENCE, WORD_TYPE, load
from elmo_cli.features.protocols import FeatureWriter
from elmo_cli.features.spec import FeatureSpec, WriteOptions, name_of
from elmo_cli.io.atomic import writing_errors
from elmo_cli.io.output_file import OutputFile, OutputTarget
from elmo_cli.io.output_folder import OutputFolder
from elmo_cli.io.stdout import STDOUT, Stdout
from elmo_cli.types import Array, Sentence

_NO_OPTIONS = WriteOptions()


@contextmanager
def open_writer(
    layout: str, output: OutputTarget, spec: FeatureSpec, options: WriteOptions = _NO_OPTIONS
) -> Iterator[FeatureWriter]:
    """Open a writer of a format; the output appears when the block ends, and not if it fails.

    Args:
        layout: Name of the format, one of FORMATS.
        output: Where the output goes.
        spec: Layers, dimension and type of the arrays, and the metadata.
        options: Keys, compression and rows.

    Yields:
        The writer.

    Raises:
        DiskError: The output cannot be written.
        OutputError: The format cannot contain such features.
    """
    opened = load(FORMATS[layout].writer)(output, spec, options)
    with writing_errors(output.path):
        writer = opened.__enter__()
    try:
        yield _ReportingWriter(writer, output.path)
    except BaseException as error:
        with writing_errors(output.path):
            opened.__exit__(type(error), error, error.__traceback__)
        raise
    with writing_errors(output.path):
        opened.__exit__(None, None, None)


class _ReportingWriter:
    """Writer that converts errors of the system to a DiskError."""

    def __init__(self, writer: FeatureWriter, path: Path) -> None:
        self._writer = writer
        self._path = path

    @property
    def skipped_duplicates(self) -> int:
        return self._writer.skipped_duplicates

    @property
    def warnings(self) -> list[str]:
        found: list[str] = getattr(self._writer, "warnings", [])
        return found

    def write(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        with writing_errors(self._path):
            self._writer.write(window, arrays)


def warnings_of(writer: FeatureWriter) -> list[str]:
    """Return descriptions of what a writer has changed; most writers change nothing."""
    found: list[str] = getattr(writer, "warnings", [])
    return found


def check_spec(layout: str, spec: FeatureSpec) -> None:
    """Check that a format can contain such arrays.

    Args:
        layout: Name of the format.
        spec: Layers, and whether the arrays are pooled.

    Raises:
        OutputError: It cannot contain them.
    """
    form = FORMATS[layout]
    unit = "word" if WORD_TYPE in form.vectors else form.vectors[0]
    if form.vectors == (SENTENCE,) and not spec.pooled:
        raise OutputError(
            f"{layout} contains one vector per sentence, and there is one per token; write .npz "
            "--layout arrays, or another layout"
        )
    if spec.pooled and SENTENCE not in form.vectors:
        raise OutputError(
            f"{layout} contains one vector per {unit}, and there is one per sentence (--pool); "
            "write .npy or .npz"
        )
    if len(spec.names) > 1 and not form.layer_axis:
        raise OutputError(
            f"{layout} contains one vector per {unit}, and there are {len(spec.names)} layers; "
            "pass --layers 0, top, average, or one number"
        )


def check_sentence(sentence: Sentence, layout: str, options: WriteOptions) -> None:
    """Check that a sentence has the name and the tokens that a format needs.

    Args:
        sentence: The first sentence, which represents the others.
        layout: Name of the format.
        options: `keys` decides the name.

    Raises:
        OutputError: It is named by its id and has none, or its tokens are not known.
    """
    form = FORMATS[layout]
    if form.check_sentence:
        load(form.check_sentence)(sentence)
    elif NAMES in form.keeps:
        name_of(sentence, options.keys)
    if WORD_TYPE in form.vectors and sentence.tokens and not any(sentence.tokens):
        raise OutputError(
            f"{layout} needs words, and the source does not contain the tokens of its sentences; "
            "write another layout"
        )


def estimate_bytes(
    layout: str, spec: FeatureSpec, sentences: int, tokens: int, text_bytes: int
) -> int:
    """Return the largest size of the output, without compression.

    Args:
        layout: Name of the format.
        spec: Layers, dimension and type of the arrays.
        sentences: Number of sentences.
        tokens: Number of tokens.
        text_bytes: Bytes of the sentences' text.

    Returns:
        Number of bytes.
    """
    costs = FORMATS[layout].costs
    vectors = min(costs.max_vectors, len(spec.names) * (sentences if spec.pooled else tokens))
    values = vectors * spec.dim * np.dtype(spec.dtype).itemsize
    beside = (
        sentences * costs.per_sentence + tokens * costs.per_token + text_bytes * costs.per_text_byte
    )
    return int(values * costs.per_value_byte + beside)


def output_target(path: Path, layout: str, *, overwrite: bool = False) -> OutputTarget:
    """Return the output of a path for a format: a file, a folder of shards or standard output."""
    if path == STDOUT:
        return Stdout()
    make = OutputFolder if is_folder(path, FORMATS[layout]) else OutputFile
    return make(path, overwrite)

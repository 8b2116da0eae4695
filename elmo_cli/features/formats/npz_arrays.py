"""NumPy's .npz with one array per sentence, for small jobs.

np.load("out.npz")["0"] is (layer, token, dim); the name is the number, the id or the sentence.
Only the arrays are members, so that `np.load(...).files` lists the sentences. All other data are
in comments of the zip format: that of a member contains its number and tokens, [number, [token,
...]] as JSON, and that of the file contains the metadata with a checksum of the members.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from elmo_cli.errors import FeaturesError, OutputError, refuse_limit
from elmo_cli.features.formats._hdf5 import describe
from elmo_cli.features.formats.npy import DAMAGE, parse_npy
from elmo_cli.features.protocols import Checks, Chunk
from elmo_cli.features.spec import FeatureSpec, WriteOptions, name_of, sentence_of
from elmo_cli.io.hdf5 import MAX_COMPRESSION
from elmo_cli.io.limits import ResourceLimitError, ZipSource, load_json
from elmo_cli.io.output_file import OutputFile, open_output
from elmo_cli.io.partial_file import closing_library_file
from elmo_cli.types import Array, Sentence

EPOCH = (1980, 1, 1, 0, 0, 0)  # no time stamps: the same job writes the same bytes
SUFFIX = ".npy"
STARTS = (b"PK\x03\x04", b"PK\x05\x06")  # of a zip archive, the second of an empty one
MARK = b'{"elmo": '  # the start of the file's comment
MOST_BYTES = (1 << 16) - 1  # of a name or a comment
MAX_DIRECTORY = 1 << 26  # bytes of the list of members, which is held in memory
ENTRY_BYTES = 46 + 28  # of a member in it, without its name and its comment
SLACK = 1 << 20
BROKEN = (
    zipfile.BadZipFile,
    KeyError,
    AttributeError,
    RuntimeError,
    EOFError,
    NotImplementedError,
    zlib.error,
    *DAMAGE,
)


@contextmanager
def open_writer(
    output: OutputFile, description: FeatureSpec, options: WriteOptions
) -> Iterator["NpzArraysWriter"]:
    """Open a writer of a file."""
    method = zipfile.ZIP_DEFLATED if options.compression == "gzip" else zipfile.ZIP_STORED
    with (
        open_output(output) as file,
        closing_library_file(file, zipfile.ZipFile(file, "w", method)) as archive,
    ):
        writer = NpzArraysWriter(archive, output.path, description, options)
        yield writer
        writer.finish()


class NpzArraysWriter:
    """Writer of one member per sentence; names and tokens stay in memory until the end."""

    def __init__(
        self, archive: zipfile.ZipFile, path: Path, description: FeatureSpec, options: WriteOptions
    ) -> None:
        self.path = path
        self.description = description
        self.options = options
        self.skipped_duplicates = 0
        self._archive = archive
        self._directory = self._sum = 0

    def write(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        """Write the members of a window.

        Raises:
            OutputError: The disk is full or gone, two sentences have the same name, or there are
                more than can be listed.
        """
        for sentence, array in zip(window, arrays, strict=True):
            self._add(sentence, array)

    def _add(self, sentence: Sentence, array: Array) -> None:
        called = name_of(sentence, self.options.keys)
        info = self._member(sentence, called)
        if info.filename in self._archive.NameToInfo:
            if self.options.keys != "sentence":
                raise OutputError(
                    f"{self.path}: two sentences have the name {called[:60]!r}; pass --keys number"
                )
            self.skipped_duplicates += 1  # AllenNLP keeps the first one too
            return
        values = io.BytesIO()
        np.lib.format.write_array(
            values, np.ascontiguousarray(array, dtype=self.description.dtype), version=(1, 0)
        )
        self._archive.writestr(info, values.getbuffer())
        self._sum = _checksum(info, self._sum)
        self._directory += ENTRY_BYTES + len(info.filename.encode()) + len(info.comment)
        if self._directory > MAX_DIRECTORY:
            raise OutputError(
                f"{self.path}: has more sentences than an .npz can list in memory; write HDF5 with "
                "--layout packed"
            )

    def _member(self, sentence: Sentence, called: str) -> zipfile.ZipInfo:
        # NUL would end the name
        name = called.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
        if len(name.encode()) > MOST_BYTES - len(SUFFIX):
            raise OutputError(
                f"{self.path}: sentence {sentence.key} is too long for a name; pass --keys number"
            )
        info = zipfile.ZipInfo(f"{name}{SUFFIX}", EPOCH)
        info.create_system, info.external_attr, info.compress_type = (
            3,
            0o644 << 16,
            self._archive.compression,
        )
        told = [int(sentence.key), sentence.tokens, *([called] if called != name else [])]
        info.comment = json.dumps(told, separators=(",", ":")).encode()
        if len(info.comment) > MOST_BYTES:  # the tokens do not fit
            info.comment = json.dumps([told[0], len(sentence.tokens), *told[2:]]).encode()[
                :MOST_BYTES
            ]
        return info

    def finish(self) -> None:
        """Write the comment of the file."""
        self._archive.comment = self._comment()

    def _comment(self) -> bytes:
        """Return the metadata as JSON.

        A text that is too long, such as a command with a thousand inputs, is truncated.
        """
        metadata = dict(self.description.metadata)
        while True:
            told = replace(self.description, metadata=metadata).text(
                "arrays", self.options.keys or "auto"
            )
            comment = json.dumps(
                {"elmo": told, "sentences": len(self._archive.NameToInfo), "crc32": self._sum}
            ).encode()
            if len(comment) <= MOST_BYTES or not metadata:
                return comment
            longest = max(metadata, key=lambda name: len(metadata[name]))
            metadata[longest] = f"{metadata[longest][: len(metadata[longest]) // 2]}..."


class NpzArraysReader:
    """Reader of a file, also of np.savez; sentences are in the order of the members."""

    layout = "arrays"

    def __init__(self, path: Path) -> None:
        self.path = path
        with ExitStack() as opening:
            try:
                source = opening.enter_context(ZipSource(path, MAX_DIRECTORY))
                self._archive = opening.enter_context(zipfile.ZipFile(source))
                self._members = self._archive.infolist()
                told = _told(self._archive)
                self._by = told.get("keys")
                first = self._array(self._members[0]) if self._members else None
                self.description = describe(
                    told,
                    first.shape if first is not None else None,
                    told.get("dtype", "float32") if first is None else first.dtype.name,
                )
            except ResourceLimitError as problem:
                raise FeaturesError(
                    f"{path}: {problem}; make it again, in another layout"
                ) from None
            except BROKEN as error:
                refuse_limit(error, path)
                raise FeaturesError(
                    f"{path}: is not an .npz of arrays, or is damaged ({error})"
                ) from None
            self._open = opening.pop_all()

    def __len__(self) -> int:
        return len(self._members)

    def keys(self) -> list[str]:
        """Return the names of the sentences."""
        return [self._facts(index)[2] for index in range(len(self))]

    def sentence(self, index: int) -> Sentence:
        """Return a sentence, from its comment; without one its tokens are empty."""
        number, tokens, called = self._facts(index)
        if isinstance(tokens, int):
            tokens = [""] * (tokens if tokens or self.description.pooled else self._count(index))
        if not self._members[index].comment:
            return Sentence(str(number), tokens, "", called)
        return sentence_of(str(number), called, tokens, self._by)

    def read(self, index: int, layers: Sequence[int] | None = None) -> Array:
        """Return the array of a sentence."""
        with _reading(self.path):
            array = self._array(self._members[index])
        if array.shape != self.description.shape(array.shape[-2] if array.ndim > 1 else 0):
            raise FeaturesError(
                f"{self.path}: {self._name(index)!r} has the shape {array.shape}, unlike that of "
                "the first; the file is damaged"
            )
        return np.array(array if layers is None else array[list(layers)])

    def token_counts(self) -> Iterable[int]:
        """Iterate over the number of tokens, from the tokens or the arrays' shapes."""
        return (self._count(index) for index in range(len(self)))

    def windows(self, first: int = 0) -> Iterator[Chunk]:
        """Iterate over the sentences, one at a time."""
        for index in range(first, len(self)):
            yield [self.sentence(index)], [self.read(index)]

    def checks(self) -> Checks:
        """Return the checksums of the zip archive."""
        return Checks("CRC-32 of each member")

    def close(self) -> None:
        """Close the file."""
        self._open.close()

    def _count(self, index: int) -> int:
        tokens = self._facts(index)[1]
        if not isinstance(tokens, int):
            return len(tokens)
        return tokens if tokens or self.description.pooled else int(self.read(index).shape[-2])

    def _name(self, index: int) -> str:
        return self._members[index].filename.removesuffix(SUFFIX)

    def _facts(self, index: int) -> tuple[int, list[str] | int, str]:
        """Return the number, the tokens or their number (0 if not known), and the name."""
        comment = self._members[index].comment
        with _reading(self.path):
            number, tokens, *called = load_json(comment) if comment else (index, 0)
            of_text = isinstance(tokens, list) and all(isinstance(token, str) for token in tokens)
            if (
                not isinstance(number, int)
                or not (of_text or isinstance(tokens, int))
                or not all(isinstance(c, str) for c in called)
            ):
                raise ValueError("a comment has another format")
        return number, tokens, called[0] if called else self._name(index)

    def _array(self, info: zipfile.ZipInfo) -> Array:
        if not info.filename.endswith(SUFFIX) or info.compress_type not in (
            zipfile.ZIP_STORED,
            zipfile.ZIP_DEFLATED,
        ):
            raise ValueError(f"{info.filename} is not an array as np.savez writes them")
        if (
            info.file_size > MAX_COMPRESSION * info.compress_size + SLACK
            or info.compress_size > self.path.stat().st_size
        ):
            raise ValueError(
                f"{info.filename} declares {info.file_size:,} bytes of which "
                f"{info.compress_size:,} are stored"
            )
        array = parse_npy(memoryview(self._archive.read(info)), info.filename)
        if array.dtype.kind != "f" or array.ndim not in (1, 2, 3):
            raise ValueError(f"{info.filename} contains {array.dtype} of the shape {array.shape}")
        return array


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Convert the libraries' exceptions for a damaged member to a FeaturesError."""
    try:
        yield
    except (ResourceLimitError, *BROKEN) as error:
        raise FeaturesError(f"{path}: is damaged ({error}); make it again") from None


def detect(path: Path, start: bytes) -> str | None:
    """Return the format of an .npz file, by its comment or the names of its members."""
    if not start.startswith(STARTS):
        return None
    try:
        with ZipSource(path, MAX_DIRECTORY) as source, zipfile.ZipFile(source) as archive:
            has_arrays = archive.comment.startswith(MARK) or "layers.npy" not in archive.NameToInfo
    except (ResourceLimitError, *BROKEN):
        return "npz"
    return "arrays" if has_arrays else "npz"


def _checksum(info: zipfile.ZipInfo, before: int) -> int:
    return zlib.crc32(b"%b\0%d\0%b" % (info.filename.encode(), info.CRC, info.comment), before)


def _told(archive: zipfile.ZipFile) -> dict[str, str]:
    """Return the metadata, compared with the members.

    Raises:
        ValueError: The members are not those that were written.
    """
    members = archive.infolist()
    if not archive.comment.startswith(MARK):
        if any(info.comment for info in members):
            raise ValueError("its comment is missing")
        return {}
    told: dict[str, Any] = load_json(archive.comment)
    found = 0
    for info in members:
        found = _checksum(info, found)
    if (told["sentences"], told["crc32"]) != (len(members), found):
        raise ValueError("its list of members does not match its checksum")
    if not all(isinstance(value, str) for value in told["elmo"].values()):
        raise ValueError("its metadata are not texts")
    metadata: dict[str, str] = told["elmo"]
    return metadata

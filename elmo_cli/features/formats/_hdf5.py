"""HDF5 files: datasets, attributes, and checks of links, types and sizes in an untrusted file."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import h5py

from elmo_cli.errors import FeaturesError
from elmo_cli.features.checksums import read_checksums
from elmo_cli.features.formats.registry import FORMATS
from elmo_cli.features.protocols import NO_CHECKS, Checks, refusal
from elmo_cli.features.spec import LAYER, FeatureSpec, checksum_ok, metadata_of
from elmo_cli.io.hdf5 import find_unstored
from elmo_cli.io.hdf5_heap import find_damage
from elmo_cli.io.output_file import OutputFile, open_output
from elmo_cli.io.partial_file import PartialFile, closing_library_file
from elmo_cli.types import Array, Sentence

CHUNK_BYTES = 1 << 18
GZIP_LEVEL = 4
# "/" would nest groups, NUL would end a name or a string
_ESCAPES = str.maketrans({"\\": "\\\\", "/": "\\s", "\0": "\\0"})


def detect(path: Path, start: bytes) -> str | None:  # noqa: ARG001  # every format's
    """Return the format of an HDF5 file, by attribute or first member; None for other files."""
    if not h5py.is_hdf5(path):
        return None
    with open_file(path) as file, reading(path):
        form = FORMATS.get(attributes(file).get("layout", ""))
        if form is not None and form.detect == f"{__name__.rpartition('.')[2]}:detect":
            return form.name
        first = next(iter(file), None)
        has_groups = first is not None and file.get(first, getclass=True) is h5py.Group
    return "e2e-coref" if has_groups else "allennlp"


@contextmanager
def open_hdf5(output: OutputFile, **options: Any) -> Iterator[tuple[PartialFile, h5py.File]]:  # noqa: ANN401  # the library's
    """Open the unfinished file of an output, which gets its final name when the block ends.

    Args:
        output: The output.
        options: Options of h5py.File.

    Yields:
        The unfinished file, and the HDF5 file that is written through it.

    Raises:
        OutputError: The file cannot be made, or another run has put one in its place.
        OSError: The disk is full or gone when the block ends.
    """
    with open_output(output) as partial:
        made = h5py.File(partial, "w", libver=("earliest", "latest"), **options)
        with closing_library_file(partial, made) as file:
            yield partial, file


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Convert the library's exceptions for a damaged file to a FeaturesError."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        if refused := refusal(path, error):
            raise refused from None
        raise FeaturesError(
            f"{path}: is damaged ({str(error) or type(error).__name__}); make it again"
        ) from None


def open_file(path: Path) -> h5py.File:
    """Open a file for reading.

    Raises:
        FeaturesError: It is not an HDF5 file, or is damaged.
    """
    with reading(path):
        if (place := find_damage(path)) is not None:
            raise FeaturesError(
                f"{path}: is damaged (its strings at byte {place} have no end); make it again"
            )
        return h5py.File(path, "r", locking=False)


def find_dataset(
    group: h5py.Group, name: str, path: Path, kinds: str = "f", *, whole: bool = True
) -> h5py.Dataset:
    """Return a dataset that is stored in this file and is not larger than the stored bytes allow.

    Args:
        group: Group that contains it.
        name: Its name.
        path: Path of the file, for messages.
        kinds: Kinds of NumPy dtypes that are accepted; "O" stands for strings.
        whole: Whether it is read at once, rather than in parts.

    Returns:
        The dataset.

    Raises:
        FeaturesError: It is missing, a link, of another kind, or larger than the stored bytes
            allow.
    """
    where = f"{path}: {name!r}"
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise FeaturesError(
            f"{where} is {'a link out of the file' if name in group else 'missing'}; this is not a "
            "file of features"
        )
    dataset = group[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise FeaturesError(f"{where} is not a dataset; this is not a file of features")
    if dataset.dtype.kind not in kinds or (
        dataset.dtype.kind == "O" and h5py.check_string_dtype(dataset.dtype) is None
    ):
        raise FeaturesError(f"{where} has the type {dataset.dtype}, which features do not have")
    problem = find_unstored(dataset, path.stat().st_size, whole=whole)
    if problem:
        raise FeaturesError(f"{where} {problem}")
    return dataset


def names_in_order(file: h5py.Group) -> list[str]:
    """List the names in a group.

    The order comes from the file: h5py before 3.12 iterates by name, 0, 1, 10, 100, whatever a file
    records.

    Args:
        file: A group, or a file for its root group.

    Returns:
        The names in the order in which they were written, or sorted if the file does not record it.
    """
    # A file's own id has other properties than its root group
    group, names = file[file.name].id, list[bytes]()
    tracked = group.get_create_plist().get_link_creation_order() & h5py.h5p.CRT_ORDER_TRACKED
    group.links.iterate(
        names.append, idx_type=h5py.h5.INDEX_CRT_ORDER if tracked else h5py.h5.INDEX_NAME
    )
    return [name.decode("utf-8", "surrogateescape") for name in names]


def attributes(file: h5py.Group) -> dict[str, str]:
    """Return the attributes that are strings."""
    return {name: value for name, value in file.attrs.items() if isinstance(value, str)}


def write_attributes(file: h5py.Group, told: dict[str, str]) -> None:
    """Write strings as attributes."""
    for name, value in told.items():
        file.attrs[name] = value


def describe(told: dict[str, str], shape: tuple[int, ...] | None, dtype: str) -> FeatureSpec:
    """Return the description of a file, from its attributes.

    Args:
        told: The attributes that are strings.
        shape: Shape of the first array, which describes a file without attributes; None if it has
            no arrays.
        dtype: Type of the arrays.
    """
    if "axes" in told and "names" in told:
        axes, names = told["axes"].split(), tuple(told["names"].split(","))
        dim = shape[-1] if shape else int(told.get("dim", 0))
        return FeatureSpec(
            names, dim, dtype, "token" not in axes, metadata_of(told), intact=checksum_ok(told)
        )
    n_axes, n_layers, dim = len(shape or ()), (shape or (1,))[0], (shape or (0,))[-1]
    names = tuple(f"{LAYER}{layer}" for layer in range(n_layers)) if n_axes == 3 else ("vectors",)
    return FeatureSpec(names, dim, dtype, n_axes == 1, metadata_of(told), intact=checksum_ok(told))


def checks_of(
    file: h5py.File, path: Path, told: Callable[[int, Sentence], Iterable[str]]
) -> Checks:
    """Return the checksums in the attributes of a file; `told` as in Checks."""
    with reading(path):
        expected = read_checksums(file)
    return NO_CHECKS if expected is None else Checks(f"{len(expected):,} of CRC-32", expected, told)


def escape(text: str) -> str:
    r"""Return a text as a string or name of HDF5: "\", "/" and NUL become "\\", "\s" and "\0"."""
    return text.translate(_ESCAPES)


def unescape(text: str) -> str:
    """Return the text of an escaped one: the inverse of `escape`."""
    return "\\".join(part.replace("\\s", "/").replace("\\0", "\0") for part in text.split("\\\\"))


def compression_of(compression: str) -> dict[str, Any]:
    """Return the arguments of `create_dataset` for a compression."""
    return (
        {"compression": "gzip", "compression_opts": GZIP_LEVEL, "shuffle": True}
        if compression == "gzip"
        else {}
    )


def create_dataset(
    file: h5py.File, name: str, values: Array, compression: str
) -> h5py.h5d.DatasetID:
    """Return file.create_dataset(name, data=values), in half the time.

    The call is most of the cost of a short sentence. Compressed values are in chunks of one layer.

    Args:
        file: The file.
        name: Name of the dataset.
        values: Its values, of at least one axis.
        compression: "gzip" or "none".

    Raises:
        ValueError: The name exists.
        OSError: The file cannot be written.
    """
    space = h5py.h5s.create_simple(values.shape)
    properties = _compressed(values) if compression == "gzip" and values.size else _without_times()
    dataset = h5py.h5d.create(
        file.id, name.encode("utf-8"), h5py.h5t.py_create(values.dtype), space, dcpl=properties
    )
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
    return dataset


@cache
def _without_times() -> h5py.h5p.PropDCID:
    """Return properties without time stamps: the same job writes the same bytes."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_obj_track_times(False)
    return properties


def _compressed(values: Array) -> h5py.h5p.PropDCID:
    """Return properties with chunks of one layer, so that a layer can be read alone."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_obj_track_times(False)
    tokens = max(1, CHUNK_BYTES // (values.shape[-1] * values.itemsize))
    *front, dim = values.shape
    properties.set_chunk(
        (*[1] * (len(front) - 1), *(min(tokens, size) for size in front[-1:]), dim)
    )
    properties.set_shuffle()
    properties.set_deflate(GZIP_LEVEL)
    return properties

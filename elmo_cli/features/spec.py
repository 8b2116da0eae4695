"""Content of a feature file: layers, shape and dtype of the arrays, metadata, names."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from elmo_cli.errors import OutputError
from elmo_cli.types import Sentence

if TYPE_CHECKING:
    import pyarrow as pa

LAYER = "layer_"
# A single array for all layers; the last in a file without a name for it
UNLAYERED = ("top", "average", "concat", "mix", "vectors")
EQUAL_SENTENCES = "equal_sentences"  # in the metadata: "first" if the others were not written
CHECKSUM = "metadata_crc32"  # of all stored metadata, in hexadecimal digits
# Attributes that the writer adds to the metadata
STRUCTURE = ("axes", "names", "layout", "dtype", "keys", "dim", CHECKSUM)
KEYS = ("number", "id", "sentence")
ROWS = ("sentence", "token")
POOLS = ("none", "mean", "max", "mean+max", "first", "last")
DTYPES = ("float32", "float16")
# Added to Parquet by libraries, and at the end of a file
FOREIGN = ("ARROW:schema", "pandas", "part", "parts", "rows", "row_group_crc32")


@dataclass(frozen=True)
class FeatureSpec:
    """Content of the array of each sentence, and the metadata of the file.

    An array is (layer, token, dim), without the layer axis for a single "top", "average", "concat"
    or "mix", and without the token axis if `pooled`.

    Attributes:
        names: Names of the layers, "layer_0", ..., or a single name without a layer axis.
        dim: Dimension of the vectors.
        dtype: "float32" or "float16".
        pooled: Whether there is one vector for each sentence.
        metadata: How the file was made: model, options, command, ...
        kept: Schema of `Sentence.kept`, the columns that are carried over from the input.
        intact: Of a file that is read: whether its metadata match their checksum; None without one.
        numbered: Of a file that is read: whether it contains the numbers of the sentences in the
            input; without them the sentences are counted.
    """

    names: tuple[str, ...]
    dim: int
    dtype: str = "float32"
    pooled: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    kept: "pa.Schema | None" = None
    intact: bool | None = field(default=None, compare=False)
    numbered: bool = field(default=True, compare=False)

    @property
    def layered(self) -> bool:
        """Whether arrays have a layer axis."""
        return all(name.startswith(LAYER) for name in self.names)

    @property
    def axes(self) -> str:
        """Names of the axes, such as "layer token dim"."""
        return " ".join(["layer"] * self.layered + ["token"] * (not self.pooled) + ["dim"])

    def shape(self, tokens: int) -> tuple[int, ...]:
        """Return the shape of the array of a sentence with `tokens` tokens."""
        return (len(self.names),) * self.layered + (tokens,) * (not self.pooled) + (self.dim,)

    def text(self, layout: str, keys: str) -> dict[str, str]:
        """Return the metadata and the structure, as strings that any format can contain."""
        structure = {"axes": self.axes, "names": ",".join(self.names), "layout": layout}
        told = {
            **self.metadata,
            **structure,
            "dtype": self.dtype,
            "keys": keys,
            "dim": str(self.dim),
        }
        # File names need not be UTF-8
        told = {
            name: value.encode("utf-8", "backslashreplace").decode() for name, value in told.items()
        }
        return {**told, CHECKSUM: _checksum(told)}

    def only(self, layers: "list[int] | None") -> "FeatureSpec":
        """Return the spec with some of the layers; None for all of them."""
        return (
            self
            if layers is None
            else replace(self, names=tuple(self.names[layer] for layer in layers))
        )


@dataclass(frozen=True)
class WriteOptions:
    """Options of a writer.

    Attributes:
        keys: Name of a sentence, one of KEYS; None for its id if it has one, else its number.
        compression: Codec, one of the format's.
        forget_sentences: Whether the text of the sentences is left out (AllenNLP's layout).
        rows: Row of a table, one of ROWS.
        shard_tokens: Least number of tokens in a shard; None for the default.
    """

    keys: str | None = None
    compression: str = "none"
    forget_sentences: bool = False
    rows: str = "sentence"
    shard_tokens: int | None = None


def metadata_of(told: Mapping[str, str]) -> dict[str, str]:
    """Return the stored metadata without those of the file's structure and of other programs."""
    return {name: value for name, value in told.items() if name not in (*STRUCTURE, *FOREIGN)}


def checksum_ok(told: Mapping[str, str]) -> bool | None:
    """Return whether the stored metadata match their checksum; None without a checksum."""
    return told[CHECKSUM] == _checksum(told) if CHECKSUM in told else None


def _checksum(told: Mapping[str, str]) -> str:
    items = sorted(
        (name, value) for name, value in told.items() if name not in (CHECKSUM, *FOREIGN)
    )
    return f"{zlib.crc32(json.dumps(items).encode()):08x}"


def name_of(sentence: Sentence, keys: str | None) -> str:
    """Return the name of a sentence.

    Args:
        sentence: The sentence.
        keys: One of KEYS; None for the id if there is one, else the number.

    Raises:
        OutputError: It is named by its id and has none.
    """
    if keys == "id" and sentence.id is None:
        raise OutputError(f"--keys id: sentence {sentence.key} has no id; pass --keys number")
    if keys == "number":
        return sentence.key
    if keys == "sentence":
        return sentence.text
    return sentence.key if sentence.id is None else sentence.id


def sentence_of(
    number: str, name: str, tokens: list[str], keys: str | None, kept: tuple[object, ...] = ()
) -> Sentence:
    """Return a sentence from its stored number, name and tokens: the inverse of `name_of`."""
    is_id = keys in (None, "auto", "id") and name != number
    return Sentence(
        number,
        tokens,
        name if keys == "sentence" else " ".join(tokens),
        name if is_id else None,
        kept,
    )


def token_count(array_shape: tuple[int, ...], sentence: Sentence, *, pooled: bool) -> int:
    """Return the number of tokens of a sentence, from its array's shape unless pooled."""
    return len(sentence.tokens) if pooled else array_shape[-2]

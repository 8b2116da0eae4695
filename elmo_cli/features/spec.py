"""What is written of a corpus, whatever the layout: which layers, of what shape and type, and what is told beside them."""

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
UNLAYERED = ("top", "average", "concat", "mix", "vectors")  # names of what is one for all layers; the last in a file that does not tell
EQUAL_SENTENCES = "equal_sentences"  # in the metadata, "first" where the others were left out
CHECKSUM = "metadata_crc32"  # of all that is told, in hexadecimal digits
STRUCTURE = ("axes", "names", "layout", "dtype", "keys", "dim", CHECKSUM)  # told by the store itself, beside the metadata
KEYS = ("number", "id", "sentence")
ROWS = ("sentence", "token")
POOLS = ("none", "mean", "max", "mean+max", "first", "last")
DTYPES = ("float32", "float16")
FOREIGN = ("ARROW:schema", "pandas", "part", "parts", "rows", "row_group_crc32")  # added to Parquet, by libraries and when a file ends


@dataclass(frozen=True)
class FeatureSpec:
    """What each sentence's array holds.

    `names` are those of the layers, "layer_0", ...; a lone "top", "average", "concat" or "mix" has no layer axis. An array is
    (layer, token, dim),
    without the layer axis for a lone name, and without the token axis if `pooled`. `kept` is the schema of `Sentence.kept`.
    `intact`, of a file that is read: whether what it tells fits its checksum; None if it has none. `numbered`, of a file that is read:
    whether it contains the sentences' numbers in the input; without them they are counted.
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
        """The axes by name, such as "layer token dim"."""
        return " ".join(["layer"] * self.layered + ["token"] * (not self.pooled) + ["dim"])

    def shape(self, tokens: int) -> tuple[int, ...]:
        """Of the array of a sentence of so many tokens."""
        return (len(self.names),) * self.layered + (tokens,) * (not self.pooled) + (self.dim,)

    def text(self, layout: str, keys: str) -> dict[str, str]:
        """The metadata and the structure, as strings that any format can hold."""
        structure = {"axes": self.axes, "names": ",".join(self.names), "layout": layout}
        told = {**self.metadata, **structure, "dtype": self.dtype, "keys": keys, "dim": str(self.dim)}
        told = {name: value.encode("utf-8", "backslashreplace").decode() for name, value in told.items()}  # file names need not be UTF-8
        return {**told, CHECKSUM: _checksum(told)}

    def only(self, layers: "list[int] | None") -> "FeatureSpec":
        """With some of the layers."""
        return self if layers is None else replace(self, names=tuple(self.names[layer] for layer in layers))


@dataclass(frozen=True)
class WriteOptions:
    """How a store writes. `keys` names sentences: None for a sentence's own id where it has one, else its number."""

    keys: str | None = None
    compression: str = "none"
    forget_sentences: bool = False
    rows: str = "sentence"
    shard_tokens: int | None = None


def metadata_of(told: Mapping[str, str]) -> dict[str, str]:
    """Without what a store tells of its own structure, and what else is no metadata."""
    return {name: value for name, value in told.items() if name not in (*STRUCTURE, *FOREIGN)}


def checksum_ok(told: Mapping[str, str]) -> bool | None:
    """Whether what a file tells fits its checksum; None if it has none."""
    return told[CHECKSUM] == _checksum(told) if CHECKSUM in told else None


def _checksum(told: Mapping[str, str]) -> str:
    items = sorted((name, value) for name, value in told.items() if name not in (CHECKSUM, *FOREIGN))
    return f"{zlib.crc32(json.dumps(items).encode()):08x}"


def name_of(sentence: Sentence, keys: str | None) -> str:
    """What a sentence is called.

    Raises:
        OutputError: By its id, and it has none.
    """
    if keys == "id" and sentence.id is None:
        raise OutputError(f"--keys id: sentence {sentence.key} has no id; pass --keys number")
    if keys == "number":
        return sentence.key
    if keys == "sentence":
        return sentence.text
    return sentence.key if sentence.id is None else sentence.id


def sentence_of(number: str, name: str, tokens: list[str], keys: str | None, kept: tuple[object, ...] = ()) -> Sentence:
    """A sentence read back, from what a store keeps of it: the reverse of `name_of`."""
    is_id = keys in (None, "auto", "id") and name != number
    return Sentence(number, tokens, name if keys == "sentence" else " ".join(tokens), name if is_id else None, kept)


def token_count(array_shape: tuple[int, ...], sentence: Sentence, *, pooled: bool) -> int:
    """Tokens of a sentence: its array's, which may be all that is known of them, or those it was pooled from."""
    return len(sentence.tokens) if pooled else array_shape[-2]

"""Picklable function that adds vector columns to Arrow tables, for dataframe libraries."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, islice
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from elmo_cli.errors import ElmoError, OutputError
from elmo_cli.features.formats._table import ARROW_TYPES
from elmo_cli.inference.arguments import errors_name_arguments
from elmo_cli.inference.arrow_columns import (
    PLACE,
    VectorType,
    check_column,
    count_vectors,
    read_column,
    vector_columns,
)
from elmo_cli.inference.embedder_spec import EmbedderSpec
from elmo_cli.inference.in_process import EMBEDDERS, embed_selected
from elmo_cli.inference.selection import POOLS, Selection, parse_layers
from elmo_cli.nn.bilm import BiLMConfig

LISTS = ("fixed", "variable")

Rows = TypeVar("Rows", pa.RecordBatch, pa.Table)


@dataclass(frozen=True, kw_only=True)
class EmbedArrowBatches:
    """Add the ELMo vectors of a column of sentences to record batches or tables of Arrow.

    The object carries its settings and no weights, so it can be pickled and sent to the workers of
    Spark, Ray Data, Daft, Dask, datasets or polars; each process loads the model once. `elmo guide
    dataframes` shows a call for each of them.

    Args:
        model: What `elmo embed --model` takes: a name, folder, archive or URL.
        column: Column that contains the sentences: lists of strings, or strings, which are split
            at white space. Dictionary, large and view types are accepted.
        layers: "all", "top", "average", or a list such as "0,2".
        pool: "none" for a vector for each token; "mean", "max", "first" or "last" for one for
            each sentence.
        dtype: "float32" or "float16".
        lists: "fixed" for vectors of type fixed_size_list; "variable" for type list, which Spark
            needs.
        prefix: Text before the names of the added columns, for tables that have such names.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: Precision of the LSTMs' matrix products: "fp32", "tf32", "bf16" or "fp16".
        threads: CPU threads of a process that loads the model; None leaves them as they are.

    Raises:
        ElmoError: An argument has an invalid value.

    Example:
        >>> import pyarrow as pa
        >>> from elmo_cli.inference.arrow_batches import EmbedArrowBatches
        >>> embed = EmbedArrowBatches(model="tiny", layers="2", pool="mean")
        >>> embed(pa.table({"tokens": [["Hello", "world"]]})).schema.names
        ['tokens', 'layer_2']
    """

    model: str | Path = "tiny"
    column: str = "tokens"
    layers: str = "all"
    pool: str = "none"
    dtype: str = "float32"
    lists: str = "fixed"
    prefix: str = ""
    device: str = "auto"
    precision: str = "fp32"
    threads: int | None = None

    def __post_init__(self) -> None:
        choices = {"pool": tuple(POOLS), "dtype": tuple(ARROW_TYPES), "lists": LISTS}
        for name, values in choices.items():
            if getattr(self, name) not in values:
                one_of = ", ".join(values)
                raise ElmoError(f"{name}={getattr(self, name)!r}: not a choice; one of {one_of}")
        if self.layers not in ("all", "top", "average"):
            parse_layers(self.layers)

    @property
    def spec(self) -> EmbedderSpec:
        """Description of the embedder that the processes load."""
        return EmbedderSpec(
            model=str(self.model),
            device=self.device,
            precision=self.precision,
            threads=self.threads,
        )

    @errors_name_arguments
    def schema(self, schema: pa.Schema) -> pa.Schema:
        """Return the output schema for an input schema, without reading the weights.

        Args:
            schema: Schema of the record batches or tables that will be passed.

        Returns:
            The fields and metadata of `schema`, and a field for each layer: `layer_0`, ..., `top`
            or `average`.

        Raises:
            ElmoError: The column is missing or of another type, or the name of a layer is taken.
        """
        return self._extend(schema, self.spec.files.config())

    @errors_name_arguments
    def __call__(self, batch: Rows) -> Rows:
        """Return the rows with a column of vectors for each layer.

        Args:
            batch: A record batch or a table. A null sentence gets null vectors; a sentence without
                tokens gets an empty list, or zeros if `pool` is not "none".

        Returns:
            The same type, with the schema that `schema` returns.

        Raises:
            ElmoError: A row does not contain a sentence, or the vectors cannot be computed or
                stored.
        """
        schema = self.schema(batch.schema)
        if isinstance(batch, pa.RecordBatch):
            return self._embed([batch], schema)[0]
        return pa.Table.from_batches(self._embed(batch.to_batches(), schema), schema)

    def _embed(self, parts: Sequence[pa.RecordBatch], schema: pa.Schema) -> list[pa.RecordBatch]:
        """Embed the parts of a table together; each part gets separate arrays.

        Arrays that span parts would be sliced by the readers of tables, and Polars does not read
        slices of fixed-size lists with nulls.
        """
        spec = self.spec
        kind = self._vector_type(spec.files.config())
        firsts = accumulate((len(part) for part in parts), initial=0)
        read = [
            read_column(part, self.column, first)
            for part, first in zip(parts, firsts, strict=False)
        ]
        counts = [count_vectors(*rows, pooled=kind.pooled) for rows in read]
        for count in counts:
            kind.check_size(int(count.sum()))
        sentences = list(chain.from_iterable(part for part, _ in read))
        embedder = EMBEDDERS.load(spec)
        select = self._selection.function(embedder.bilm.config.n_output_layers)
        arrays = embed_selected(sentences, embedder, spec, select)
        embedded = []
        for part, (own, valid), count in zip(parts, read, counts, strict=True):
            n_layers = len(schema) - part.num_columns
            added = vector_columns(islice(arrays, len(own)), count, valid, n_layers, kind)
            embedded.append(pa.RecordBatch.from_arrays([*part.columns, *added], schema=schema))
        return embedded

    @property
    def _selection(self) -> Selection:
        return Selection(self.layers, pool=self.pool, dtype=self.dtype)

    def _vector_type(self, config: BiLMConfig) -> VectorType:
        return VectorType(self.dtype, config.output_dim, self.lists, pooled=self.pool != "none")

    def _extend(self, schema: pa.Schema, config: BiLMConfig) -> pa.Schema:
        check_column(schema, self.column)
        for layer in self._selection.names(config.n_output_layers):
            name = self.prefix + layer
            if name in schema.names:
                fact = f"has a column {name!r} already"
                raise OutputError(f"{PLACE}: {fact}; rename it, or pass prefix=")
            schema = schema.append(pa.field(name, self._vector_type(config).arrow()))
        return schema

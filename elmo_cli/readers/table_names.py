"""Column names of table files, by format."""

from collections.abc import Callable
from functools import partial

from elmo_cli.io.inputs import InputFile
from elmo_cli.readers.arrow import names_in_arrow
from elmo_cli.readers.delimited import names_in_delimited
from elmo_cli.readers.options import ReadOptions
from elmo_cli.readers.parquet import names_in_parquet

COLUMN_NAMES: dict[str, Callable[[InputFile, ReadOptions], list[str]]] = {
    "parquet": names_in_parquet,
    "arrow": names_in_arrow,
    "csv": partial(names_in_delimited, delimiter=","),
    "tsv": partial(names_in_delimited, delimiter="\t"),
}

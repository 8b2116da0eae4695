"""Writing of single shards by the workers of an engine."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from elmo_cli.features.formats.parquet import create_shard
from elmo_cli.features.resume.shard_store import ShardStore
from elmo_cli.features.spec import FeatureSpec, WriteOptions
from elmo_cli.features.values import check_finite
from elmo_cli.io.atomic import writing_errors
from elmo_cli.types import Array, Window


class Shard(NamedTuple):
    """The work of one shard.

    Args:
        number: Its number, from 0.
        last: Whether no shard follows.
        windows: Its windows, in input order.
    """

    number: int
    last: bool
    windows: list[Window]


@dataclass(frozen=True)
class ShardMaker:
    """Description of the shards of a job, sent to each worker.

    Args:
        store: Store of the complete shards.
        spec: Content of the arrays, with the metadata of the job.
        options: Compression and rows.
    """

    store: ShardStore
    spec: FeatureSpec
    options: WriteOptions

    def make(self, shard: Shard, embedded: Iterable[tuple[Window, list[Array]]]) -> int:
        """Write a shard and move it to the store; return its size in bytes.

        Args:
            shard: The shard.
            embedded: Its windows with their vectors.

        Raises:
            ElmoError: The store cannot be written, or a vector is not finite.
        """
        with writing_errors(self.store.path), self.store.worker_folder() as folder:
            file = create_shard(folder, shard.number, self.spec, self.options)
            try:
                for window, arrays in embedded:
                    check_finite(window, arrays)
                    file.write(window, arrays)
                path = file.close(last=shard.last)
            except BaseException:
                file.discard()
                raise
            return self.store.put(shard.number, path)

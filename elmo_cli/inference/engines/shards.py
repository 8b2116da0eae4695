"""Shards that are written by the workers of an engine."""

from collections.abc import Callable, Generator, Iterable
from contextlib import closing

from elmo_cli.features.resume.shards import ShardsWriter
from elmo_cli.inference.engines.protocol import Engine
from elmo_cli.inference.pipeline import Truncated
from elmo_cli.types import NOTHING, Progress, Window


def write_shards(
    engine: Engine,
    writer: ShardsWriter,
    windows: Iterable[Window],
    count: Callable[[Truncated], None],
) -> Generator[Progress, None, None]:
    """Let workers make the missing shards of a task, and yield the progress after each.

    Args:
        engine: Engine whose workers embed and write.
        writer: Writer that records the shards, and commits them when none is missing.
        windows: All windows of the corpus.
        count: Receives the truncated tokens of each shard.
    """
    done = NOTHING
    with closing(engine.written(writer.select_shards(windows), writer.maker)) as written:
        for shard, n_bytes, truncated in written:
            writer.add(shard.number, n_bytes)
            count(truncated)
            for window in shard.windows:
                done = done.plus(window)
            yield done

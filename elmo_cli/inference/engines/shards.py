"""Writing of the missing shards of a task, by this process or by the workers of an engine."""

from collections.abc import Generator, Iterable
from contextlib import closing

from elmo_cli.features.resume.shards import ShardsWriter
from elmo_cli.inference.engines.protocol import Engine
from elmo_cli.inference.pipeline import TruncatedCount, embed_corpus
from elmo_cli.types import NOTHING, Progress, Window

ProgressStream = Generator[Progress, None, None]


def driver_writes(
    engine: Engine, writer: ShardsWriter, windows: Iterable[Window], truncated: TruncatedCount
) -> ProgressStream:
    """Write embedded windows to their shards, and yield the progress after each.

    Args:
        engine: Engine that embeds.
        writer: Writer of the missing shards.
        windows: All windows of the corpus.
        truncated: Receives the truncated tokens.
    """
    embedded = truncated.counting(engine.embedded(writer.select(windows)))
    return _with_kept(embed_corpus(embedded, writer), writer)


def workers_write(
    engine: Engine, writer: ShardsWriter, windows: Iterable[Window], truncated: TruncatedCount
) -> ProgressStream:
    """Let workers make the missing shards; yield the progress after each, as `driver_writes`."""
    return _with_kept(_made_by_workers(engine, writer, windows, truncated), writer)


def _made_by_workers(
    engine: Engine, writer: ShardsWriter, windows: Iterable[Window], truncated: TruncatedCount
) -> ProgressStream:
    done = NOTHING
    with closing(engine.written(writer.select_shards(windows), writer.maker)) as written:
        for shard, n_bytes, found in written:
            writer.add(shard.number, n_bytes)
            truncated.add(found)
            for window in shard.windows:
                done = done.plus(window)
            yield done


def _with_kept(progress: ProgressStream, writer: ShardsWriter) -> ProgressStream:
    """Add the shards that were complete before, so that a resumed run ends at the total."""
    done = NOTHING
    with closing(progress):
        for done in progress:
            yield done.add(writer.kept)
    yield done.add(writer.kept)

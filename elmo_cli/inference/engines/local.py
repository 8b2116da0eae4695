"""Engine of one device, in this process."""

from collections.abc import Generator, Iterable
from functools import cached_property

from elmo_cli.features.resume.shard_maker import Shard, ShardMaker
from elmo_cli.inference.embedder_spec import EmbedderSpec
from elmo_cli.inference.engines.protocol import Activity, Written
from elmo_cli.inference.engines.worker import WindowEmbedder, settle
from elmo_cli.inference.pipeline import Embedded, Truncated, embed_ahead
from elmo_cli.inference.selection import Selection
from elmo_cli.types import Window


class LocalEngine:
    """Engine that embeds windows in this process, one ahead of the writer.

    Args:
        spec: Description of the embedder.
        selection: Choice of the vectors that are written.

    Raises:
        DeviceError: The device is not available, or does not have the precision.
    """

    def __init__(self, spec: EmbedderSpec, selection: Selection) -> None:
        self.settled = settle(spec)
        self._spec = spec
        self._selection = selection

    @cached_property
    def _worker(self) -> WindowEmbedder:
        return WindowEmbedder(self._spec, self._selection)

    @property
    def limit(self) -> str:
        """Maximum length of a token, such as "48 bytes"."""
        return self._worker.limit

    def load(self) -> None:
        """Load the model."""
        _ = self._worker

    def replay(self, window: Window) -> Truncated:
        """Return the truncated tokens of a window, and bring the cache to the state after it."""
        return self._worker.replay(window)

    def embedded(self, windows: Iterable[Window]) -> Generator[Embedded, None, None]:
        """Iterate over embedded windows, in order."""
        return embed_ahead(windows, self._worker.embed)

    def written(self, shards: Iterable[Shard], maker: ShardMaker) -> Generator[Written, None, None]:
        """Iterate over shards that this process has made."""
        return (self._worker.write(shard, maker) for shard in shards)

    def activity(self) -> Activity | None:
        """Return None: there are no workers."""

    def close(self) -> None:
        """Do nothing: there are no workers."""

"""Remote folder of shards, verified before their upload; a manifest uploaded last is the commit.

_elmo_plan.json       the job, while it is unfinished
part-00000.parquet    shards
_elmo_manifest.json   names and sizes of all shards, when all are uploaded
"""

import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from elmo_cli.errors import DiskError, FeaturesError, OutputError, ResumeError
from elmo_cli.features.formats.parquet import open_parquet, shard_name, shard_number
from elmo_cli.features.formats.upload_manifest import MANIFEST, UploadManifest, read_manifest
from elmo_cli.features.resume.manifest import Manifest
from elmo_cli.features.resume.run import FINGERPRINT
from elmo_cli.io.remote_path import RemotePath, one_line

PLAN = "_elmo_plan.json"
FOOTERS_AT_ONCE = 16


@dataclass(frozen=True)
class RemoteShards:
    """Remote folder as an output and as a `ShardStore`.

    Args:
        folder: The folder.
    """

    folder: RemotePath
    # Sizes of the complete shards, by number; empty until they are listed
    _sizes: dict[int, int] = field(default_factory=dict, compare=False)
    # The plan, once this run has found or made it
    _plan: list[bytes] = field(default_factory=list, compare=False)

    @property
    def path(self) -> Path:
        """Path of the output as given by the user."""
        return cast("Path", self.folder)

    to_continue = "pass --resume to continue"
    to_discard = "pass --fresh to start over"

    def check(self) -> None:
        """Check that the folder can be listed.

        Raises:
            DiskError: It cannot be listed.
        """
        with self._failing():
            list(self.folder.iterdir())

    def check_is_free(self) -> None:
        """Check that the folder contains nothing except an unfinished run of elmo.

        Raises:
            OutputError: It contains a complete output, or other files.
        """
        with self._failing():
            names = [path.name for path in self.folder.iterdir()]
        if MANIFEST in names:
            raise OutputError(
                f"{self.path}: exists already; remove it first, or name another folder (a remote "
                "one is not overwritten)"
            )
        others = [
            name for name in names if name != PLAN and (PLAN not in names or shard_number(name) < 0)
        ]
        if others:
            raise OutputError(
                f"{self.path}: contains files that are not of an unfinished run ({others[0]}); "
                "name another folder"
            )

    def check_space(self, n_bytes: int, remedy: str = "") -> None:
        """Check nothing: the free space of a server is not known."""

    def check_is_none_of(self, inputs: Iterable[Path]) -> None:
        """Check nothing: a folder with other files is rejected by `check_is_free`."""

    def size(self) -> int:
        """Return the size of the shards."""
        return self.kept_bytes()

    def made_by(self) -> str | None:
        """Return the fingerprint of the job that made the complete output."""
        with self._failing():
            manifest = read_manifest(self.folder)
        return manifest.job if manifest else None

    @contextmanager
    def claim(self) -> Iterator[Path]:
        """Make a local folder for unfinished shards."""
        with tempfile.TemporaryDirectory(prefix="elmo-upload-") as folder:
            yield Path(folder)

    worker_folder = claim  # on the machine of the worker

    def read_plan(self) -> bytes | None:
        """Return the plan of the unfinished job."""
        with self._failing():
            try:
                return (self.folder / PLAN).read_bytes()
            except FileNotFoundError:
                return None

    def keep_plan(self, text: str) -> bytes:
        """Upload the plan, unless there is one, and return it.

        Raises:
            OutputError: Another run has uploaded one at the same time.
        """
        kept = self.read_plan()
        if kept is None:
            kept = text.encode()
            self._upload_text(PLAN, text)
        self._plan[:] = [kept]
        self._check_conflict()
        return kept

    def _check_conflict(self) -> None:
        if [self.read_plan()] != self._plan:
            raise ResumeError(
                f"{self.path}: another run has started to write there; stop one of them, then pass "
                "--resume or --fresh"
            )

    def numbers(self) -> set[int]:
        """Return the numbers of the complete shards, by their names and the ends of their files."""
        if not self._sizes:
            plan = Manifest.from_json(self.read_plan() or b"")
            with self._failing():
                shards = [
                    path
                    for path in self.folder.glob("part-*.parquet")
                    if shard_number(path.name) >= 0
                ]
                with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
                    footers = list(pool.map(_read_footer, shards))
            for shard, footer in zip(shards, footers, strict=True):
                if plan and _is_complete(shard_number(shard.name), footer, plan):
                    self._sizes[shard_number(shard.name)] = shard.stat().st_size
        return set(self._sizes)

    def kept_bytes(self) -> int:
        """Return the size of the complete shards."""
        self.numbers()
        return sum(self._sizes.values())

    def put(self, shard: int, path: Path) -> int:
        """Verify a shard, upload it and compare its size; the local file is removed.

        Raises:
            OutputError: It is damaged, the server rejects it, or another run writes to the folder.
        """
        try:
            for _ in open_parquet(path).windows():
                pass
        except FeaturesError as error:
            raise DiskError(
                f"{path}: was not written correctly ({error}); check the disk"
            ) from None
        self._check_conflict()
        target, size = self.folder / shard_name(shard), path.stat().st_size
        with self._failing():
            target.upload(path)
            if target.stat().st_size != size:
                raise DiskError(
                    f"{target}: differs in size from the uploaded file; pass --resume to upload it "
                    "again"
                )
        path.unlink()
        return size

    def add(self, shard: int, n_bytes: int) -> None:
        """Record a shard that was uploaded."""
        self._sizes[shard] = n_bytes

    def remove(self, shards: Iterable[int]) -> None:
        """Remove shards."""
        with self._failing():
            for shard in shards:
                (self.folder / shard_name(shard)).unlink(missing_ok=True)
                self._sizes.pop(shard, None)

    def commit(self, n_shards: int, plan: Manifest) -> None:
        """Upload the manifest if the uploaded shards are those of this run.

        Raises:
            OutputError: Another run has changed them.
        """
        self._check_conflict()
        sizes = {shard_name(number): self._sizes[number] for number in range(n_shards)}
        with self._failing():
            there = {path.name: path.stat().st_size for path in self.folder.glob("*.parquet")}
        if there != sizes:
            raise ResumeError(
                f"{self.path}: its shards were changed during the run; pass --resume to make the "
                "missing ones"
            )
        self._upload_text(MANIFEST, UploadManifest(plan.fingerprint, sizes).to_json())
        self.clear()

    def discard(self) -> None:
        """Remove the shards, then the plan."""
        with self._failing():
            for path in [*self.folder.glob("part-*.parquet"), self.folder / PLAN]:
                path.unlink(missing_ok=True)
        self._sizes.clear()

    def clear(self) -> None:
        """Remove the plan of a complete output."""
        with self._failing():
            (self.folder / PLAN).unlink(missing_ok=True)

    def _upload_text(self, name: str, text: str) -> None:
        with tempfile.TemporaryDirectory(prefix="elmo-upload-") as local, self._failing():
            path = Path(local, name)
            path.write_text(text, encoding="utf-8")
            (self.folder / name).upload(path)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DiskError(
                f"{self.path}: cannot be written ({error}); check the address and your credentials"
            ) from None


def _read_footer(shard: RemotePath) -> bytes:
    """Return the metadata and the end of a Parquet file; empty for other files."""
    with one_line(), shard.open() as file:
        size = file.size()
        file.seek(max(0, size - 8))
        end = file.read()
        if size < 12 or end[4:] != b"PAR1":
            return b""
        file.seek(max(0, size - 8 - int.from_bytes(end[:4], "little")))
        return bytes(file.read())


def _is_complete(number: int, footer: bytes, plan: Manifest) -> bool:
    """Return whether a footer is that of a shard of the job. A truncated file has none."""
    try:
        stored = pq.read_metadata(BytesIO(footer)).metadata or {}
    except (OSError, pa.ArrowException):
        return False
    fingerprint = plan.metadata.get(FINGERPRINT, "").encode()
    return (
        stored.get(b"part") == str(number).encode()
        and stored.get(FINGERPRINT.encode(), b"") == fingerprint
    )

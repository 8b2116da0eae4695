"""Cache of vectors in a folder, by key, shared by processes and bounded; one SQLite database."""

import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from elmo_cli.errors import DiskError

DATABASE = "vectors.sqlite"
TIMEOUT = 120.0  # seconds to wait for another process that writes
ROOM_LEFT = 0.9  # of the maximal size, after vectors have been removed
KEYS_PER_QUERY = 500  # SQLite takes at least 999 variables
CREATE = (
    "CREATE TABLE IF NOT EXISTS vectors (number INTEGER PRIMARY KEY, key BLOB UNIQUE, vectors BLOB)"
)

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class VectorCache:
    """Vectors by key. Additions are transactions: another process sees all of one or nothing.

    A connection is open only during a call, so the object can be pickled and survives a fork.

    Args:
        folder: Folder of the database; it is created.
        max_bytes: Size above which the oldest vectors are removed.
    """

    folder: Path
    max_bytes: int

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Array]:
        """Return the vectors, (value,) float32, of the keys that are stored.

        Raises:
            DiskError: The database cannot be read.
        """
        found: dict[bytes, Array] = {}
        with self._open() as database:
            for start in range(0, len(keys), KEYS_PER_QUERY):
                some = keys[start : start + KEYS_PER_QUERY]
                places = ",".join("?" * len(some))
                rows = database.execute(
                    f"SELECT key, vectors FROM vectors WHERE key IN ({places})",  # noqa: S608  # question marks
                    some,
                )
                found.update((key, np.frombuffer(value, np.float32)) for key, value in rows)
        return found

    def put(self, vectors: Mapping[bytes, Array]) -> None:
        """Add vectors, and remove the oldest ones above the maximal size.

        Args:
            vectors: By key, (value,) float32; a key that is there already keeps its vectors.

        Raises:
            DiskError: The database cannot be written.
        """
        rows = [(key, array.tobytes()) for key, array in vectors.items()]
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            database.executemany("INSERT OR IGNORE INTO vectors (key, vectors) VALUES (?, ?)", rows)
            self._remove_oldest(database)
            database.execute("COMMIT")

    def _remove_oldest(self, database: sqlite3.Connection) -> None:
        while (used := _used_bytes(database)) > self.max_bytes:
            count = database.execute("SELECT COUNT(*) FROM vectors").fetchone()[0]
            if not count:
                return
            excess = used - ROOM_LEFT * self.max_bytes  # so that the next additions have room
            oldest = "SELECT number FROM vectors ORDER BY number LIMIT ?"
            number = math.ceil(excess * count / used)
            database.execute(f"DELETE FROM vectors WHERE number IN ({oldest})", [number])  # noqa: S608  # the constant above

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        path = self.folder / DATABASE
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(path, timeout=TIMEOUT, isolation_level=None)) as database:
                database.execute(CREATE)
                yield database
        except sqlite3.OperationalError as error:  # full, read-only, locked, not to be opened
            raise DiskError(f"{path}: {error}; name another folder, or pass memory=None") from None
        except sqlite3.DatabaseError as error:
            raise DiskError(
                f"{path}: {error}; delete it; the vectors are then recomputed"
            ) from None
        except OSError as error:
            raise DiskError(
                f"{self.folder}: {error.strerror}; name another folder, or pass memory=None"
            ) from None


def _used_bytes(database: sqlite3.Connection) -> int:
    names = ("page_count", "freelist_count", "page_size")
    pages, free, size = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
    return int((pages - free) * size)

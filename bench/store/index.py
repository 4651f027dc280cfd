"""SQLite index over the entries. The files are the truth; whatever is wrong here is made again from them."""

from __future__ import annotations

import math
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from bench.errors import StoreError
from bench.files import disk, put_aside

VERSION = 3
WAIT_SECONDS = 30.0
MOST = 100
MARKS = "?, ?, ?, ?, ?, ?, ?, ?"
SUFFIXES = ("", "-wal", "-shm", "-journal")

TABLES = (
    "CREATE TABLE entries (kind TEXT, key TEXT, code TEXT, job_group TEXT, device TEXT, seconds REAL, peak_mb REAL,"
    " published REAL,"
    " PRIMARY KEY (kind, key, code)) WITHOUT ROWID",
    "CREATE INDEX by_group ON entries (job_group, published DESC, seconds)",
)

DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
"""Primary codes of a file that is not, or no longer, our index; SQLITE_ERROR is a missing table or column."""


class Row(NamedTuple):
    """What the index knows of an entry; None where its job does not say. device: its kind alone, cpu or cuda."""

    kind: str
    key: str
    code: str
    group: str | None
    device: str | None
    seconds: float | None
    peak_mb: float | None
    published: float


class Past(NamedTuple):
    """A job that was done: its group, its seconds, and the largest memory of its process (MiB), if it was noted."""

    group: str
    seconds: float
    peak_mb: float | None


class Index:
    """Opened on a path; `rows` reads all entries from their files when the index has to be made again.

    Without a path, for a store that cannot be written, it stands in memory and is made when it is first asked.
    """

    def __init__(self, path: Path | None, rows: Callable[[], Iterable[Row]]) -> None:
        self.path = path
        self._rows = rows
        self._connection: sqlite3.Connection | None = None
        if path is not None:
            self._guarded(lambda: None)

    def add(self, row: Row) -> None:
        """Enter an entry, or replace its row."""
        self._guarded(lambda: self._execute(f"INSERT OR REPLACE INTO entries VALUES ({MARKS})", row))

    def remove(self, kind: str, key: str, code: str) -> None:
        """Forget an entry."""
        where = "DELETE FROM entries WHERE kind = ? AND key = ? AND code = ?"
        self._guarded(lambda: self._execute(where, (kind, key, code)))

    def past(self, begins: str, kind: str = "", device: str = "") -> list[Past]:
        """Jobs that were done, newest first, at most 100: of this group, where it ends in "/" of those that begin so,
        and of all where it is empty and the kind is named; of this kind, and on this kind of device, where named.
        """
        several = begins.endswith("/") or (not begins and bool(kind))
        query = (
            f"SELECT job_group, seconds, peak_mb FROM entries WHERE job_group {'>=' if several else '='} ?"
            " AND job_group < ? AND (? = '' OR kind = ?) AND (? = '' OR device IS NULL OR device = ?)"
            " AND seconds IS NOT NULL ORDER BY published DESC LIMIT ?"
        )
        values = (begins, f"{begins}\U0010ffff", kind, kind, device, device, MOST)
        found: list[tuple[Any, ...]] = self._guarded(lambda: self._execute(query, values))
        return [Past(*row) for row in found if isinstance(row[1], float) and math.isfinite(row[1])]

    def rebuild(self) -> int:
        """Make the rows again from the files; returns how many there are."""
        count: int = self._guarded(self._fill)
        return count

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _guarded(self, action: Callable[[], Any]) -> Any:
        """Run an action on the open index; a damaged one is removed and made again, once."""
        for attempt in (1, 2):
            try:
                if self._connection is None:
                    self._open()
                return action()
            except sqlite3.Error as error:
                # The low byte is the primary code; errors of the binding itself carry none.
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF
                if attempt == 2 or code not in DAMAGE:
                    raise StoreError(
                        f"{self.path}: the index cannot be used: {error}; make its folder writable, with "
                        "space left, or delete the file (it is made again from the entries)"
                    ) from error
                self._discard()
        return None

    def _discard(self) -> None:
        self.close()
        for path in self._files():
            with disk(path, "remove the damaged index"):
                path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        """The index's file and those that SQLite keeps beside it."""
        return [self.path.with_name(self.path.name + end) for end in SUFFIXES] if self.path else []

    def _clear(self) -> None:
        """Move away what is no file: SQLite would write through a link and wait at a FIFO."""
        for path in self._files():
            with suppress(FileNotFoundError):
                if not stat.S_ISREG(path.lstat().st_mode):
                    put_aside(path, path.parent / "aside", "index")

    def _open(self) -> None:
        # Autocommit; one statement is one transaction. Used by one thread at a time.
        self._clear()
        connection = sqlite3.connect(
            self.path or ":memory:", timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
        )
        self._connection = connection
        try:
            self._write_ahead(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            if self._version() != VERSION:
                self._fill()
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _write_ahead(connection: sqlite3.Connection) -> None:
        """Switch to the write-ahead log; SQLite does not wait by itself while others switch too."""
        end = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise
                time.sleep(0.01)

    def _fill(self) -> int:
        """Read all entries and replace the rows, in one transaction that keeps other writers waiting."""
        self._execute("BEGIN IMMEDIATE")
        try:
            if self._version() != VERSION:
                self._execute("DROP TABLE IF EXISTS entries")
                for statement in TABLES:
                    self._execute(statement)
                self._execute(f"PRAGMA user_version = {VERSION}")
            self._execute("DELETE FROM entries")
            count = 0
            for row in self._rows():
                count += 1
                self._execute(f"INSERT OR REPLACE INTO entries VALUES ({MARKS})", row)
            self._execute("COMMIT")
        except BaseException:
            if self._connection is not None and self._connection.in_transaction:
                self._connection.rollback()
            raise
        return count

    def _version(self) -> int:
        return int(self._execute("PRAGMA user_version")[0][0])

    def _execute(self, statement: str, values: tuple[object, ...] = ()) -> list[Any]:
        if self._connection is None:
            raise sqlite3.ProgrammingError("the index is closed")
        return self._connection.execute(statement, values).fetchall()

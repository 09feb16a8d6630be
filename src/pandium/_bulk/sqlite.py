"""Use an SQLite file off the event loop, beside other processes; the one user of sqlite3."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from sqlite3 import Connection
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import anyio
import anyio.to_thread

from pandium.errors import ConfigurationError, PandiumError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pandium._clock import Clock

__all__ = ["Connection", "Database", "Work"]

T = TypeVar("T")
Work: TypeAlias = "Callable[[Connection], T]"

_log = logging.getLogger("pandium")

# Seconds that SQLite waits for another writer at one try, and those between two tries.
_PATIENCE, _PAUSE = 1.0, 0.05
# Seconds that `surely` tries for when all else has been cancelled already.
_GRACE = 3.0
_PRIMARY_CODE = 0xFF


class _Locked(Exception):  # noqa: N818 - no error, and never seen by users
    """Another connection is writing."""


class Database:
    """
    An SQLite file, or memory where there is no path. All that it does are whole transactions.

    While another process writes, it waits; that process may be stopped, so there is no limit.
    """

    def __init__(self, path: Path | None, name: str, clock: Clock) -> None:
        self._path = None if path is None else path.absolute()
        self.name = name if path is None else f"{name} {str(self._path)!r}"
        self._clock = clock
        self._db: Connection | None = None
        self._file: tuple[int, int] | None = None
        self._turn = anyio.CapacityLimiter(1)
        # Beside the limiter, as asyncio can cancel a task while its thread works on.
        self._one = threading.Lock()
        # Does in order what must be done whoever is cancelled.
        self._last = ThreadPoolExecutor(1, "pandium-database")

    async def open(self, prepare: Work[None]) -> None:
        """
        Open the file, and prepare it by a first transaction.

        :raises ConfigurationError: if it cannot be used.
        """
        try:
            await self._run(lambda: self._open(prepare))
        except BaseException:
            await self.close(lambda _: None)
            raise

    async def close(self, leave: Work[object]) -> None:
        """Close the file, after a last transaction if that is possible at once."""
        try:
            await self._though_cancelled(lambda: self._close(leave))
        finally:
            self._last.shutdown(wait=False)

    async def run(self, work: Work[T]) -> T:
        """
        Carry out one transaction, which is on the disk at its end.

        :raises PandiumError: if the file fails.
        """
        return await self._run(lambda: self._transaction(work))

    async def surely(self, work: Work[object]) -> None:
        """Carry out one transaction however often cancelled; it may be carried out twice."""
        try:
            await self.run(work)
        except anyio.get_cancelled_exc_class():
            until = time.monotonic() + _GRACE
            await self._though_cancelled(lambda: self._insist(work, until))
            raise

    async def _though_cancelled(self, work: Callable[[], None]) -> None:
        # Handed over before anything is awaited: a shield does not keep off a second
        # `Task.cancel()` of asyncio's, which would come before a thread of anyio's has begun.
        done = self._last.submit(self._alone, work)
        with anyio.CancelScope(shield=True), self._clock.waiting_for_io():
            await anyio.to_thread.run_sync(done.result, limiter=self._turn)

    async def _run(self, work: Callable[[], T]) -> T:
        tries = 0
        while True:
            try:
                return work() if self._path is None else await self._in_thread(work)
            except _Locked:
                tries += 1
            if tries == 1:
                _log.warning("%s is locked by another process; waiting", self.name)
            with self._clock.waiting_for_io():
                await anyio.sleep(_PAUSE)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        with self._clock.waiting_for_io():
            return await anyio.to_thread.run_sync(self._alone, work, limiter=self._turn)

    def _alone(self, work: Callable[[], T]) -> T:
        with self._one:
            return work()

    def _open(self, prepare: Work[None]) -> None:
        # Path.is_dir raises where it may not look.
        if self._path is not None and not os.path.isdir(self._path.parent):  # noqa: PTH112 - see above
            raise ConfigurationError(f"{self.name}: its directory does not exist or is closed")
        with self._translating(ConfigurationError):
            # Transactions are our own business, and so is which thread does what.
            self._db = sqlite3.connect(
                self._path or ":memory:",
                timeout=_PATIENCE,
                isolation_level=None,
                check_same_thread=False,
            )
        try:
            self._transaction(prepare, ConfigurationError)
            with self._translating(ConfigurationError):
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
        except BaseException:
            self._close(lambda _: None)
            raise
        self._file = self._identity()

    def _close(self, leave: Work[object]) -> None:
        db, self._db = self._db, None
        if db is not None:
            with closing(db), suppress(sqlite3.Error):
                leave(db)

    def _insist(self, work: Work[object], until: float) -> None:
        """Carry out one transaction, and while the file is locked try again for a time."""
        while True:
            with suppress(_Locked):
                self._transaction(work)
                return
            if time.monotonic() >= until:
                return

    def _transaction(self, work: Work[T], kind: type[PandiumError] = PandiumError) -> T:
        db = self._db
        if db is None:
            raise PandiumError(f"{self.name} is not open")
        with self._translating(kind):
            db.execute("BEGIN IMMEDIATE")
            try:
                result = work(db)
                self._check_file()
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
            return result

    @contextmanager
    def _translating(self, kind: type[PandiumError]) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0)
            if code & _PRIMARY_CODE == sqlite3.SQLITE_BUSY:
                raise _Locked from None
            raise kind(f"{self.name}: {error}") from None

    def _check_file(self) -> None:
        # SQLite would go on with a file that nobody can find any more, while another process
        # begins the same work with a new one.
        if self._file is not None and self._identity() != self._file:
            raise PandiumError(f"{self.name} was deleted or replaced while it was in use")

    def _identity(self) -> tuple[int, int] | None:
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except OSError:
            return 0, 0
        return found.st_dev, found.st_ino

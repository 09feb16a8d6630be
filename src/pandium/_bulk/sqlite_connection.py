"""Run SQLite transactions in worker threads, on a file that other processes also write to."""

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

# Seconds that SQLite waits for a lock in one attempt, and the pause between two attempts.
_LOCK_TIMEOUT, _LOCK_PAUSE = 1.0, 0.05
# Seconds that `run_uncancelled` waits for a lock once its task has been cancelled.
_CANCELLED_TIMEOUT = 3.0
_PRIMARY_CODE = 0xFF


class _DatabaseLockedError(Exception):
    """Another connection holds the write lock. Never raised to users."""


class Database:
    """
    An SQLite file, or an in-memory database. All access is by whole transactions.

    There is no time limit on a lock of another process, because that process may be suspended.

    :param path: the file; ``None`` opens a database in memory.
    :param name: how error messages call the file, such as ``"journal"``.
    :param clock: a manual clock does not advance while a transaction runs.
    """

    def __init__(self, path: Path | None, name: str, clock: Clock) -> None:
        self._path = None if path is None else path.absolute()
        self.name = name if path is None else f"{name} {str(self._path)!r}"
        self._clock = clock
        self._db: Connection | None = None
        self._file_id: tuple[int, int] | None = None
        self._limiter = anyio.CapacityLimiter(1)
        # The limiter does not suffice: asyncio can cancel a task while its thread still runs.
        self._thread_lock = threading.Lock()
        self._uncancelled = ThreadPoolExecutor(1, "pandium-database")

    async def open(self, prepare: Work[None]) -> None:
        """
        Open the file, and run a first transaction.

        :param prepare: creates or validates the tables in that transaction.
        :raises ConfigurationError: if the file cannot be used.
        """
        try:
            await self._run_unlocked(lambda: self._open(prepare))
        except BaseException:
            await self.close(lambda _: None)
            raise

    async def close(self, last: Work[object]) -> None:
        """
        Close the file, even if the task is cancelled.

        :param last: run before closing. Its errors are ignored, including that of a locked file.
        """
        try:
            await self._shield(lambda: self._close(last))
        finally:
            self._uncancelled.shutdown(wait=False)

    async def run(self, work: Work[T]) -> T:
        """
        Run one transaction. On return, it is on the disk.

        :raises PandiumError: if the file fails.
        """
        return await self._run_unlocked(lambda: self._transaction(work))

    async def run_uncancelled(self, work: Work[object]) -> None:
        """
        Run one transaction, even if the task is cancelled. ``work`` must be idempotent.

        After a cancellation, a locked file is retried for a few seconds only.
        """
        try:
            await self.run(work)
        except anyio.get_cancelled_exc_class():
            deadline = time.monotonic() + _CANCELLED_TIMEOUT
            await self._shield(lambda: self._retry_until(work, deadline))
            raise

    async def _shield(self, work: Callable[[], None]) -> None:
        # Submitted before the first `await`. A shield does not block a second `Task.cancel()` of
        # asyncio, which could arrive before a thread of anyio's has started.
        done = self._uncancelled.submit(self._exclusively, work)
        with anyio.CancelScope(shield=True), self._clock.waiting_for_io():
            await anyio.to_thread.run_sync(done.result, limiter=self._limiter)

    async def _run_unlocked(self, work: Callable[[], T]) -> T:
        """Run `work` again and again until no other process holds the lock."""
        attempts = 0
        while True:
            try:
                return work() if self._path is None else await self._run_in_thread(work)
            except _DatabaseLockedError:
                attempts += 1
            if attempts == 1:
                _log.warning("%s is locked by another process; waiting", self.name)
            with self._clock.waiting_for_io():
                await anyio.sleep(_LOCK_PAUSE)

    async def _run_in_thread(self, work: Callable[[], T]) -> T:
        with self._clock.waiting_for_io():
            return await anyio.to_thread.run_sync(self._exclusively, work, limiter=self._limiter)

    def _exclusively(self, work: Callable[[], T]) -> T:
        with self._thread_lock:
            return work()

    def _open(self, prepare: Work[None]) -> None:
        # Not Path.is_dir, which raises if a parent directory is not accessible.
        if self._path is not None and not os.path.isdir(self._path.parent):  # noqa: PTH112 - see above
            raise ConfigurationError(f"{self.name}: directory does not exist or is not accessible")
        with self._translate_errors(ConfigurationError):
            # Transactions are explicit here, and `_thread_lock` admits one thread at a time.
            self._db = sqlite3.connect(
                self._path or ":memory:",
                timeout=_LOCK_TIMEOUT,
                isolation_level=None,
                check_same_thread=False,
            )
        try:
            self._transaction(prepare, ConfigurationError)
            with self._translate_errors(ConfigurationError):
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
        except BaseException:
            self._close(lambda _: None)
            raise
        self._file_id = self._current_file_id()

    def _close(self, last: Work[object]) -> None:
        db, self._db = self._db, None
        if db is not None:
            with closing(db), suppress(sqlite3.Error):
                last(db)

    def _retry_until(self, work: Work[object], deadline: float) -> None:
        """Run one transaction, and retry until the deadline while the file is locked."""
        while True:
            with suppress(_DatabaseLockedError):
                self._transaction(work)
                return
            if time.monotonic() >= deadline:
                return

    def _transaction(self, work: Work[T], error_type: type[PandiumError] = PandiumError) -> T:
        db = self._db
        if db is None:
            raise PandiumError(f"{self.name} is not open")
        with self._translate_errors(error_type):
            db.execute("BEGIN IMMEDIATE")
            try:
                result = work(db)
                self._validate_file()
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
            return result

    @contextmanager
    def _translate_errors(self, error_type: type[PandiumError]) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0)
            if code & _PRIMARY_CODE == sqlite3.SQLITE_BUSY:
                raise _DatabaseLockedError from None
            raise error_type(f"{self.name}: {error}") from None

    def _validate_file(self) -> None:
        # SQLite would continue to write to a deleted file, while another process creates a new
        # one and sends the same syncs again.
        if self._file_id is not None and self._current_file_id() != self._file_id:
            raise PandiumError(f"{self.name} was deleted or replaced while it was in use")

    def _current_file_id(self) -> tuple[int, int] | None:
        if self._path is None:
            return None
        try:
            stat = self._path.stat()
        except OSError:
            return 0, 0
        return stat.st_dev, stat.st_ino

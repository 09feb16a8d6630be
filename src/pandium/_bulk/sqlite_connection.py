"""Run SQLite transactions in worker threads, on a file shared with other processes."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from sqlite3 import Connection
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import anyio
import anyio.lowlevel

from pandium._bulk.auxiliary_files import (
    validate_auxiliary_files,
    validate_not_auxiliary,
    validate_regular_files,
)
from pandium._bulk.file_identity import (
    FileIdentity,
    validate_not_emptied,
    validate_not_lost,
    validate_single_name,
)
from pandium._bulk.lock_file import FileLockedError, LockFile, retry_while_locked
from pandium._bulk.work_queue import QueuedWork, QueueingDatabase
from pandium.errors import JournalError, UnusableJournal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pandium._clock import Clock

__all__ = ["Connection", "Database", "Work"]

T = TypeVar("T")
Work: TypeAlias = "Callable[[Connection], T]"

# A separate logger, so that a program can show these warnings even if it hides the others.
_log = logging.getLogger("pandium.journal")

# The time that a thread waits for a lock, and the pause until it waits again, in seconds.
_LOCK_TIMEOUT, _LOCK_PAUSE = 0.2, 0.05
# The number of waits before a warning is logged, about two seconds. A process that shares a
# journal with nine busy ones sometimes waits for more than a second.
_QUIET_WAITS = 10
# The total time that closing waits for locks, in seconds.
_CLOSE_TIMEOUT = 3.0
_PRIMARY_CODE = 0xFF
# What SQLite's errors mean for a user, by their primary code.
_REASONS = {
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: check the path, your permissions and the number of"
    " open files",
    sqlite3.SQLITE_CORRUPT: "is damaged or could not be read completely: before you begin a new"
    " job, find out which tenants were triggered",
    sqlite3.SQLITE_FULL: "cannot be written, because the disk is full",
    sqlite3.SQLITE_IOERR: "cannot be read or written, because the disk failed or is full",
    sqlite3.SQLITE_NOTADB: "is not a journal, but another kind of file: use a new file",
    sqlite3.SQLITE_READONLY: "is not writable: check the permissions of the file and its directory",
}
# With n active tenants, a transaction begins once n / 8 of them have queued work, or 100, because a
# resumed job reads no more at a time. It waits for them for at most 0.4 ms per active tenant, and
# never longer than 250 ms. With 500 active tenants, 63 records share a transaction, which takes 5
# disk syncs. Fewer than 8 tenants never wait that way.
_BATCH_FRACTION, _MAX_BATCH_SIZE = 1 / 8, 100
_DELAY_PER_TENANT, _MAX_DELAY = 0.0004, 0.25
# Each transaction begins this number of steps of the event loop later. The claim of the next tenant
# is usually queued two steps after the end of a run, and so shares its transaction.
_STEPS = 5


class Database(QueueingDatabase["Work[Any]"]):
    """
    An SQLite file or an in-memory database, accessed only in transactions.

    Work is queued, and all queued work runs in one transaction, because each transaction has to
    wait for the disk. The more tenants are active, the longer a transaction waits for further work.
    If the transaction fails, records remain queued and are written by a later transaction, for
    example once there is space on the disk again.

    The file uses a rollback journal instead of a write-ahead log (WAL), so after each transaction
    all data is in a single file. With a WAL, recent transactions are in a second file, and are lost
    if it is deleted.

    Waiting for a lock held by another process has no time limit, because that process may be
    suspended.

    :param path: the path of the file, or ``None`` for an in-memory database.
    :param name: the name of the file in error messages, such as ``"journal"``.
    :param clock: the client's clock. A test clock does not advance during a transaction.
    :param count_active: a function that returns the number of active tenants, each of which queues
        further work sooner or later.
    :param is_reader: whether the work only reads, so that the lock file of a job remains as it is.
    """

    def __init__(
        self,
        path: Path | None,
        name: str,
        clock: Clock,
        count_active: Callable[[], int] = lambda: 0,
        *,
        is_reader: bool = False,
    ) -> None:
        self._path = None if path is None else _absolute_path(path, name)
        super().__init__(name if path is None else f"{name} {self._path!r}", clock)
        self._db: Connection | None = None
        self._identity: FileIdentity | None = None
        self._lock_file: LockFile | None = None
        self._real_path = ""
        self._count_active = count_active
        self._is_reader = is_reader
        # The event is set when this number of items is queued.
        self._batch_size = 0
        self._is_batch_complete = anyio.Event()
        self._has_warned = False
        self._error: JournalError | None = None

    @property
    def is_open(self) -> bool:
        """Whether the file is open."""
        return self._db is not None

    async def open(self, prepare: Work[None]) -> None:
        """
        Open the file and run the first transaction.

        :param prepare: a function that creates or validates the tables in that transaction.
        :raises UnusableJournal: if the file cannot be used.
        """
        try:
            await self._run_until_unlocked(lambda: self._open(prepare))
        except BaseException:
            await self.close(lambda _: None)
            raise

    async def close(self, last: Work[object]) -> None:
        """
        Run the remaining work and close the file, even if the task is canceled.

        :param last: the work to run before closing. Its errors are ignored.
        """
        if self._is_forked():  # pragma: no cover - tested in a forked child, which is not measured
            self._db = None  # the parent still uses the file
        elif self._path is None:
            self._close(last)
        else:
            await self._close_in_thread(lambda: self._close(last))

    async def run(self, work: Work[T]) -> T:
        """
        Run work in a transaction and return its result once the transaction is on disk.

        If the task is canceled, the transaction may or may not have been committed.

        :raises JournalError: if the file cannot be used.
        """
        result: T = await self._finish(self.queue(work))
        return result

    def queue(
        self, work: Work[Any], record: str | None = None, order: int = 0
    ) -> QueuedWork[Work[Any], Any]:
        """Queue work to run in the next transaction or when the file is closed."""
        queued = super().queue(work, record, order)
        if len(self._queue) >= self._batch_size:
            self._is_batch_complete.set()
        return queued

    async def _wait(self, queued: QueuedWork[Work[Any], Any]) -> None:
        if self._path is None:
            self._run_queue()
        await super()._wait(queued)

    async def _run_transaction(self) -> None:
        await self._collect()
        await self._run_until_unlocked(self._run_queue)

    async def _collect(self) -> None:
        """Wait a short time for other tenants to queue work for the same transaction."""
        for _ in range(_STEPS):
            await anyio.lowlevel.checkpoint()
        active = self._count_active()
        self._batch_size = min(int(active * _BATCH_FRACTION), _MAX_BATCH_SIZE)
        if len(self._queue) >= self._batch_size:
            return
        self._is_batch_complete = anyio.Event()
        with self._clock.move_on_after(min(active * _DELAY_PER_TENANT, _MAX_DELAY)):
            await self._is_batch_complete.wait()

    async def _run_until_unlocked(self, work: Callable[[], None]) -> None:
        """Run `work`, trying again for as long as another process holds the lock."""
        waits = 0
        while True:
            with suppress(FileLockedError):
                await self._run_in_thread(lambda: retry_while_locked(work, _LOCK_TIMEOUT))
                self._has_warned = False
                return
            waits += 1
            if waits == _QUIET_WAITS and not self._has_warned:
                self._has_warned = True
                _log.warning("%s is locked by another process; waiting", self.name)
            with self._clock.waiting_for_io():
                await anyio.sleep(_LOCK_PAUSE)

    async def _run_in_thread(self, work: Callable[[], None]) -> None:
        if self._path is None:
            work()
        else:
            await super()._run_in_thread(work)

    # The methods below run in a worker thread, except for an in-memory database

    def _open(self, prepare: Work[None]) -> None:
        if self._path is None:
            self._connect(":memory:", prepare)
            return
        # Resolve symbolic links, so that a link and its target share one lock file.
        with self._translate_errors(UnusableJournal):
            path = os.path.realpath(self._path)
        validate_not_auxiliary(path, self.name)
        # Do not use Path.is_dir, which raises an error if a parent directory is not accessible. In
        # `missing/../file`, only the path as it was passed has a directory that does not exist.
        directories = {os.path.dirname(path), os.path.dirname(self._path)}  # noqa: PTH120 - see above
        if not all(map(os.path.isdir, directories)):
            raise UnusableJournal(f"{self.name}: directory does not exist or is not accessible")
        if os.path.isdir(path):  # noqa: PTH112 - see above
            raise UnusableJournal(f"{self.name} is a directory: specify a file")
        # Check this before the lock file is created, because other users might not have access to
        # a lock file that this user creates.
        if not _is_accessible(path):
            raise UnusableJournal(
                f"{self.name} cannot be opened for reading and writing: check the permissions of"
                " the file and its directory"
            )
        self._lock_file = lock_file = LockFile(f"{path}-lock", is_reader=self._is_reader)
        self._real_path = path
        with self._hold_lock(UnusableJournal), self._leave_lock_file_on_error():
            validate_single_name(Path(path), self.name, UnusableJournal)
            validate_auxiliary_files(path, self.name)
            if lock_file.is_marked:
                validate_not_lost(Path(path), self.name, f"{path}-lock")
            self._connect(path, lambda db: self._prepare(db, prepare))
            self._identity = FileIdentity(Path(self._path), Path(path), self.name)
            lock_file.mark()

    def _prepare(self, db: Connection, prepare: Work[None]) -> None:
        if self._lock_file is not None and self._lock_file.is_marked:
            validate_not_emptied(db, self.name, f"{self._real_path}-lock")
        prepare(db)

    def _connect(self, path: str, prepare: Work[None]) -> None:
        # Several threads use the connection, but only one at a time runs a transaction. The
        # isolation level None disables implicit transactions. SQLite must not wait for a lock,
        # because meanwhile no other journal of this process could be used.
        self._db = db = sqlite3.connect(
            path, timeout=0, isolation_level=None, check_same_thread=False
        )
        try:
            self._transaction(prepare, UnusableJournal)
            # Do this after validation, because it may write to the file.
            db.execute("PRAGMA journal_mode = TRUNCATE")
            db.execute("PRAGMA synchronous = FULL")
        except BaseException:
            self._disconnect(db)
            raise

    def _disconnect(self, db: Connection) -> None:
        self._db = None
        with closing(db), suppress(sqlite3.Error):
            if self._identity is not None and not self._is_file_lost():
                self._identity.forget(db)
                db.execute("PRAGMA journal_mode = DELETE")  # this deletes the rollback journal

    def _disconnect_locked(self, db: Connection) -> None:
        with self._hold_lock():
            self._disconnect(db)
            self._leave_lock_file()

    @contextmanager
    def _leave_lock_file_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._leave_lock_file()
            raise

    def _leave_lock_file(self) -> None:
        """Delete the lock file, unless the file is gone, was overwritten or cannot be opened."""
        if self._lock_file is None:
            return
        if self._error is not None and not self._is_reader:  # closing, too, runs a transaction
            self._lock_file.mark()
        elif self._identity is not None or not self._lock_file.is_marked:
            self._lock_file.remove()

    def _close(self, last: Work[object]) -> None:
        db = self._db
        if db is None:
            return
        deadline = time.monotonic() + _CLOSE_TIMEOUT
        # An empty description marks a record whose loss is harmless.
        self._queue.append(QueuedWork(last, record=""))
        while (reason := self._try_to_empty_queue()) is not None:
            if time.monotonic() >= deadline or self._is_file_lost():
                self._warn_of_lost_records(reason)
                break
            time.sleep(_LOCK_PAUSE)
        with suppress(FileLockedError, JournalError):
            retry_while_locked(lambda: self._disconnect_locked(db), _LOCK_TIMEOUT)
        self._db = None
        db.close()  # has an effect only if the lock is held by another process

    def _try_to_empty_queue(self) -> str | None:
        """Run all queued work. If another attempt may succeed, return the error message."""
        try:
            retry_while_locked(self._run_queue, _LOCK_TIMEOUT)
        except FileLockedError:
            return f"{self.name} is still locked"
        except JournalError as error:  # the lock file cannot be created
            self._error = error
        return str(self._error) if self._queue.lost_records() else None

    def _is_file_lost(self) -> bool:
        return self._identity is not None and self._identity.is_lost()

    def _warn_of_lost_records(self, reason: str) -> None:
        if records := self._queue.lost_records():
            text = "%s; %d records were not written: %s"
            _log.warning(text, reason, len(records), ", ".join(records))

    def _run_queue(self) -> None:
        """
        Run all queued work in one transaction. If the transaction fails, all of the work fails.

        :raises FileLockedError: if another process holds the lock. The work remains queued.
        """
        with self._hold_lock():
            batch = self._queue.take()
            try:
                finish = self._transaction(lambda db: [self._attempt(db, one) for one in batch])
            except FileLockedError:
                self._queue.put_back(batch)
                raise
            except JournalError as error:
                self._error = error
                self._queue.fail(batch, error)
            else:
                for set_result in finish:
                    set_result()

    def _attempt(self, db: Connection, queued: QueuedWork[Work[T], T]) -> Callable[[], None]:
        """
        Run work within a transaction, and return a function that sets its result after the commit.

        If the values of the work cannot be stored, only this work fails. SQLite rejects values
        before it executes a statement, and each work uses the same values in all its statements.
        """
        try:
            return partial(queued.succeed, queued.work(db))
        except (UnicodeError, OverflowError) as error:
            return partial(queued.fail, JournalError(f"{self.name}: {error}"))

    def _transaction(self, work: Work[T], error_type: type[JournalError] = JournalError) -> T:
        db = self._db
        if db is None:  # it was closed while this transaction waited for a lock
            self._leave_lock_file()
            raise JournalError(f"{self.name} is not open")
        with self._translate_errors(error_type):
            # If this file was moved away and another job has begun at its path, SQLite would apply
            # that job's rollback journal to this file.
            if self._identity is not None:
                self._identity.validate()
            # Empty SQLite's cache. If an older copy was restored and another process has then run
            # as many transactions as it lacks, SQLite would take the cache for current.
            db.execute("PRAGMA shrink_memory")
            # With an exclusive transaction, a conflict with a reader is detected at the start.
            # Otherwise, it would be detected only when the transaction is committed.
            db.execute("BEGIN EXCLUSIVE")
            try:
                revision = None if self._identity is None else self._identity.next_revision(db)
                result = work(db)
                if self._identity is not None:
                    self._identity.validate()
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
        if self._identity is not None and revision is not None:
            self._identity.accept(revision)
        if self._identity is not None and self._lock_file is not None:
            self._lock_file.mark()  # another process may have deleted it while closing
        return result

    @contextmanager
    def _hold_lock(self, error_type: type[JournalError] = JournalError) -> Iterator[None]:
        if self._lock_file is None:
            yield
            return
        with self._translate_errors(error_type), self._lock_file.hold():
            validate_regular_files(self._real_path)
            yield

    @contextmanager
    def _translate_errors(self, error_type: type[JournalError]) -> Iterator[None]:
        try:
            yield
        except (JournalError, FileLockedError):
            raise
        except Exception as error:  # noqa: BLE001 - sqlite3 raises errors of many classes
            code = getattr(error, "sqlite_errorcode", 0)
            if code & _PRIMARY_CODE == sqlite3.SQLITE_BUSY:
                raise FileLockedError from None
            raise error_type(_describe_error(self.name, error)) from None


def _absolute_path(path: Path, name: str) -> str:
    try:
        # Path.resolve would follow symbolic links. os.path.abspath would remove "link/..", which is
        # another directory if the link is a symbolic one.
        return str(path.absolute())
    except OSError:
        raise UnusableJournal(
            f"{name} {str(path)!r}: the current directory does not exist"
        ) from None


def _is_accessible(path: str) -> bool:
    """Return whether a file can be read and written, or does not exist."""
    # Do not open the file, because SQLite's locks would be dropped when it is closed.
    mode = os.R_OK | os.W_OK
    effective = os.access in os.supports_effective_ids
    return not os.path.lexists(path) or os.access(path, mode, effective_ids=effective)


def _describe_error(name: str, error: Exception) -> str:
    reason = _REASONS.get(getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE)
    if reason is not None:
        return f"{name} {reason}"
    # An OSError concerns the lock file, whose path would only confuse.
    text = getattr(error, "strerror", None) or str(error)
    return f"{name}: {text or type(error).__name__}"  # a MemoryError has no text

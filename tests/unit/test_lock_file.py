"""The lock file next to a journal allows one transaction at a time in all threads and processes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest

from pandium._bulk.lock_file import FileLockedError, LockFile
from pandium._bulk.sqlite_connection import Database
from support.journals import JournalProcess
from support.posix import IS_POSIX

if IS_POSIX:
    import fcntl

if TYPE_CHECKING:
    from pathlib import Path

    from pandium._bulk.sqlite_connection import Connection
    from support.journals import CalendarClock

pytestmark = [pytest.mark.anyio, pytest.mark.posix]


async def test_reading_a_file_does_not_unlock_it(
    journal_path: Path, calendar: CalendarClock
) -> None:
    """Reading a journal during a transaction does not unlock it for other processes."""
    has_begun, may_end = threading.Event(), threading.Event()

    def work(_: Connection) -> None:
        has_begun.set()
        may_end.wait()

    with JournalProcess(journal_path) as other:
        database = Database(journal_path, "journal", calendar)
        await database.open(lambda _: None)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(database.run, work)
            await anyio.to_thread.run_sync(has_begun.wait)
            await anyio.Path(journal_path).read_bytes()  # this drops the locks held by SQLite
            other.send("claim", 1)
            assert "locked by another process" in other.wait_for_warning()
            may_end.set()
            assert other.receive() == ["sending", True]
        await database.close(lambda _: None)


def test_a_locked_file_is_refused(tmp_path: Path) -> None:
    """A lock held by another process raises an error after a timeout, until it is released."""
    lock_file = LockFile(str(tmp_path / "lock"))
    with (tmp_path / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(FileLockedError), lock_file.hold(0.01):
            pytest.fail("the file is locked")
        fcntl.flock(other, fcntl.LOCK_UN)
        with lock_file.hold(0), pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_deleted_lock_file_is_created_again(tmp_path: Path) -> None:
    """A lock on a deleted file has no effect. All later locks are on a new file."""
    lock_path = tmp_path / "lock"
    lock_file = LockFile(str(lock_path))
    with lock_path.open("w") as deleted:
        fcntl.flock(deleted, fcntl.LOCK_EX)
        lock_path.unlink()
        with lock_file.hold(0), lock_path.open() as new, pytest.raises(BlockingIOError):
            fcntl.flock(new, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with lock_file.hold(0):
        lock_file.remove()
    assert not lock_path.exists()


def test_a_lock_file_needs_its_directory(tmp_path: Path) -> None:
    """A lock file that cannot be created is an error, not a lock to wait for."""
    lock_file = LockFile(str(tmp_path / "missing" / "lock"))
    with pytest.raises(FileNotFoundError), lock_file.hold(0.01):
        pytest.fail("there is no directory")

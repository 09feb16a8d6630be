"""The lock file next to a journal allows one transaction at a time in all threads and processes."""

from __future__ import annotations

import errno
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest

from pandium._bulk.lock_file import FileLockedError, LockFile
from pandium._bulk.sqlite import SQLiteJournal
from pandium._bulk.sqlite_connection import Database
from pandium.errors import PandiumError
from support.journals import JOB, MINE, JournalProcess, claim, locked, read_states
from support.posix import IS_POSIX

if IS_POSIX:
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
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


@contextmanager
def lock_file_locked(path: Path) -> Iterator[None]:
    """Hold the lock of a journal's lock file, as another process would."""
    with path.with_name(f"{path.name}-lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize("lock", [locked, lock_file_locked], ids=["the file", "its lock file"])
async def test_waiting_for_one_journal_does_not_delay_another(
    tmp_path: Path,
    calendar: CalendarClock,
    lock: Callable[[Path], AbstractContextManager[object]],
) -> None:
    """However many journals of a process are locked, the others are used without delay."""
    paths = [tmp_path / str(number) for number in range(60)]
    with anyio.fail_after(8), ExitStack() as locks:  # one after the other, they would take longer
        async with anyio.create_task_group() as tasks:
            for path in paths:
                locks.enter_context(lock(path))
                tasks.start_soon(SQLiteJournal(path, JOB, calendar).__aenter__)
            await calendar.wait_for_work(3 * len(paths))  # all of them are waiting
            async with SQLiteJournal(tmp_path / "healthy", JOB, calendar) as journal:
                assert await claim(journal) == MINE
            tasks.cancel_scope.cancel()


def test_a_locked_file_is_refused(tmp_path: Path) -> None:
    """A lock held by another process raises an error until it is released."""
    lock_file = LockFile(str(tmp_path / "lock"))
    with (tmp_path / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(FileLockedError), lock_file.hold():
            pytest.fail("the file is locked")
        fcntl.flock(other, fcntl.LOCK_UN)
        with lock_file.hold(), pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_deleted_lock_file_is_created_again(tmp_path: Path) -> None:
    """A lock on a deleted file has no effect. All later locks are on a new file."""
    lock_path = tmp_path / "lock"
    lock_file = LockFile(str(lock_path))
    with lock_path.open("w") as deleted:
        fcntl.flock(deleted, fcntl.LOCK_EX)
        lock_path.unlink()
        with lock_file.hold(), lock_path.open() as new, pytest.raises(BlockingIOError):
            fcntl.flock(new, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with lock_file.hold():
        lock_file.remove()
    assert not lock_path.exists()


def fail_to_unlock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the operating system report an error the next time that a file is unlocked."""
    flock, errors = fcntl.flock, [OSError(errno.EIO, "Input/output error")]

    def fail_once(file: int, operation: int) -> None:
        if operation == fcntl.LOCK_UN and errors:
            raise errors.pop()
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", fail_once)


def test_a_file_that_cannot_be_unlocked_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error while unlocking the file is raised and does not leave the file locked."""
    lock_file = LockFile(str(tmp_path / "lock"))
    fail_to_unlock(monkeypatch)
    with pytest.raises(OSError, match="Input/output error"), lock_file.hold():
        pass
    with lock_file.hold():
        pass


async def test_a_claim_with_an_error_after_its_commit_is_deleted(
    journal_path: Path, calendar: CalendarClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenant whose claim was committed but raised an error is not left claimed."""
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        fail_to_unlock(monkeypatch)
        with pytest.raises(PandiumError, match="Input/output error"):
            await claim(journal, 1)
        assert read_states(journal_path) == {1: "sending"}
        await journal.renew()
        assert read_states(journal_path) == {}


def test_a_lock_file_needs_its_directory(tmp_path: Path) -> None:
    """A lock file that cannot be created is an error, not a lock to wait for."""
    lock_file = LockFile(str(tmp_path / "missing" / "lock"))
    with pytest.raises(FileNotFoundError), lock_file.hold():
        pytest.fail("there is no directory")

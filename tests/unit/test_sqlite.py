"""Journals in SQLite files: which files are accepted, and how file failures are handled."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import tempfile
import threading
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from pandium import ConfigurationError, PandiumError
from pandium._bulk.journal import LEASE, Entry, State
from pandium._bulk.sqlite import SQLiteJournal
from pandium._bulk.sqlite_connection import Connection, Database
from pandium._bulk.summary import read_summary
from pandium.emulator import ManualClock
from support.journals import (
    JOB,
    MINE,
    NEW,
    NOT_MINE,
    CalendarClock,
    adopt,
    claim,
    locked,
    read_entries,
)
from support.posix import IS_POSIX
from support.threads import no_more_threads, no_threads_at_all

if IS_POSIX:
    import resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from contextlib import AbstractContextManager

pytestmark = pytest.mark.anyio


async def test_a_journal_in_memory_needs_no_thread(calendar: CalendarClock) -> None:
    """Without a file, all work runs in the event loop."""
    before = threading.active_count()
    async with SQLiteJournal(None, JOB, calendar) as journal:
        await claim(journal)
        await journal.record_triggered(1, "t")
        assert threading.active_count() == before
    assert threading.active_count() == before


async def test_a_journal_in_memory_is_not_shared(calendar: CalendarClock) -> None:
    """Without a path, each worker has a separate journal."""
    async with SQLiteJournal(None, JOB, calendar) as one, SQLiteJournal(None, JOB, calendar) as two:
        assert [await claim(one), await claim(two)] == [MINE, MINE]
        await one.record_triggered(1, "t")
        assert await one.states() == {1: State.TRIGGERED}
        assert await two.states() == {1: State.SENDING}


async def test_closing_a_journal_removes_other_files(
    journal_path: Path, calendar: CalendarClock
) -> None:
    """A closed journal raises a clear error and leaves a single file behind."""
    journal = SQLiteJournal(journal_path, JOB, calendar)
    async with journal:
        await claim(journal)
    with pytest.raises(PandiumError, match="not open"):
        await claim(journal)
    assert [file.name for file in journal_path.parent.iterdir()] == ["journal"]


# Which files are accepted


def write_text(path: Path) -> None:
    path.write_text("This is a letter, not a database. " * 100)


def write_truncated_database(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 2000)


def create_other_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE notes (text)")


def create_database_of_other_application(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA application_id = 1234")


def create_newer_journal(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA application_id = {0x50414E44}")
        db.execute("PRAGMA user_version = 2")


def create_journal_without_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA application_id = {0x50414E44}")
        db.execute("PRAGMA user_version = 1")


def make_a_hard_link(path: Path) -> None:
    path.touch()
    path.with_name("link").hardlink_to(path)


async def open_journal(path: Path, calendar: CalendarClock) -> None:
    await SQLiteJournal(path, JOB, calendar).__aenter__()


USES = [open_journal, read_summary]


def read_bytes(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


UNUSABLE: list[tuple[Callable[[Path], object], str]] = [
    (write_text, "is not a journal, but another kind of file"),
    (write_truncated_database, "is not a journal, but another kind of file"),
    (create_other_database, "not a journal"),
    (create_database_of_other_application, "not a journal"),
    (create_newer_journal, "newer version"),
    (create_journal_without_tables, "no such table"),
    (Path.mkdir, "is a directory"),
]


@pytest.mark.parametrize(("create", "message"), UNUSABLE)
async def test_a_file_that_is_not_a_journal_is_refused(
    journal_path: Path, calendar: CalendarClock, create: Callable[[Path], object], message: str
) -> None:
    """Any other file raises a ConfigurationError that names it, and is not modified."""
    create(journal_path)
    before = read_bytes(journal_path)
    with pytest.raises(ConfigurationError, match=message) as caught:
        async with SQLiteJournal(journal_path, JOB, calendar):
            pass
    assert str(journal_path) in str(caught.value)
    assert read_bytes(journal_path) == before


@pytest.mark.posix
@pytest.mark.parametrize("create", [create_journal_without_tables, make_a_hard_link])
@pytest.mark.parametrize("use", USES)
async def test_a_journal_that_cannot_be_used_gets_no_lock_file(
    journal_path: Path,
    calendar: CalendarClock,
    create: Callable[[Path], object],
    use: Callable[[Path, CalendarClock], Coroutine[Any, Any, object]],
) -> None:
    """A lock file that was created for nothing is deleted, whenever the error occurs."""
    create(journal_path)
    with pytest.raises(PandiumError):
        await use(journal_path, calendar)
    assert list(journal_path.parent.glob("*-lock")) == []


async def test_content_that_cannot_be_read_is_a_clear_error(
    journal_path: Path, calendar: CalendarClock
) -> None:
    """A table that another program changed raises a PandiumError that names the journal."""
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        await claim(journal)
    with closing(sqlite3.connect(journal_path)) as db, db:
        db.execute("UPDATE syncs SET state = 'odd'")
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        with pytest.raises(PandiumError, match="'odd' is not a valid State") as caught:
            await journal.states()
    assert str(journal_path) in str(caught.value)


async def test_a_relative_path_requires_a_current_directory(
    tmp_path: Path, calendar: CalendarClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path raises a ConfigurationError if the current directory was deleted."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigurationError, match="the current directory does not exist"):
        SQLiteJournal(Path("sync.db"), JOB, calendar)


@contextmanager
def fifo_in_place_of(path: Path) -> Iterator[None]:
    """Put a FIFO at a path. Unblock whatever opened it after a few seconds."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    opened: list[int] = []
    timer = threading.Timer(10, lambda: opened.append(os.open(path, os.O_RDWR | os.O_NONBLOCK)))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
    assert not opened, "the FIFO was opened"


@pytest.mark.posix
@pytest.mark.parametrize("suffix", ["-lock", "-journal", "-wal", ""])
async def test_a_journal_does_not_wait_for_a_fifo(
    suffix: str, journal_path: Path, calendar: CalendarClock
) -> None:
    """A FIFO in place of a journal or of a file next to it raises an error that names it."""
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        await claim(journal)
    path = journal_path.with_name(journal_path.name + suffix)
    with fifo_in_place_of(path), pytest.raises(ConfigurationError) as caught:
        async with SQLiteJournal(journal_path, JOB, calendar):
            pass
    assert f"'{path}' is not a regular file" in str(caught.value)


@pytest.mark.posix
@pytest.mark.parametrize("suffix", ["-lock", "-journal", "-wal"])
async def test_a_transaction_does_not_wait_for_a_fifo(
    suffix: str, journal_path: Path, calendar: CalendarClock
) -> None:
    """A FIFO that appears next to a journal in use raises an error in the next transaction."""
    path = journal_path.with_name(journal_path.name + suffix)
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        await claim(journal)
        with fifo_in_place_of(path):
            with pytest.raises(PandiumError, match="is not a regular file") as caught:
                await claim(journal, 2)
            path.unlink()
        assert await claim(journal, 3) == MINE
    assert str(path) in str(caught.value)


async def test_an_empty_file_becomes_a_journal(journal_path: Path, calendar: CalendarClock) -> None:
    """An empty file that already exists, such as a temporary file, is accepted."""
    write_text(journal_path)
    os.truncate(journal_path, 0)
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        assert await claim(journal) == MINE


async def test_a_journal_belongs_to_its_job(journal_path: Path, calendar: CalendarClock) -> None:
    """The journal of another job raises a ConfigurationError that shows the difference."""
    async with SQLiteJournal(journal_path, JOB, calendar):
        pass
    with pytest.raises(ConfigurationError, match="mode 'normal', not 'init'"):
        async with SQLiteJournal(journal_path, {**JOB, "mode": "init"}, calendar):
            pass


def overwrite_pages(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))


async def test_a_corrupt_journal_is_a_clear_error(
    journal_path: Path, calendar: CalendarClock
) -> None:
    """A journal whose pages were overwritten raises an error that names it and says what to do."""
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        for tenant_id in range(200):
            await claim(journal, tenant_id)
    overwrite_pages(journal_path)
    with pytest.raises(PandiumError, match=r"is damaged .* find out which") as caught:
        async with SQLiteJournal(journal_path, JOB, calendar) as journal:
            await claim(journal)
    assert str(journal_path) in str(caught.value)


async def test_an_error_without_a_text_is_named_by_its_class(
    journal_path: Path, calendar: CalendarClock
) -> None:
    """If the memory is exhausted during a transaction, the error of the journal says so."""

    def prepare(_: Connection) -> None:
        raise MemoryError

    with pytest.raises(ConfigurationError, match=r"': MemoryError$") as caught:
        await Database(journal_path, "journal", calendar).open(prepare)
    assert str(journal_path) in str(caught.value)


async def test_a_missing_directory_is_a_clear_error(
    tmp_path: Path, calendar: CalendarClock
) -> None:
    """A missing directory is not created, because a wrong path must not start a new job."""
    (tmp_path / "file").touch()
    for parent in (tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(ConfigurationError, match="directory") as caught:
            async with SQLiteJournal(parent / "journal", JOB, calendar):
                pass
        assert str(parent) in str(caught.value)


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 5000])
async def test_an_impossible_name_is_a_clear_error(
    tmp_path: Path, calendar: CalendarClock, name: str
) -> None:
    """A path that no file can have is a ConfigurationError."""
    with pytest.raises(ConfigurationError, match="journal '"):
        await SQLiteJournal(tmp_path / name, JOB, calendar).__aenter__()


@contextmanager
def without_root() -> Iterator[None]:
    """Run as another user if the tests run as root, which ignores permissions."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def restricted_directory() -> Iterator[Path]:
    """Return a directory whose permissions a test can remove. pytest's own is for a single user."""
    path = Path(tempfile.mkdtemp())
    try:
        yield path
    finally:
        path.chmod(0o755)
        shutil.rmtree(path)


def set_permissions(directory: Path, mode: int) -> None:
    for file in directory.iterdir():
        file.chmod(mode & 0o444)
    directory.chmod(mode)


@pytest.mark.posix
@pytest.mark.parametrize("exists", [True, False], ids=["a journal", "no journal"])
async def test_a_read_only_directory_is_a_clear_error(
    restricted_directory: Path, calendar: CalendarClock, *, exists: bool
) -> None:
    """A journal that cannot be written raises an error that names it, on opening."""
    path = restricted_directory / "journal"
    if exists:
        async with SQLiteJournal(path, JOB, calendar):
            pass
    set_permissions(restricted_directory, 0o555)
    with (
        without_root(),
        pytest.raises(ConfigurationError, match=r"cannot be opened|denied") as caught,
    ):
        async with SQLiteJournal(path, JOB, calendar):
            pass
    assert str(path) in str(caught.value)


@pytest.mark.posix
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o622])
@pytest.mark.parametrize("use", USES)
async def test_a_journal_of_another_user_gets_no_lock_file(
    restricted_directory: Path,
    calendar: CalendarClock,
    use: Callable[[Path, CalendarClock], Coroutine[Any, Any, object]],
    mode: int,
) -> None:
    """A user who may not use a journal leaves no lock file, which its owner could not open."""
    path = restricted_directory / "journal"
    async with SQLiteJournal(path, JOB, calendar):
        pass
    set_permissions(restricted_directory, 0o777)
    path.chmod(mode & 0o044 if os.geteuid() else mode)
    with without_root(), pytest.raises(ConfigurationError, match="permissions") as caught:
        await use(path, calendar)
    assert str(path) in str(caught.value)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.posix
async def test_a_lock_file_of_another_user_is_a_clear_error(
    restricted_directory: Path, calendar: CalendarClock
) -> None:
    """If the lock file cannot be opened, the error names it and says what to do."""
    lock_path = restricted_directory / "journal-lock"
    lock_path.touch()
    set_permissions(restricted_directory, 0o777)
    lock_path.chmod(0)
    with without_root(), pytest.raises(ConfigurationError, match="or delete it") as caught:
        await open_journal(restricted_directory / "journal", calendar)
    assert repr(str(lock_path)) in str(caught.value)


@pytest.mark.posix
async def test_an_inaccessible_directory_is_a_clear_error(
    restricted_directory: Path, calendar: CalendarClock
) -> None:
    """If the directory itself cannot be looked up, the error says so."""
    set_permissions(restricted_directory, 0)
    with without_root(), pytest.raises(ConfigurationError, match="directory"):
        async with SQLiteJournal(restricted_directory / "deep" / "journal", JOB, calendar):
            pass


# Failures of a file that is in use


def delete(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    path.rename(path.with_name("old"))
    path.touch()


@pytest.mark.parametrize("remove", [delete, replace])
async def test_a_file_that_is_gone_is_noticed(
    journal_path: Path, calendar: CalendarClock, remove: Callable[[Path], None]
) -> None:
    """A transaction fails if other processes cannot find the file."""
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        assert await claim(journal, 1) == MINE
        remove(journal_path)
        for transaction in (
            claim(journal, 2),
            adopt(journal, 1),
            journal.record_triggered(1, "t"),
            journal.renew(),
            journal.states(),
        ):
            with pytest.raises(PandiumError, match="deleted or replaced") as caught:
                await transaction
            assert str(journal_path) in str(caught.value)


@contextmanager
def full_disk() -> Iterator[None]:
    """Prevent files from growing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.posix
async def test_a_full_disk_is_a_clear_error(journal_path: Path, calendar: CalendarClock) -> None:
    """A write to a full disk raises an error and has no effect. Later writes succeed."""
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        error: Exception | None = None
        with full_disk():
            try:
                await claim(journal)
            except PandiumError as caught:
                error = caught
        assert str(journal_path) in str(error)
        assert await adopt(journal) == NEW
        assert await claim(journal) == MINE


@contextmanager
def missing_directory(path: Path) -> Iterator[None]:
    """Rename the directory of a file within the block."""
    moved = path.parent.with_name("moved")
    path.parent.rename(moved)
    try:
        yield
    finally:
        moved.rename(path.parent)


@pytest.fixture
def nested_path(tmp_path: Path) -> Path:
    """Return the path of a journal in a directory of its own."""
    directory = tmp_path / "directory"
    directory.mkdir()
    return directory / "journal"


async def record_while_failing(
    journal: SQLiteJournal, failure: AbstractContextManager[None]
) -> None:
    """Record the triggers of two tenants, which raises an error each time."""
    for tenant_id in (1, 2):
        await claim(journal, tenant_id)
    with failure:
        for tenant_id in (1, 2):
            with pytest.raises(PandiumError):
                await journal.record_triggered(tenant_id, f"t-{tenant_id}")


RECORDED = [(1, "triggered", "t-1"), (2, "triggered", "t-2")]


@pytest.mark.posix
@pytest.mark.parametrize("is_full", [True, False], ids=["full disk", "missing directory"])
async def test_a_rejected_record_is_written_later(
    nested_path: Path,
    calendar: CalendarClock,
    is_full: bool,  # noqa: FBT001
) -> None:
    """A record that cannot be written is written by the next transaction that succeeds."""
    async with SQLiteJournal(nested_path, JOB, calendar) as journal:
        failure = full_disk() if is_full else missing_directory(nested_path)
        await record_while_failing(journal, failure)
        await journal.renew()
        assert read_entries(nested_path) == RECORDED


@pytest.mark.posix
@pytest.mark.parametrize("is_full", [True, False], ids=["full disk", "missing directory"])
async def test_a_rejected_record_is_written_on_closing(
    nested_path: Path,
    calendar: CalendarClock,
    caplog: pytest.LogCaptureFixture,
    is_full: bool,  # noqa: FBT001
) -> None:
    """A record that cannot be written is written when the journal is closed, at the latest."""
    async with SQLiteJournal(nested_path, JOB, calendar) as journal:
        failure = full_disk() if is_full else missing_directory(nested_path)
        await record_while_failing(journal, failure)
    assert read_entries(nested_path) == RECORDED
    assert not caplog.records


@pytest.mark.posix
async def test_closing_waits_for_space_on_the_disk(
    journal_path: Path, calendar: CalendarClock
) -> None:
    """If the disk is full when a journal is closed, records are written once there is space."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        await record_while_failing(journal, full_disk())
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        timer = threading.Timer(0.5, resource.setrlimit, [resource.RLIMIT_FSIZE, (soft, hard)])
        timer.start()
    timer.join()
    assert read_entries(journal_path) == RECORDED


@pytest.mark.posix
@pytest.mark.parametrize("is_full", [True, False], ids=["full disk", "missing directory"])
async def test_records_that_are_lost_are_named(
    nested_path: Path,
    calendar: CalendarClock,
    caplog: pytest.LogCaptureFixture,
    is_full: bool,  # noqa: FBT001
) -> None:
    """Records that cannot be written before a journal is closed are named in a warning."""
    with ExitStack() as stack:
        async with SQLiteJournal(nested_path, JOB, calendar) as journal:
            await record_while_failing(journal, full_disk())
            failure = full_disk() if is_full else missing_directory(nested_path)
            stack.enter_context(failure)
            with pytest.raises(PandiumError):
                await journal.record_ended(1, "t-1", State.SUCCEEDED, "Succeeded")
            with pytest.raises(PandiumError):
                await journal.release(2)
    [warning] = [record.getMessage() for record in caplog.records]
    assert str(nested_path) in warning
    lost = "trigger t-1 of tenant 1, trigger t-2 of tenant 2, status 'Succeeded' of tenant 1"
    assert warning.endswith(f"3 records were not written: {lost}")
    assert read_entries(nested_path) == [(1, "sending", ""), (2, "sending", "")]


# Locks held by other processes, and cancellation


async def test_a_transaction_waits_for_a_lock(
    journal_path: Path, calendar: CalendarClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A transaction waits while another process holds the lock. After a while, this is logged."""
    async with (
        SQLiteJournal(journal_path, JOB, calendar) as journal,
        anyio.create_task_group() as tasks,
    ):
        reads = calendar.reads
        with locked(journal_path) as other:
            tasks.start_soon(claim, journal)
            await calendar.wait_for_work(10)  # the fifth pause between two attempts
            assert caplog.text == ""  # busy processes that share a journal wait for that long
            await calendar.wait_for_work(12)
            assert calendar.reads == reads  # a lease begins when its transaction begins
            other.execute("ROLLBACK")
    assert read_entries(journal_path) == [(1, "sending", "")]
    assert caplog.text.count("locked by another process") == 1


async def claim_and_trigger(journal: SQLiteJournal) -> None:
    """Leave tenant 1 claimed and tenant 2 triggered."""
    for tenant_id in (1, 2):
        await claim(journal, tenant_id)
    await journal.record_triggered(2, "t")


HELD = [NOT_MINE, NOT_MINE, Entry(State.TRIGGERED, trigger_id="t")]


async def claim_all(journal: SQLiteJournal) -> list[Entry]:
    """Try to take over the tenants of another worker."""
    return [
        await claim(journal, 1),
        await claim(journal, 1, retry_unknown=True),
        await claim(journal, 2),
    ]


@asynccontextmanager
async def two_workers(
    path: Path, calendar: CalendarClock
) -> AsyncIterator[tuple[SQLiteJournal, SQLiteJournal]]:
    """Yield two workers. The first one holds the leases of tenants 1 and 2."""
    async with (
        SQLiteJournal(path, JOB, calendar) as one,
        SQLiteJournal(path, JOB, calendar) as two,
    ):
        await claim_and_trigger(one)
        yield one, two


async def test_leases_survive_a_time_in_which_no_worker_can_write(
    journal_path: Path, calendar: CalendarClock
) -> None:
    """After a long lock, a worker leaves the others two intervals to renew their leases."""
    async with two_workers(journal_path, calendar) as (one, two):
        calendar.advance(60)
        assert await claim_all(two) == HELD
        calendar.advance(two.renewal_interval * 1.9)
        assert await two.renew() == {1, 2}
        await one.renew()
        calendar.advance(two.renewal_interval * 2)
        assert await claim_all(two) == HELD
        calendar.advance(-3600)
        await one.renew()
        assert await claim_all(two) == HELD


async def test_leases_survive_several_locks_in_a_row(
    journal_path: Path, calendar: CalendarClock
) -> None:
    """Time between two locks that is too short to renew a lease does not expire it."""
    async with two_workers(journal_path, calendar) as (one, two):
        for seconds in (6, 0.1, 9, 60, 1, 60, 1, 6, 6, 1.5):
            calendar.advance(seconds)
            assert await claim_all(two) == HELD
        await one.renew()
        calendar.advance(LEASE - 0.1)
        assert await claim_all(two) == HELD


@pytest.mark.parametrize(("pause", "locks"), [(1, 5), (0, 21)])
async def test_a_dead_worker_loses_its_leases_despite_locks(
    journal_path: Path, calendar: CalendarClock, pause: float, locks: int
) -> None:
    """Locks that occur again and again do not keep the lease of a dead worker valid."""
    async with two_workers(journal_path, calendar) as (_, two):
        found = 0
        while await two.renew():
            found += 1
            calendar.advance(60)
            await two.renew()
            calendar.advance(pause)
        assert found == locks


@pytest.mark.parametrize("share", [0.6, 0.75])
async def test_leases_survive_a_lock_that_is_shorter_than_a_lease(
    journal_path: Path, calendar: CalendarClock, share: float
) -> None:
    """A lease does not expire because a lock began when its renewal was a little late."""
    async with two_workers(journal_path, calendar) as (_, two):
        calendar.advance(two.renewal_interval * 1.1)
        assert await two.renew() == {1, 2}
        calendar.advance(LEASE * share)
        assert await claim_all(two) == HELD


async def test_leases_survive_while_another_worker_waits_to_open_the_journal(
    journal_path: Path, calendar: CalendarClock
) -> None:
    """A worker whose opening was delayed by a lock does not expire the leases of the others."""
    two = SQLiteJournal(journal_path, JOB, calendar)
    async with SQLiteJournal(journal_path, JOB, calendar) as one:
        await claim_and_trigger(one)
        with locked(journal_path) as other:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(two.__aenter__)
                await calendar.wait_for_work(2)
                calendar.advance(60)
                other.execute("ROLLBACK")
        entries = await claim_all(two)
        await two.__aexit__(None, None, None)
    assert entries == HELD


async def test_a_dead_worker_loses_its_leases_after_a_lock(
    journal_path: Path, calendar: CalendarClock
) -> None:
    """A lease that is not renewed within two intervals after a long lock has expired."""
    async with two_workers(journal_path, calendar) as (_, two):
        calendar.advance(60)
        assert await two.renew() == {1, 2}
        calendar.advance(two.renewal_interval * 2)
        assert await two.renew() == set()
        assert (await adopt(two, 1)).state is State.UNKNOWN
        assert (await adopt(two, 2)).is_mine


async def test_a_dead_worker_loses_its_leases_after_the_clock_was_wrong(
    journal_path: Path, calendar: CalendarClock
) -> None:
    """If the clock is set forward and back, a lease that is not renewed expires on time."""
    async with two_workers(journal_path, calendar) as (_, two):
        calendar.advance(3600)
        assert await two.renew() == {1, 2}
        calendar.advance(-3599)
        assert await two.renew() == {1, 2}
        for _ in range(4):
            calendar.advance(two.renewal_interval)
            await two.renew()
        assert (await adopt(two, 2)).is_mine


async def test_opening_waits_for_a_lock(journal_path: Path, calendar: CalendarClock) -> None:
    """A journal that another process is creating is opened once it exists."""
    async with anyio.create_task_group() as tasks:
        with locked(journal_path) as other:

            async def unlock() -> None:
                await calendar.wait_for_work(2)
                other.execute("ROLLBACK")

            tasks.start_soon(unlock)
            async with SQLiteJournal(journal_path, JOB, calendar) as journal:
                assert await claim(journal) == MINE


async def test_a_record_is_written_even_if_canceled(
    journal_path: Path, calendar: CalendarClock
) -> None:
    """A record that is canceled while waiting for a lock is written in the next transaction."""
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        await claim(journal, 1)
        with locked(journal_path) as other:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(journal.record_triggered, 1, "t")
                await calendar.wait_for_work(1)
                tasks.cancel_scope.cancel()
            other.execute("ROLLBACK")
        await journal.renew()
        assert read_entries(journal_path) == [(1, "triggered", "t")]


async def test_closing_waits_for_a_lock(journal_path: Path, calendar: CalendarClock) -> None:
    """Canceled records are written before closing, once a lock has been released."""
    with locked(journal_path) as other:
        other.execute("ROLLBACK")
        async with SQLiteJournal(journal_path, JOB, calendar) as journal:
            await claim(journal)
            other.execute("BEGIN IMMEDIATE")
            with anyio.CancelScope() as scope:
                scope.cancel()
                await journal.record_triggered(1, "t")
            threading.Timer(1.0, other.execute, ["ROLLBACK"]).start()
    assert read_entries(journal_path) == [(1, "triggered", "t")]


async def test_closing_gives_up_in_the_end(
    journal_path: Path, calendar: CalendarClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A lock that is never released delays closing once, not once per record."""
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(SQLiteJournal(journal_path, JOB, calendar))
        for tenant_id in range(20):
            await claim(journal, tenant_id)
        with locked(journal_path):
            for tenant_id in range(20):
                with anyio.CancelScope() as scope:
                    scope.cancel()
                    await journal.record_triggered(tenant_id, "t")
                assert scope.cancelled_caught
            with anyio.fail_after(8):
                await stack.aclose()
    assert {state for _, state, _ in read_entries(journal_path)} == {"sending"}
    assert "20 records were not written" in caplog.text


async def test_a_transaction_that_waits_ends_when_the_journal_is_closed(
    journal_path: Path, calendar: CalendarClock
) -> None:
    """
    A transaction that still waits for a lock when the journal is closed raises an error.

    It leaves no lock file.
    """
    errors: list[str] = []

    async def renew(journal: SQLiteJournal) -> None:
        with pytest.raises(PandiumError) as caught:
            await journal.renew()
        errors.append(str(caught.value))

    async with (
        SQLiteJournal(journal_path, JOB, calendar) as journal,
        anyio.create_task_group() as tasks,
    ):
        with locked(journal_path):
            tasks.start_soon(renew, journal)
            await calendar.wait_for_work(2)
            await journal.__aexit__(None, None, None)
    assert errors == [f"journal {str(journal_path)!r} is not open"]
    assert list(journal_path.parent.glob("*-lock")) == []


async def test_closing_needs_no_thread(journal_path: Path, calendar: CalendarClock) -> None:
    """If no thread can be started, the records that are queued are written all the same."""
    journal = await SQLiteJournal(journal_path, JOB, calendar).__aenter__()
    await claim(journal)
    with locked(journal_path) as other:
        await record_canceled(journal.record_triggered, 1, "t")
        other.execute("ROLLBACK")
    with no_more_threads():
        await journal.__aexit__(None, None, None)
    assert read_entries(journal_path) == [(1, "triggered", "t")]
    assert list(journal_path.parent.iterdir()) == [journal_path]


@pytest.mark.parametrize("allowed", ["", "pandium-journal"])
def test_a_journal_needs_a_thread(
    journal_path: Path, calendar: CalendarClock, anyio_backend: str, allowed: str
) -> None:
    """If no thread can be started for a transaction, this is a PandiumError, even on closing."""

    async def use() -> None:
        async with no_threads_at_all(allowed):
            with pytest.raises(PandiumError, match="can't start new thread"):
                await SQLiteJournal(journal_path, JOB, calendar).__aenter__()

    anyio.run(use, backend=anyio_backend)


def test_a_record_without_a_thread_is_written_later(
    journal_path: Path, calendar: CalendarClock, anyio_backend: str
) -> None:
    """A record for which no thread can be started is written when the journal is closed."""

    async def use() -> None:
        async with SQLiteJournal(journal_path, JOB, calendar) as journal:
            await claim(journal)
            async with no_threads_at_all():
                with pytest.raises(PandiumError, match="can't start new thread"):
                    await journal.record_triggered(1, "t")

    anyio.run(use, backend=anyio_backend)
    assert read_entries(journal_path) == [(1, "triggered", "t")]


async def test_a_lock_is_no_warning_if_nothing_is_unwritten(
    journal_path: Path, calendar: CalendarClock, caplog: pytest.LogCaptureFixture
) -> None:
    """If the file is locked on closing, but all records are written, nothing is logged."""
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(SQLiteJournal(journal_path, JOB, calendar))
        await claim(journal, 1)
        with locked(journal_path), anyio.fail_after(8):
            await stack.aclose()
    assert read_entries(journal_path) == [(1, "sending", "")]
    assert not caplog.records


async def test_records_that_wait_for_a_lock_share_a_transaction(
    journal_path: Path, calendar: CalendarClock, statements: list[str]
) -> None:
    """However many tenants are waiting for a lock, one transaction serves them all."""
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        async with anyio.create_task_group() as tasks:
            with locked(journal_path) as other:
                for tenant_id in range(50):
                    tasks.start_soon(claim, journal, tenant_id)
                await calendar.wait_for_work(2)
                statements.clear()
                other.execute("ROLLBACK")
        assert statements.count("COMMIT") == 1
    assert len(read_entries(journal_path)) == 50


class DelayClock(CalendarClock):
    """A clock that records time limits. They expire at once, or never."""

    def __init__(self, *, expires: bool) -> None:
        super().__init__()
        self.limits: list[float] = []
        self._expires = expires

    def move_on_after(self, seconds: float) -> anyio.CancelScope:
        self.limits.append(seconds)
        scope = anyio.CancelScope()
        if self._expires:
            scope.cancel()
        return scope


async def test_records_of_active_tenants_share_a_transaction(
    journal_path: Path, statements: list[str]
) -> None:
    """A transaction begins once an eighth of the active tenants have queued work."""
    async with (
        SQLiteJournal(journal_path, JOB, DelayClock(expires=False), lambda: 80) as journal,
        anyio.create_task_group() as tasks,
    ):
        statements.clear()
        for tenant_id in range(9):
            tasks.start_soon(claim, journal, tenant_id)
        await anyio.wait_all_tasks_blocked()
        assert statements == []
        tasks.start_soon(claim, journal, 9)
    assert statements.count("COMMIT") == 1 + 1  # the second one releases triggers
    assert len(read_entries(journal_path)) == 10


async def test_100_tenants_per_second_take_30_disk_syncs(
    journal_path: Path, statements: list[str]
) -> None:
    """If 500 tenants are active and 100 of them end per second, a tenant takes 0.3 disk syncs."""
    clock, tenants = ManualClock(), 200
    async with SQLiteJournal(journal_path, JOB, clock, lambda: 500) as journal:
        statements.clear()
        async with clock.autojump(), anyio.create_task_group() as tasks:
            for record in range(3 * tenants):  # the claim, the trigger and the end of each one
                tasks.start_soon(claim, journal, record)
                await clock.sleep(1 / 300)
        transactions = statements.count("COMMIT")
    assert len(read_entries(journal_path)) == 3 * tenants
    assert 5 * transactions <= 0.3 * tenants  # SQLite syncs 5 times per transaction


@pytest.mark.parametrize(
    ("active", "limits"), [(1, []), (8, []), (15, []), (500, [0.2]), (10_000, [0.25])]
)
async def test_the_wait_for_other_records_is_limited(
    journal_path: Path, active: int, limits: list[float]
) -> None:
    """A record waits longer for others if more tenants are active. A single one never waits."""
    clock = DelayClock(expires=True)
    async with SQLiteJournal(journal_path, JOB, clock, lambda: active) as journal:
        assert await claim(journal) == MINE
    assert clock.limits == limits


async def test_a_task_that_waits_for_other_records_can_be_canceled(journal_path: Path) -> None:
    """If a task is canceled while it waits for other records, the next task takes its place."""
    clock = DelayClock(expires=False)
    async with SQLiteJournal(journal_path, JOB, clock, lambda: 32) as journal:
        await record_canceled(claim, journal, 1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(claim, journal, 2)
            await anyio.wait_all_tasks_blocked()
            assert read_entries(journal_path) == []
            tasks.start_soon(claim, journal, 3)
        assert read_entries(journal_path) == [(2, "sending", ""), (3, "sending", "")]
        await record_canceled(journal.record_triggered, 2, "t")
    assert read_entries(journal_path) == [(2, "triggered", "t"), (3, "sending", "")]


async def record_canceled(
    function: Callable[..., Coroutine[Any, Any, object]], *arguments: object
) -> None:
    """Call a function of a journal and cancel it once it waits for something."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(function, *arguments)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()


async def test_a_value_that_cannot_be_stored_is_a_clear_error(
    journal_path: Path, calendar: CalendarClock
) -> None:
    """Text that SQLite rejects, such as a lone surrogate, raises a PandiumError."""
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        await claim(journal)
        with pytest.raises(PandiumError, match="surrogates"):
            await journal.record_triggered(1, "\ud800")
        await journal.record_triggered(1, "t")


async def test_a_value_that_cannot_be_stored_fails_alone(
    journal_path: Path, calendar: CalendarClock
) -> None:
    """If a value cannot be stored, the other records of the same transaction are written."""
    failures: list[int] = []

    async def record(journal: SQLiteJournal, tenant_id: int, trigger_id: str) -> None:
        try:
            await journal.record_triggered(tenant_id, trigger_id)
        except PandiumError:
            failures.append(tenant_id)

    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        for tenant_id in (1, 2, 3):
            await claim(journal, tenant_id)
        async with anyio.create_task_group() as tasks:
            with locked(journal_path) as other:
                for tenant_id, trigger_id in ((1, "t-1"), (2, "\ud800"), (3, "t-3")):
                    tasks.start_soon(record, journal, tenant_id, trigger_id)
                await calendar.wait_for_work(2)
                other.execute("ROLLBACK")
    assert failures == [2]
    assert read_entries(journal_path) == [
        (1, "triggered", "t-1"),
        (2, "sending", ""),
        (3, "triggered", "t-3"),
    ]


async def test_a_canceled_claim_is_not_written(journal_path: Path, calendar: CalendarClock) -> None:
    """A claim that is canceled while waiting for a lock is dropped."""
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        with locked(journal_path) as other:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(claim, journal)
                await calendar.wait_for_work(1)
                tasks.cancel_scope.cancel()
            other.execute("ROLLBACK")
        assert read_entries(journal_path) == []


def open_files() -> list[str]:
    """Return the paths of this process's open files, on systems that list them."""
    descriptors = Path("/proc/self/fd")
    return [str(file.resolve()) for file in descriptors.iterdir()] if descriptors.is_dir() else []


@pytest.mark.posix
async def test_a_canceled_opening_leaves_no_open_file(
    journal_path: Path, calendar: CalendarClock
) -> None:
    """A journal that is canceled while waiting to be opened leaves no file open."""

    async def enter() -> None:
        async with SQLiteJournal(journal_path, JOB, calendar):
            pytest.fail("the file is locked")

    with locked(journal_path):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(enter)
            await calendar.wait_for_work(1)
            tasks.cancel_scope.cancel()
    assert str(journal_path) not in open_files()


# asyncio's own cancellation, which can occur several times


async def cancel_three_times(task: asyncio.Future[None]) -> None:
    for _ in range(3):
        task.cancel()
        for _ in range(20):
            await asyncio.sleep(0)


async def wait_for_statement(statements: list[str]) -> None:
    statements.clear()
    while not statements:  # noqa: ASYNC110 - set by another thread
        await asyncio.sleep(0)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_transactions_of_canceled_tasks_do_not_overlap(
    journal_path: Path, calendar: CalendarClock, statements: list[str]
) -> None:
    """If a task is canceled while its thread is still running, no other transaction starts."""
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        await claim(journal)
        with locked(journal_path) as other:
            record = asyncio.ensure_future(journal.record_triggered(1, "t"))
            await wait_for_statement(statements)
            await cancel_three_times(record)
            other.execute("ROLLBACK")
            with pytest.raises(asyncio.CancelledError):
                await record
        await journal.record_ended(1, "t", State.SUCCEEDED, "Succeeded")
        expected = Entry(State.SUCCEEDED, trigger_id="t", status="Succeeded")
        assert await adopt(journal) == expected


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_record_is_written_however_often_it_is_canceled(
    journal_path: Path, calendar: CalendarClock, statements: list[str]
) -> None:
    """A record that is canceled repeatedly before its thread starts is still written."""
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        for tenant_id in (1, 2):
            await claim(journal, tenant_id)
        with locked(journal_path) as other:
            first = asyncio.ensure_future(journal.record_triggered(1, "t1"))
            await wait_for_statement(statements)
            second = asyncio.ensure_future(journal.record_triggered(2, "t2"))
            await asyncio.sleep(0)
            await cancel_three_times(second)
            await asyncio.wait([second])
            other.execute("ROLLBACK")
            await first
        assert second.cancelled()
    expected = [(1, "triggered", "t1"), (2, "triggered", "t2")]
    assert read_entries(journal_path) == expected


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_claim_that_is_canceled_during_its_transaction_is_deleted(
    journal_path: Path, calendar: CalendarClock, statements: list[str]
) -> None:
    """No request is sent for a canceled claim, so the tenant remains new."""
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        with locked(journal_path) as other:
            claiming = asyncio.ensure_future(claim(journal))
            await wait_for_statement(statements)
            claiming.cancel()
            other.execute("ROLLBACK")  # before the attempt ends, so that it succeeds
            await asyncio.wait([claiming])
        assert claiming.cancelled()
        await journal.renew()
        assert await adopt(journal) == NEW


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_journal_is_closed_however_often_it_is_canceled(
    journal_path: Path, calendar: CalendarClock
) -> None:
    """Even if closing is canceled repeatedly, the file is closed and its triggers are released."""

    async def close() -> None:
        async with SQLiteJournal(journal_path, JOB, calendar) as journal:
            await claim(journal)
            await journal.record_triggered(1, "t")
            is_closing.set()

    is_closing = asyncio.Event()
    closing_task = asyncio.ensure_future(close())
    await is_closing.wait()
    for _ in range(3):
        closing_task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await closing_task
    while len(list(journal_path.parent.iterdir())) > 1:  # noqa: ASYNC110 - a thread closes it
        await asyncio.sleep(0)
    async with SQLiteJournal(journal_path, JOB, calendar) as other:
        assert (await adopt(other)).is_mine

"""The journal by itself: who owns what, until when, and what a file may do to it."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import tempfile
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest

from pandium import ConfigurationError, PandiumError
from pandium._bulk.journal import LEASE, Entry, Journal, State
from pandium._clock import RealClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

pytestmark = pytest.mark.anyio

JOB = {"mode": "normal", "base_url": "https://x.example"}
MINE = Entry(State.SENDING, is_mine=True)
OTHERS = Entry(State.SENDING)
NEW = Entry(State.NEW)


class Calendar(RealClock):
    """A clock whose date is what a test says, and that counts questions and waits for a file."""

    def __init__(self) -> None:
        self.date = datetime(2026, 1, 1, tzinfo=UTC)
        self.works = 0
        self.asked = 0
        self._changed = anyio.Event()

    def waiting_for_io(self) -> AbstractContextManager[object]:
        self.works += 1
        self._changed.set()
        return super().waiting_for_io()

    async def until_at_work(self, times: int) -> None:
        """Wait for so many more tries, or pauses between them, to begin."""
        wanted = self.works + times
        while self.works < wanted:
            self._changed = anyio.Event()
            await self._changed.wait()

    def wall(self) -> datetime:
        self.asked += 1
        return self.date

    def go_on(self, seconds: float) -> None:
        self.date += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Calendar:
    return Calendar()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def rows(file: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(file)) as db:
        return db.execute("SELECT tenant_id, state, trigger_id FROM syncs").fetchall()


@contextmanager
def locked(file: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield db


async def claim(journal: Journal, tenant_id: int = 1, *, may_repeat: bool = False) -> Entry:
    return await journal.claim(tenant_id, may_repeat=may_repeat)


async def find(journal: Journal, tenant_id: int = 1, *, may_repeat: bool = False) -> Entry:
    return await journal.find(tenant_id, may_repeat=may_repeat)


# Who owns what


async def test_a_tenant_is_claimed_by_one_alone(file: Path, clock: Calendar) -> None:
    """Of many owners that claim at once, each tenant is one's."""
    claimed: list[int] = []

    async def claim_all() -> None:
        async with Journal(file, JOB, clock) as journal:
            for tenant_id in range(25):
                if (await claim(journal, tenant_id)).is_mine:
                    claimed.append(tenant_id)

    async with anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(claim_all)
    assert sorted(claimed) == list(range(25))


async def test_to_look_is_not_to_claim(file: Path, clock: Calendar) -> None:
    """What is found to be new is new for the next one, too."""
    async with Journal(file, JOB, clock) as one, Journal(file, JOB, clock) as two:
        assert [await find(one), await find(two)] == [NEW, NEW]
        assert [await claim(one), await claim(two), await find(two)] == [MINE, OTHERS, OTHERS]


async def test_a_request_without_an_answer_is_lost_with_its_lease(
    file: Path, clock: Calendar
) -> None:
    """While its owner renews it a request is its own; once the lease lapses it is unknown."""
    async with Journal(file, JOB, clock) as one, Journal(file, JOB, clock) as two:
        await claim(one)
        clock.go_on(LEASE - 1)
        await one.renew()
        clock.go_on(LEASE - 1)
        assert await find(two) == OTHERS
        assert await two.elsewhere() == {1}
        clock.go_on(2)
        assert await two.elsewhere() == set()
        assert (await claim(two)).state is State.UNKNOWN
        assert [state for _, state, _ in rows(file)] == ["unknown"]


async def test_a_trigger_is_taken_over_with_its_lease(file: Path, clock: Calendar) -> None:
    """A trigger whose owner stands still is anybody's, but one's alone."""
    async with (
        Journal(file, JOB, clock) as one,
        Journal(file, JOB, clock) as two,
        Journal(file, JOB, clock) as three,
    ):
        await claim(one)
        await one.triggered(1, "t")
        assert await find(two) == Entry(State.TRIGGERED, trigger_id="t")
        clock.go_on(LEASE + 1)
        assert await find(two) == Entry(State.TRIGGERED, is_mine=True, trigger_id="t")
        assert await find(three) == Entry(State.TRIGGERED, trigger_id="t")
        await one.renew()  # it is no longer its own
        clock.go_on(LEASE + 1)
        assert (await find(three)).is_mine


async def test_a_trigger_prolongs_the_lease(file: Path, clock: Calendar) -> None:
    """An answer that comes late makes the tenant its owner's for another lease."""
    async with Journal(file, JOB, clock) as one, Journal(file, JOB, clock) as two:
        await claim(one)
        clock.go_on(LEASE - 1)
        await one.triggered(1, "t")
        clock.go_on(LEASE - 1)
        assert not (await find(two)).is_mine


async def test_a_lease_of_a_wrong_clock_has_lapsed(file: Path, clock: Calendar) -> None:
    """A lease from far in the future holds neither a trigger nor a request until then."""
    async with Journal(file, JOB, clock) as one, Journal(file, JOB, clock) as two:
        await claim(one)
        await one.triggered(1, "t")
        await claim(one, 2)
        clock.go_on(-1)
        assert not (await find(two)).is_mine
        assert await find(two, 2) == OTHERS
        clock.go_on(-10_000)
        assert (await find(two)).is_mine
        assert (await find(two, 2)).state is State.UNKNOWN


async def test_what_is_lost_is_claimed_again_on_demand_alone(file: Path, clock: Calendar) -> None:
    """An unknown or abandoned request is sent again by whoever may repeat, and by one alone."""
    async with Journal(file, JOB, clock) as one, Journal(file, JOB, clock) as two:
        await claim(one, 1)
        await claim(one, 2)
        await one.lost(1, "gone")
        assert await find(two, 1) == Entry(State.UNKNOWN, error="gone")
        assert await find(two, 1, may_repeat=True) == NEW
        assert await claim(two, 1, may_repeat=True) == MINE
        assert await claim(one, 1, may_repeat=True) == OTHERS
        assert await claim(two, 2, may_repeat=True) == OTHERS
        clock.go_on(LEASE + 1)
        assert await find(two, 2, may_repeat=True) == NEW
        assert await claim(two, 2, may_repeat=True) == MINE


async def test_what_has_a_trigger_is_never_claimed_again(file: Path, clock: Calendar) -> None:
    """Neither a trigger nor an outcome is repeated, whoever asks for it."""
    async with Journal(file, JOB, clock) as one, Journal(file, JOB, clock) as two:
        for tenant_id in (1, 2):
            await claim(one, tenant_id)
            await one.triggered(tenant_id, f"t{tenant_id}")
        await one.ended(2, "t2", State.FAILED, "Failed (Timeout)")
        clock.go_on(LEASE + 1)
        assert (await claim(two, 1, may_repeat=True)).state is State.TRIGGERED
        expected = Entry(State.FAILED, trigger_id="t2", status="Failed (Timeout)")
        assert await claim(two, 2, may_repeat=True) == expected


async def test_records_are_those_of_the_request_they_speak_of(file: Path, clock: Calendar) -> None:
    """An owner whose claim was given to another writes nothing over it any more."""
    async with Journal(file, JOB, clock) as one, Journal(file, JOB, clock) as two:
        await claim(one)
        clock.go_on(LEASE + 1)
        assert await claim(two, may_repeat=True) == MINE
        await one.triggered(1, "late")
        await one.lost(1, "late")
        await one.unsent(1)
        await one.leave(1)
        await one.ended(1, "late", State.SUCCEEDED, "Succeeded")
        assert rows(file) == [(1, "sending", "")]
        await two.triggered(1, "t")
        await one.ended(1, "late", State.SUCCEEDED, "Succeeded")
        assert rows(file) == [(1, "triggered", "t")]


async def test_no_record_takes_a_trigger_away(file: Path, clock: Calendar) -> None:
    """Once its trigger or its end is known, a request is neither lost nor unsent any more."""
    async with Journal(file, JOB, clock) as journal:
        await claim(journal)
        for record in (
            journal.triggered(1, "t"),
            journal.ended(1, "t", State.SUCCEEDED, "Succeeded"),
        ):
            await record
            before = await find(journal)
            await journal.lost(1, "late")
            await journal.unsent(1)
            await journal.triggered(1, "late")
            assert await find(journal) == before


async def test_a_late_answer_is_better_than_none(file: Path, clock: Calendar) -> None:
    """What was given up for lost becomes what it was, once its owner knows."""
    async with Journal(file, JOB, clock) as one, Journal(file, JOB, clock) as two:
        for tenant_id in (1, 2):
            await claim(one, tenant_id)
        clock.go_on(LEASE + 1)
        for tenant_id in (1, 2):
            assert (await find(two, tenant_id)).state is State.UNKNOWN
        await one.triggered(1, "t1")
        await one.unsent(2)
        assert rows(file) == [(1, "triggered", "t1")]


async def test_the_end_is_recorded_whoever_saw_it(file: Path, clock: Calendar) -> None:
    """How the run of a trigger ended is the same for all, and is recorded once."""
    async with Journal(file, JOB, clock) as one, Journal(file, JOB, clock) as two:
        await claim(one)
        await one.triggered(1, "t")
        await two.ended(1, "t", State.SUCCEEDED, "Succeeded")
        await one.ended(1, "t", State.FAILED, "Failed (Timeout)")
        expected = Entry(State.SUCCEEDED, trigger_id="t", status="Succeeded")
        assert [await find(one), await find(two)] == [expected, expected]


async def test_whoever_closes_leaves_its_triggers_at_once(file: Path, clock: Calendar) -> None:
    """No lease outlives an owner that ends as it should; a request under way stays its own."""
    async with Journal(file, JOB, clock) as two:
        async with Journal(file, JOB, clock) as one:
            await claim(one, 1)
            await claim(one, 2)
            await one.triggered(2, "t2")
        assert await two.under_way() == [(1, State.SENDING), (2, State.TRIGGERED)]
        assert await find(two, 1) == OTHERS
        assert (await find(two, 2)).is_mine


async def test_what_was_left_is_not_renewed(file: Path, clock: Calendar) -> None:
    """A trigger that its owner gave up is free at once, however long that owner goes on."""
    async with Journal(file, JOB, clock) as one, Journal(file, JOB, clock) as two:
        await claim(one)
        await one.triggered(1, "t")
        await one.leave(1)
        await one.renew()
        assert await two.elsewhere() == set()
        assert (await find(two)).is_mine


async def test_a_journal_in_memory_is_its_own(clock: Calendar) -> None:
    """Without a path nothing is shared, and all else is as in a file."""
    async with Journal(None, JOB, clock) as one, Journal(None, JOB, clock) as two:
        assert [await claim(one), await claim(two)] == [MINE, MINE]
        await one.triggered(1, "t")
        assert await one.under_way() == [(1, State.TRIGGERED)]


# What a file may be


def _text(file: Path) -> None:
    file.write_text("This is no database, but a letter. " * 100)


def _cut(file: Path) -> None:
    file.write_bytes(b"SQLite format 3\0" + b"\xff" * 2000)


def _other_database(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE notes (text)")


def _other_application(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA application_id = 1234")


def _newer(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.execute(f"PRAGMA application_id = {0x50414E44}")
        db.execute("PRAGMA user_version = 2")


def _emptied(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.execute(f"PRAGMA application_id = {0x50414E44}")
        db.execute("PRAGMA user_version = 1")


def _content(file: Path) -> bytes:
    return file.read_bytes() if file.is_file() else b""


def _close(directory: Path, mode: int) -> None:
    for file in directory.iterdir():
        file.chmod(mode & 0o444)
    directory.chmod(mode)


def _open_files() -> list[str]:
    """Give the paths of what this process has open, where the system tells."""
    fds = Path("/proc/self/fd")
    return [str(one.resolve()) for one in fds.iterdir()] if fds.is_dir() else []


def _overwrite(file: Path) -> None:
    with file.open("r+b") as raw:
        raw.seek(4096)
        raw.write(b"\xa5" * (file.stat().st_size - 4096))


UNUSABLE: list[tuple[Callable[[Path], object], str]] = [
    (_text, "file is not a database"),
    (_cut, "file is not a database"),
    (_other_database, "no journal"),
    (_other_application, "no journal"),
    (_newer, "newer version"),
    (_emptied, "no such table"),
    (Path.mkdir, "unable to open"),
]


@pytest.mark.parametrize(("make", "fault"), UNUSABLE)
async def test_a_file_that_is_no_journal_is_left_as_it_is(
    file: Path, clock: Calendar, make: Callable[[Path], object], fault: str
) -> None:
    """A file of something else is a ConfigurationError that names it, and is not written to."""
    make(file)
    before = _content(file)
    with pytest.raises(ConfigurationError, match=fault) as caught:
        async with Journal(file, JOB, clock):
            pass
    assert str(file) in str(caught.value)
    assert _content(file) == before


async def test_an_empty_file_becomes_a_journal(file: Path, clock: Calendar) -> None:
    """A file that was made beforehand, such as a temporary one, is as good as none."""
    _text(file)
    os.truncate(file, 0)
    async with Journal(file, JOB, clock) as journal:
        assert await claim(journal) == MINE


async def test_a_journal_belongs_to_its_job(file: Path, clock: Calendar) -> None:
    """The journal of another job is a ConfigurationError that says what differs."""
    async with Journal(file, JOB, clock):
        pass
    with pytest.raises(ConfigurationError, match="mode 'normal', not 'init'"):
        async with Journal(file, {**JOB, "mode": "init"}, clock):
            pass


async def test_a_corrupt_journal_is_a_clear_error(file: Path, clock: Calendar) -> None:
    """A journal whose pages were overwritten is an error that names it, not a wrong answer."""
    async with Journal(file, JOB, clock) as journal:
        for tenant_id in range(200):
            await claim(journal, tenant_id)
    _overwrite(file)
    with pytest.raises(PandiumError, match=r"malformed|corrupt") as caught:
        async with Journal(file, JOB, clock) as journal:
            await claim(journal)
    assert str(file) in str(caught.value)


async def test_a_missing_directory_is_a_clear_error(tmp_path: Path, clock: Calendar) -> None:
    """No directory is made for a journal: a wrong path is an error, and not a new job."""
    (tmp_path / "file").touch()
    for parent in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(ConfigurationError, match="directory") as caught:
            async with Journal(parent / "journal", JOB, clock):
                pass
        assert str(parent) in str(caught.value)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be somebody whom permissions concern."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def closed_directory() -> Iterator[Path]:
    """Give a directory in which nobody may write, with a journal; pytest's own is for one user."""
    path = Path(tempfile.mkdtemp())
    try:
        yield path
    finally:
        path.chmod(0o755)
        shutil.rmtree(path)


@pytest.mark.parametrize("what", ["a journal", "nothing"])
async def test_a_directory_without_permission_is_a_clear_error(
    closed_directory: Path, clock: Calendar, what: str
) -> None:
    """A journal that cannot be written is an error that names it, before anything is sent."""
    file = closed_directory / "journal"
    if what == "a journal":
        async with Journal(file, JOB, clock):
            pass
    _close(closed_directory, 0o555)
    with as_nobody(), pytest.raises(ConfigurationError, match=r"unable to open|readonly") as caught:
        async with Journal(file, JOB, clock):
            pass
    assert str(file) in str(caught.value)


async def test_a_directory_that_cannot_be_entered_is_a_clear_error(
    closed_directory: Path, clock: Calendar
) -> None:
    """Where not even the directory may be looked at, the error says so."""
    _close(closed_directory, 0)
    with as_nobody(), pytest.raises(ConfigurationError, match="directory"):
        async with Journal(closed_directory / "deep" / "journal", JOB, clock):
            pass


# What may happen to a file in use


def _delete(file: Path) -> None:
    file.unlink()


def _replace(file: Path) -> None:
    file.rename(file.with_name("old"))
    file.touch()


@pytest.mark.parametrize("harm", [_delete, _replace])
async def test_a_file_that_is_gone_is_noticed(
    file: Path, clock: Calendar, harm: Callable[[Path], None]
) -> None:
    """Nothing is claimed in a file that no other process would find."""
    async with Journal(file, JOB, clock) as journal:
        assert await claim(journal, 1) == MINE
        harm(file)
        for act in (claim(journal, 2), find(journal, 1), journal.triggered(1, "t")):
            with pytest.raises(PandiumError, match="deleted or replaced") as caught:
                await act
            assert str(file) in str(caught.value)


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file grow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_is_a_clear_error(file: Path, clock: Calendar) -> None:
    """What cannot be written is an error and not recorded; once there is room all is well."""
    async with Journal(file, JOB, clock) as journal:
        error: Exception | None = None
        with full_disk():
            try:
                await claim(journal)
            except PandiumError as caught:
                error = caught
        assert str(file) in str(error)
        assert await find(journal) == NEW
        assert await claim(journal) == MINE


async def test_a_lock_is_waited_out(
    file: Path, clock: Calendar, caplog: pytest.LogCaptureFixture
) -> None:
    """While another process is writing, all else goes on; it is said once, and then waited for."""
    async with Journal(file, JOB, clock) as journal, anyio.create_task_group() as tasks:
        with locked(file) as other:
            tasks.start_soon(claim, journal)
            await clock.until_at_work(4)  # a second time it pauses, not having got the lock
            assert clock.asked == 0  # or its lease would be of before it was written
            other.execute("ROLLBACK")
    assert rows(file) == [(1, "sending", "")]
    assert caplog.text.count("locked by another process") == 1


async def test_a_lock_on_opening_is_waited_out(file: Path, clock: Calendar) -> None:
    """A journal that another process is just making is opened once that has been done."""
    async with anyio.create_task_group() as tasks:
        with locked(file) as other:

            async def unlock() -> None:
                await clock.until_at_work(2)
                other.execute("ROLLBACK")

            tasks.start_soon(unlock)
            async with Journal(file, JOB, clock) as journal:
                assert await claim(journal) == MINE


async def test_a_record_is_written_though_cancelled(file: Path, clock: Calendar) -> None:
    """A record that waits for a lock when it is cancelled is made as soon as it can be."""
    async with Journal(file, JOB, clock) as journal:
        await claim(journal)
        with locked(file) as other:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(journal.triggered, 1, "t")
                await clock.until_at_work(1)
                tasks.cancel_scope.cancel()
                other.execute("ROLLBACK")
        assert rows(file) == [(1, "triggered", "t")]


async def test_a_cancelled_record_is_tried_again(file: Path, clock: Calendar) -> None:
    """A lock that lasts for longer than one try does not cost a cancelled record."""
    async with Journal(file, JOB, clock) as journal:
        await claim(journal)
        db = journal._database._db
        assert db is not None
        begun: list[str] = []

        def note(statement: str) -> None:
            begun.append(statement)
            if len(begun) == 3:  # the one that was cancelled, and two more
                other.execute("ROLLBACK")

        with locked(file) as other:
            db.set_trace_callback(note)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(journal.triggered, 1, "t")
                await clock.until_at_work(1)
                while not begun:
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            db.set_trace_callback(None)
        assert begun[:3] == ["BEGIN IMMEDIATE"] * 3
        assert rows(file) == [(1, "triggered", "t")]


async def test_a_cancelled_record_has_an_end(file: Path, clock: Calendar) -> None:
    """A lock that is never given back does not keep a cancelled task for ever."""
    async with Journal(file, JOB, clock) as journal:
        await claim(journal)
        with locked(file), anyio.fail_after(30), anyio.CancelScope() as scope:
            scope.cancel()
            await journal.triggered(1, "t")
        assert scope.cancelled_caught
        assert rows(file) == [(1, "sending", "")]


async def test_to_claim_is_given_up_when_cancelled(file: Path, clock: Calendar) -> None:
    """What is not yet written need not be: a claim that waits for a lock is simply dropped."""
    async with Journal(file, JOB, clock) as journal:
        with locked(file) as other:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(claim, journal)
                await clock.until_at_work(1)
                tasks.cancel_scope.cancel()
            other.execute("ROLLBACK")
        assert rows(file) == []


async def test_a_closed_journal_is_a_clear_error(file: Path, clock: Calendar) -> None:
    """What comes too late is an error of the library's own; the file is closed and tidy."""
    journal = Journal(file, JOB, clock)
    async with journal:
        await claim(journal)
    with pytest.raises(PandiumError, match="not open"):
        await claim(journal)
    assert [one.name for one in file.parent.iterdir()] == ["journal"]


async def test_an_opening_that_is_cancelled_leaves_nothing_open(
    file: Path, clock: Calendar
) -> None:
    """Cancelled while it waits to be opened, a journal holds no file."""

    async def enter() -> None:
        async with Journal(file, JOB, clock):
            pytest.fail("it is locked")

    with locked(file):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(enter)
            await clock.until_at_work(1)
            tasks.cancel_scope.cancel()
    assert str(file) not in _open_files()

"""The identity of a journal: no tenant is claimed twice, whatever happens to its files."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pandium import ConfigurationError, JournalError, PandiumError
from pandium._bulk.sqlite import SQLiteJournal
from pandium._bulk.summary import read_summary
from support.journals import (
    JOB,
    MINE,
    NOT_MINE,
    JournalProcess,
    claim,
    copy_during_transaction,
    count_transactions,
    read_entries,
    script_environment,
    trace_statements,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.journals import CalendarClock

pytestmark = pytest.mark.anyio

CLAIMED, HELD = ["sending", True], ["sending", False]
FORKING_PROCESS = Path(__file__).parents[1] / "support" / "forking_process.py"


# The file itself contains all claims


def delete_other_files(path: Path) -> None:
    """Delete everything in a journal's directory except the journal itself."""
    for file in path.parent.iterdir():
        if file != path:
            file.unlink()


def test_no_claim_is_lost_with_the_files_beside_a_journal(journal_path: Path) -> None:
    """The auxiliary files may be deleted between transactions, even if the process is killed."""
    with JournalProcess(journal_path) as killed, JournalProcess(journal_path) as other:
        assert killed.call("claim", 1) == CLAIMED
        delete_other_files(journal_path)
        assert killed.call("claim", 2) == CLAIMED
        delete_other_files(journal_path)
        killed.kill()
        assert other.call("claim", 1) == HELD
        with JournalProcess(journal_path) as third:
            assert third.call("claim", 2) == HELD


def move(path: Path) -> None:
    path.rename(path.with_name("moved"))


def delete(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def write_one_byte(path: Path) -> None:
    path.write_bytes(b"\n")  # as echo does


def empty_database(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("VACUUM")  # writes a page without tables


LOSSES = [move, delete, empty, write_one_byte, empty_database]


async def assert_interrupted(path: Path, calendar: CalendarClock) -> None:
    """Assert that a lost journal is not begun anew until its lock file is deleted."""
    before = sorted(path.parent.iterdir())
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="shows that a job used it") as caught:
            await SQLiteJournal(path, JOB, calendar).__aenter__()
        assert str(path) in str(caught.value)
    assert sorted(path.parent.iterdir()) == before
    path.with_name("journal-lock").unlink()
    async with SQLiteJournal(path, JOB, calendar) as journal:
        assert await claim(journal, 1) == MINE


@pytest.mark.parametrize("lose", LOSSES)
async def test_a_journal_that_is_lost_while_in_use_is_not_begun_anew(
    journal_path: Path, calendar: CalendarClock, lose: Callable[[Path], None]
) -> None:
    """A worker that starts after the others have ended does not repeat their claims."""
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        assert await claim(journal, 1) == MINE
        lose(journal_path)
    await assert_interrupted(journal_path, calendar)


@pytest.mark.parametrize("lose", LOSSES)
async def test_the_journal_of_a_killed_process_is_not_begun_anew(
    journal_path: Path, calendar: CalendarClock, lose: Callable[[Path], None]
) -> None:
    """The same applies if all workers were killed."""
    with JournalProcess(journal_path) as killed:
        killed.kill()
    lose(journal_path)
    await assert_interrupted(journal_path, calendar)


@pytest.mark.parametrize("lose", LOSSES)
@pytest.mark.parametrize("is_used_again", [True, False])
async def test_a_worker_that_closes_the_journal_does_not_unprotect_it(
    journal_path: Path,
    calendar: CalendarClock,
    lose: Callable[[Path], None],
    *,
    is_used_again: bool,
) -> None:
    """The same applies if another worker closed the journal before it was lost."""
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        async with SQLiteJournal(journal_path, JOB, calendar) as other:
            assert await claim(other, 1) == MINE
        if is_used_again:
            await journal.renew()
            lose(journal_path)
            await assert_interrupted(journal_path, calendar)
        else:
            lose(journal_path)
    if not is_used_again:
        await assert_interrupted(journal_path, calendar)


@pytest.mark.parametrize("is_killed", [True, False])
async def test_reading_a_journal_does_not_unprotect_it(
    journal_path: Path, calendar: CalendarClock, *, is_killed: bool
) -> None:
    """The same applies if the journal was shown before it was lost."""
    with JournalProcess(journal_path) as process:
        if is_killed:
            process.kill()
        await read_summary(journal_path, calendar)
        process.kill()
    delete(journal_path)
    await assert_interrupted(journal_path, calendar)


async def test_a_journal_that_was_moved_leaves_the_files_of_its_successor_alone(
    tmp_path: Path, journal_path: Path, calendar: CalendarClock
) -> None:
    """The rollback journal of another job's process that was killed is only for its own file."""
    async with SQLiteJournal(tmp_path / "source", JOB, calendar) as journal:
        assert await claim(journal, 2) == MINE
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        assert await claim(journal, 1) == MINE
        move(journal_path)
        copy_during_transaction(tmp_path / "source", journal_path)
        rollback_journal = journal_path.with_name("journal-journal")
        content = rollback_journal.read_bytes()
        for _ in range(2):
            with pytest.raises(JournalError, match="was deleted or replaced"):
                await claim(journal, 3)
    assert rollback_journal.read_bytes() == content
    assert read_entries(journal_path) == [(2, "sending", "")]
    assert read_entries(journal_path.with_name("moved")) == [(1, "sending", "")]


async def test_a_lost_journal_can_be_restored(journal_path: Path, calendar: CalendarClock) -> None:
    """Once the file is back, the job can be resumed, and the lock file is deleted at the end."""
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        assert await claim(journal, 1) == MINE
        move(journal_path)
    journal_path.with_name("moved").rename(journal_path)
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        assert await claim(journal, 1) == NOT_MINE
    assert list(journal_path.parent.iterdir()) == [journal_path]


async def test_a_journal_that_is_refused_stays_protected(
    journal_path: Path, calendar: CalendarClock
) -> None:
    """Opening the journal of an interrupted job for another job does not unprotect it."""
    with JournalProcess(journal_path) as killed:
        killed.kill()
    with pytest.raises(ConfigurationError, match="belongs to a job"):
        await SQLiteJournal(journal_path, {"mode": "init"}, calendar).__aenter__()
    delete(journal_path)
    await assert_interrupted(journal_path, calendar)


async def test_a_file_with_the_name_of_a_lock_file_is_kept(
    journal_path: Path, calendar: CalendarClock
) -> None:
    """A journal whose lock file would be another file is refused, and the file is not changed."""
    other = journal_path.with_name("journal-lock")
    other.write_text("my notes")
    with pytest.raises(ConfigurationError, match="is not a lock file"):
        await SQLiteJournal(journal_path, JOB, calendar).__aenter__()
    assert other.read_text() == "my notes"


@pytest.mark.parametrize("content", [b"", b"The journal beside"])
async def test_a_lock_file_without_a_complete_mark_proves_nothing(
    journal_path: Path, calendar: CalendarClock, content: bytes
) -> None:
    """A process that was killed before it created the journal does not prevent a new one."""
    journal_path.with_name("journal-lock").write_bytes(content)
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        assert await claim(journal, 1) == MINE
        delete(journal_path)
    await assert_interrupted(journal_path, calendar)


def test_no_claim_is_lost_if_the_file_is_read(journal_path: Path) -> None:
    """A process may read its own journal, which drops the locks held by SQLite."""
    with JournalProcess(journal_path) as reading:
        assert reading.call("claim", 1) == CLAIMED
        assert reading.call("read") > 0
        with JournalProcess(journal_path) as other:
            assert other.call("claim", 2) == CLAIMED
            other.close()
        assert reading.call("claim", 3) == CLAIMED
        reading.kill()
    with JournalProcess(journal_path) as third:
        assert CLAIMED not in [third.call("claim", tenant_id) for tenant_id in (1, 2, 3)]


def test_a_copy_can_be_made_while_a_journal_is_in_use(journal_path: Path, tmp_path: Path) -> None:
    """A SQLite backup contains all earlier claims and does not affect later ones."""
    copy = tmp_path / "copy" / "journal"
    copy.parent.mkdir()
    with JournalProcess(journal_path) as process:
        assert process.call("claim", 1) == CLAIMED
        with closing(sqlite3.connect(journal_path)) as db, closing(sqlite3.connect(copy)) as target:
            db.backup(target)
        assert process.call("claim", 2) == CLAIMED
        with JournalProcess(copy) as other:
            assert [other.call("claim", 1), other.call("claim", 2)] == [HELD, CLAIMED]


# Forks


def fork(backend: str, path: Path, mode: str) -> dict[str, list[Any]]:
    """Run forking_process.py and return the results by process."""
    output = subprocess.run(
        [sys.executable, FORKING_PROCESS, backend, path, mode],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
        env=script_environment(),
    ).stdout
    return {name: results for name, *results in map(json.loads, output.splitlines())}


@pytest.mark.posix
def test_a_child_cannot_use_the_journal_of_its_parent(
    journal_path: Path, anyio_backend: str
) -> None:
    """A child gets an error that explains what to do. The parent is not affected."""
    results = fork(anyio_backend, journal_path, "inherit")
    assert results["parent"] == [True, True]
    [error] = results["child"]
    assert "forked" in error
    assert "call sync_all after forking" in error


@pytest.mark.posix
def test_a_child_can_open_the_journal_of_its_parent(journal_path: Path, anyio_backend: str) -> None:
    """A child that opens the file itself becomes another worker."""
    results = fork(anyio_backend, journal_path, "open")
    assert results == {"child": [False, True], "parent": [True, False, True]}
    assert [entry[0] for entry in read_entries(journal_path)] == [1, 2, 3]
    assert list(journal_path.parent.iterdir()) == [journal_path]


@pytest.mark.posix
def test_a_fork_waits_for_the_end_of_a_transaction(journal_path: Path) -> None:
    """A child inherits neither an open transaction nor a lock, whichever thread forks."""
    assert fork("asyncio", journal_path, "transaction") == {"child": [True]}


# Other names of the same file


@pytest.mark.posix
async def test_a_file_with_two_names_is_refused(
    journal_path: Path, calendar: CalendarClock
) -> None:
    """A hard link is rejected under either name, with an error that explains what to do."""
    async with SQLiteJournal(journal_path, JOB, calendar):
        pass
    second = journal_path.with_name("second")
    second.hardlink_to(journal_path)
    for path in (journal_path, second):
        with pytest.raises(ConfigurationError, match=r"2 names.*symbolic link"):
            async with SQLiteJournal(path, JOB, calendar):
                pass
    second.unlink()
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        assert await claim(journal) == MINE


@pytest.mark.posix
async def test_a_second_name_is_noticed(journal_path: Path, calendar: CalendarClock) -> None:
    """If a hard link is created while a journal is in use, the next transaction fails."""
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        assert await claim(journal, 1) == MINE
        journal_path.with_name("second").hardlink_to(journal_path)
        with pytest.raises(PandiumError, match="2 names"):
            await claim(journal, 2)
    assert [entry[0] for entry in read_entries(journal_path)] == [1]


@pytest.mark.posix
async def test_a_symbolic_link_is_the_same_journal(
    journal_path: Path, calendar: CalendarClock
) -> None:
    """Workers that use a link and its target share the journal and its lock."""
    link = journal_path.with_name("link")
    link.symlink_to(journal_path)
    async with SQLiteJournal(link, JOB, calendar) as one:
        assert await claim(one) == MINE
        async with SQLiteJournal(journal_path, JOB, calendar) as two:
            assert await claim(two) == NOT_MINE
        assert {file.name for file in journal_path.parent.iterdir()} <= {
            "journal",
            "link",
            "journal-journal",
            "journal-lock",
        }


@pytest.mark.posix
async def test_a_path_through_a_link_and_back_is_the_path_of_the_system(
    tmp_path: Path, calendar: CalendarClock
) -> None:
    """The parent of a link is that of its target, and not the directory that has the link."""
    target = tmp_path / "one" / "two"
    target.mkdir(parents=True)
    (tmp_path / "link").symlink_to(target)
    async with SQLiteJournal(tmp_path / "link" / ".." / "journal", JOB, calendar) as journal:
        assert await claim(journal) == MINE
        async with SQLiteJournal(tmp_path / "one" / "journal", JOB, calendar) as other:
            assert await claim(other) == NOT_MINE


@pytest.mark.posix
async def test_a_link_that_changes_its_target_is_noticed(
    journal_path: Path, calendar: CalendarClock
) -> None:
    """A worker must not write to a file that the next worker would not find."""
    link = journal_path.with_name("link")
    link.symlink_to(journal_path)
    async with SQLiteJournal(link, JOB, calendar) as journal:
        assert await claim(journal, 1) == MINE
        link.unlink()
        link.symlink_to(journal_path.with_name("other"))
        with pytest.raises(PandiumError, match="deleted or replaced"):
            await claim(journal, 2)


@pytest.mark.posix
async def test_a_link_that_changes_while_it_is_opened_is_noticed(
    journal_path: Path, calendar: CalendarClock
) -> None:
    """The same applies if the link changes between opening its target and the first claim."""
    link = journal_path.with_name("link")
    link.symlink_to(journal_path)

    def change_target(statement: str) -> None:
        if statement == "BEGIN EXCLUSIVE":
            link.unlink()
            link.symlink_to(journal_path.with_name("other"))
            link.touch()

    with trace_statements(change_target):
        async with SQLiteJournal(link, JOB, calendar) as journal:
            with pytest.raises(PandiumError, match="deleted or replaced"):
                await claim(journal, 1)


OPEN = """
import sys, anyio
from pathlib import Path
from pandium._bulk.sqlite import SQLiteJournal
from pandium._clock import RealClock

async def main():
    async with SQLiteJournal(Path(sys.argv[1]), {}, RealClock()):
        pass

anyio.run(main)
"""


@pytest.mark.posix
def test_a_file_that_is_a_mount_point_is_refused(tmp_path: Path) -> None:
    """If a single file is mounted, for example into a container, its auxiliary files differ."""
    outside, inside = tmp_path / "outside", tmp_path / "in side"
    outside.touch()
    inside.touch()
    script = 'mount --bind "$1" "$2" || exit 77; shift 2; exec "$@"'
    mount = ["unshare", "-Urm", "sh", "-c", script, "sh", str(outside), str(inside)]
    if shutil.which("unshare") is None or subprocess.run([*mount, "true"], check=False).returncode:
        pytest.skip("mounting is not allowed")
    command = [*mount, sys.executable, "-c", OPEN, str(inside)]
    errors = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True).stderr
    assert "mounted as a single file" in errors
    assert "mount its directory" in errors


# Changes to the content of the file


def restore_older_copy(path: Path) -> None:
    shutil.copyfile(path.with_name("copy"), path)


def write_another_journal(path: Path) -> None:
    with JournalProcess(path.with_name("another")) as process:
        for tenant_id in range(50):  # this gives the file more transactions
            assert process.call("claim", tenant_id) == CLAIMED
        process.close()
    shutil.copyfile(path.with_name("another"), path)


def truncate(path: Path) -> None:
    os.truncate(path, 0)


def delete_rows(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM revisions")
        db.commit()


def let_a_process_continue_older_copy(path: Path) -> None:
    restore_older_copy(path)
    with JournalProcess(path) as process:
        for tenant_id in range(100, 150):
            assert process.call("claim", tenant_id) == CLAIMED
        process.close()


@pytest.mark.parametrize(
    "overwrite",
    [
        restore_older_copy,
        let_a_process_continue_older_copy,
        write_another_journal,
        truncate,
        delete_rows,
    ],
)
async def test_a_file_that_is_overwritten_is_noticed(
    journal_path: Path, calendar: CalendarClock, overwrite: Callable[[Path], None]
) -> None:
    """If the file's content is replaced with other or older content, all transactions fail."""
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        assert await claim(journal, 1) == MINE
        shutil.copyfile(journal_path, journal_path.with_name("copy"))
        assert await claim(journal, 2) == MINE
        overwrite(journal_path)
        for tenant_id in (2, 3):
            with pytest.raises(PandiumError, match=r"overwritten|no such table") as caught:
                await claim(journal, tenant_id)
            assert str(journal_path) in str(caught.value)


@pytest.mark.parametrize("lacking", [1, 2, 3])
async def test_an_older_copy_with_as_many_transactions_is_noticed(
    journal_path: Path, calendar: CalendarClock, lacking: int
) -> None:
    """SQLite's cache is not used if another process has replaced the lacking transactions."""
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        assert await claim(journal, 1) == MINE
        shutil.copyfile(journal_path, journal_path.with_name("copy"))
        for tenant_id in range(2, 2 + lacking):
            assert await claim(journal, tenant_id) == MINE
        before = count_transactions(journal_path)
        restore_older_copy(journal_path)
        async with SQLiteJournal(journal_path, JOB, calendar) as other:  # this takes one or two
            while count_transactions(journal_path) < before:
                await other.states()
            assert count_transactions(journal_path) == before
            with pytest.raises(JournalError, match="overwritten"):
                await claim(journal, 100)


async def test_a_journal_that_is_closed_has_no_revisions(
    journal_path: Path, calendar: CalendarClock
) -> None:
    """The number of transactions that a process counts to notice a change is deleted at the end."""
    for _ in range(3):
        async with SQLiteJournal(journal_path, JOB, calendar) as journal:
            await claim(journal, 1)
            async with SQLiteJournal(journal_path, JOB, calendar) as other:
                await claim(other, 2)
                with closing(sqlite3.connect(journal_path)) as db:
                    assert db.execute("SELECT count(*) FROM revisions").fetchone() == (2,)
    with closing(sqlite3.connect(journal_path)) as db:
        assert db.execute("SELECT count(*) FROM revisions").fetchone() == (0,)


async def test_a_switch_to_a_write_ahead_log_is_noticed(
    journal_path: Path, calendar: CalendarClock
) -> None:
    """If another program enables a write-ahead log, the next transaction fails."""
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        assert await claim(journal, 1) == MINE
        with closing(sqlite3.connect(journal_path)) as db:
            assert db.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
            with pytest.raises(PandiumError, match="switched to WAL mode"):
                await claim(journal, 2)
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        assert await claim(journal, 2) == MINE

"""The files beside a journal: none that belongs to something else is used, changed or deleted."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from pandium import UnusableJournal
from pandium._bulk.sqlite import SQLiteJournal
from pandium._bulk.summary import read_summary
from support.journals import JOB, MINE, NOT_MINE, claim, copy_during_transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from support.journals import CalendarClock

pytestmark = pytest.mark.anyio


async def open_journal(path: Path, calendar: CalendarClock) -> None:
    await SQLiteJournal(path, JOB, calendar).__aenter__()


USES = [open_journal, read_summary]


@pytest.mark.parametrize("suffix", ["-journal", "-WAL", "-shm", "-lock"])
@pytest.mark.parametrize("use", USES)
async def test_a_journal_has_no_name_of_an_auxiliary_file(
    tmp_path: Path,
    calendar: CalendarClock,
    suffix: str,
    use: Callable[[Path, CalendarClock], Coroutine[Any, Any, object]],
) -> None:
    """A file is refused if SQLite would delete it when another journal is opened."""
    path = tmp_path / f"nightly{suffix}"
    async with SQLiteJournal(tmp_path / "other", JOB, calendar) as journal:
        await claim(journal)
    shutil.copy(tmp_path / "other", path)
    with pytest.raises(UnusableJournal, match=f"a name that ends in '{suffix.lower()}'") as caught:
        await use(path, calendar)
    assert f"belongs to the journal '{tmp_path / 'nightly'}'" in str(caught.value)


@pytest.mark.parametrize("suffix", ["-journal", "-wal"])
@pytest.mark.parametrize("content", [b"my notes", b"\0\0\0 notes", b"\xd9\xd5\x05\xf9 notes"])
@pytest.mark.parametrize("use", USES)
async def test_a_foreign_file_beside_a_journal_is_not_deleted(
    journal_path: Path,
    calendar: CalendarClock,
    suffix: str,
    content: bytes,
    use: Callable[[Path, CalendarClock], Coroutine[Any, Any, object]],
) -> None:
    """A file that SQLite would take for its own raises an error that names it."""
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        await claim(journal)
    foreign = journal_path.with_name(f"{journal_path.name}{suffix}")
    foreign.write_bytes(content)
    with pytest.raises(UnusableJournal, match="does not belong to it") as caught:
        await use(journal_path, calendar)
    assert repr(str(foreign)) in str(caught.value)
    assert foreign.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"\0", b"\0" * 600])
async def test_what_a_crash_leaves_beside_a_journal_does_not_matter(
    journal_path: Path, calendar: CalendarClock, content: bytes
) -> None:
    """A rollback journal whose content has not reached the disk is deleted."""
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        await claim(journal)
    rollback = journal_path.with_name(f"{journal_path.name}-journal")
    rollback.write_bytes(content)
    async with SQLiteJournal(journal_path, JOB, calendar) as journal:
        assert await claim(journal) == NOT_MINE
    assert not rollback.exists()


# A rollback journal with the content before a transaction that was interrupted


@pytest.fixture
async def interrupted(journal_path: Path, calendar: CalendarClock) -> Path:
    """Return the path of a journal and its rollback journal, as a killed process leaves them."""
    source = journal_path.with_name("source")
    async with SQLiteJournal(source, JOB, calendar) as journal:
        assert await claim(journal, 1) == MINE
    shutil.copy(source, journal_path.with_name("backup"))
    async with SQLiteJournal(source, JOB, calendar) as journal:
        assert await claim(journal, 2) == MINE
    copy_during_transaction(source, journal_path)
    return journal_path


def count_transaction(path: Path) -> None:
    """Increment the number of transactions in a file, as each commit does."""
    content = bytearray(path.read_bytes())
    content[27] += 1  # the last byte of the number
    path.write_bytes(content)


def restore_backup(path: Path) -> None:
    shutil.copy(path.with_name("backup"), path)


def delete(path: Path) -> None:
    path.unlink()


def read_files(path: Path) -> list[bytes]:
    files = [path, path.with_name(f"{path.name}-journal")]
    return [file.read_bytes() for file in files if file.exists()]


@pytest.mark.parametrize("is_counted", [True, False])
async def test_an_incomplete_transaction_is_undone(
    interrupted: Path, calendar: CalendarClock, *, is_counted: bool
) -> None:
    """SQLite undoes the transaction, however much of it had been written."""
    if is_counted:
        count_transaction(interrupted)
    async with SQLiteJournal(interrupted, JOB, calendar) as journal:
        assert [await claim(journal, 1), await claim(journal, 2)] == [NOT_MINE, NOT_MINE]


@pytest.mark.parametrize("replace", [restore_backup, delete])
@pytest.mark.parametrize("use", USES)
async def test_no_transaction_of_another_file_is_undone(
    interrupted: Path,
    calendar: CalendarClock,
    replace: Callable[[Path], None],
    use: Callable[[Path, CalendarClock], Coroutine[Any, Any, object]],
) -> None:
    """If the interrupted file is gone, or a backup is in its place, nothing is changed."""
    replace(interrupted)
    before = read_files(interrupted)
    with pytest.raises(UnusableJournal, match=r"undo a transaction of another file|does not exist"):
        await use(interrupted, calendar)
    assert read_files(interrupted) == before


async def test_a_backup_can_be_used_once_the_rollback_journal_is_gone(
    interrupted: Path, calendar: CalendarClock
) -> None:
    """A backup is a journal like any other."""
    restore_backup(interrupted)
    interrupted.with_name("journal-journal").unlink()
    async with SQLiteJournal(interrupted, JOB, calendar) as journal:
        assert [await claim(journal, 1), await claim(journal, 2)] == [NOT_MINE, MINE]

"""Detect that a journal file was deleted, replaced, overwritten or given a second name."""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from pandium.errors import JournalError, UnusableJournal

if TYPE_CHECKING:
    from sqlite3 import Connection

__all__ = [
    "FileIdentity",
    "create_revisions",
    "validate_not_emptied",
    "validate_not_lost",
    "validate_single_name",
]

_MOUNTS = Path("/proc/self/mountinfo")
_HEADER_SIZE = 100  # of an SQLite file
_MOUNT_POINT = 4  # the index of this field on each line
_OCTAL_ESCAPE = re.compile(rb"\\([0-7]{3})")

_INCREMENT = """
    INSERT INTO revisions VALUES (?, 1)
    ON CONFLICT (opening) DO UPDATE SET number = number + 1
"""
_SELECT_REVISION = "SELECT number FROM revisions WHERE opening = ?"

_ADVICE = (
    "No more requests are sent. The file may not list every tenant that was triggered, so compare"
    " it with the results before you resume the job"
)


def create_revisions(db: Connection) -> None:
    """Create a table that contains the number of transactions of each process that has it open."""
    db.execute("CREATE TABLE revisions (opening TEXT PRIMARY KEY, number INTEGER NOT NULL)")


def validate_not_lost(path: Path, name: str, lock_path: str) -> None:
    """
    Validate that the journal of an interrupted job still exists.

    A new journal in its place would not list the tenants that were triggered.

    :param path: the path of the journal.
    :param name: the name of the journal in error messages.
    :param lock_path: the path of its lock file, which shows that it was in use.
    :raises UnusableJournal: if it does not exist or is too small to have content.
    """
    # If SQLite opened an empty file, it would delete the rollback journal beside it.
    if not path.exists() or path.stat().st_size < _HEADER_SIZE:
        raise _lost_error(name, lock_path)


def validate_not_emptied(db: Connection, name: str, lock_path: str) -> None:
    """
    Validate that the journal of an interrupted job was not replaced with an empty database.

    :param db: the database.
    :param name: the name of the journal in error messages.
    :param lock_path: the path of its lock file, which shows that it was in use.
    :raises UnusableJournal: if it has no tables.
    """
    if db.execute("SELECT 1 FROM sqlite_master").fetchone() is None:
        raise _lost_error(name, lock_path)


def _lost_error(name: str, lock_path: str) -> UnusableJournal:
    return UnusableJournal(
        f"{name} is missing or empty, but {lock_path!r} shows that a job used it and was"
        " interrupted. A new journal would send its requests again: restore the file, or delete"
        f" {lock_path!r} to begin a new job"
    )


def validate_single_name(path: Path, name: str, error_type: type[JournalError]) -> None:
    """
    Validate that a file has only one name: it has no hard links and is not a mount point.

    SQLite and this package derive the names of the rollback journal and the lock file from the
    name of the database. Under a second name, neither file would be found.

    :param path: the path of the file, which need not exist.
    :param name: the name of the file in error messages.
    :param error_type: the class of the error to raise.
    """
    links = _count_links(path)
    if links > 1:
        raise error_type(
            f"{name} has {links} names (hard links), and only one can be used safely: delete the"
            " others, or use a symbolic link"
        )
    if _is_mount_point(path):
        raise error_type(
            f"{name} is mounted as a single file, which cannot be shared safely: mount its"
            " directory instead"
        )


def _count_links(path: Path) -> int:
    try:
        found = path.stat()
    except OSError:
        return 0
    return 1 if path.is_dir() else found.st_nlink


def _is_mount_point(path: Path) -> bool:
    """Return whether a file is a mount point, on systems that list them."""
    try:
        mounts = _MOUNTS.read_bytes().splitlines()
    except OSError:  # pragma: no cover - systems that do not list mounts, such as macOS
        return False
    points = (mount.split(b" ")[_MOUNT_POINT] for mount in mounts)
    return os.fsencode(path) in map(_unescape, points)


def _unescape(field: bytes) -> bytes:
    return _OCTAL_ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), field)


class FileIdentity:
    """
    The identity of an open journal file, which is validated in each transaction.

    :param path: the path passed by the user. If it is a symbolic link, its target must not change.
    :param real_path: the path that was opened, without symbolic links.
    :param name: the name of the file in error messages.
    """

    def __init__(self, path: Path, real_path: Path, name: str) -> None:
        self._path = path
        self._name = name
        self._stat = real_path.stat()
        # Only this object writes this row. If all processes shared a number, another process could
        # increment the number of an older copy until the copy looked newer.
        self._opening = uuid.uuid4().hex
        self._revision = 0

    def validate(self) -> None:
        """
        Validate that the path still refers to the same file and that the file has only one name.

        :raises JournalError: if the file was deleted, was replaced or has a second name.
        """
        try:
            found = self._path.stat()
        except OSError:
            raise self._error("was deleted or replaced") from None
        if not os.path.samestat(found, self._stat):
            raise self._error("was deleted or replaced")
        if found.st_nlink > 1:
            validate_single_name(self._path, self._name, JournalError)

    def is_lost(self) -> bool:
        """Return whether `validate` raises an error."""
        try:
            self.validate()
        except JournalError:
            return True
        return False

    def next_revision(self, db: Connection) -> int:
        """
        Validate the content of the file, and increment this opening's revision number.

        :returns: the new revision, which must be passed to ``accept`` after the commit.
        :raises JournalError: if the file has been overwritten or uses a write-ahead log.
        """
        self._validate_journal_mode(db)
        key = (self._opening,)
        db.execute(_INCREMENT, key)
        revision: int = db.execute(_SELECT_REVISION, key).fetchone()[0]
        # A copy lacks the transactions that were committed after it was made.
        if revision <= self._revision:
            raise self._error("was overwritten with other or older content")
        return revision

    def accept(self, revision: int) -> None:
        """Store the revision that was committed."""
        self._revision = revision

    def forget(self, db: Connection) -> None:
        """Delete this opening's revision number before the file is closed."""
        db.execute("DELETE FROM revisions WHERE opening = ?", (self._opening,))

    def _validate_journal_mode(self, db: Connection) -> None:
        # In WAL mode, claims are stored in a second file. Another program can delete it, and
        # SQLite deletes it as well once the file's locks have been dropped.
        ((mode,),) = db.execute("PRAGMA journal_mode")
        if mode == "wal":
            raise self._error("was switched to WAL mode by another program")

    def _error(self, event: str) -> JournalError:
        return JournalError(f"{self._name} {event} while it was in use. {_ADVICE}")

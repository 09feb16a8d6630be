"""Notice that the file of a journal was deleted, replaced, overwritten or given a second name."""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from pandium.errors import PandiumError

if TYPE_CHECKING:
    from sqlite3 import Connection

__all__ = ["FileIdentity", "create_revision", "validate_single_name"]

_MOUNTS = Path("/proc/self/mountinfo")
_MOUNT_POINT = 4  # the index of this field in a line of the file
_OCTAL_ESCAPE = re.compile(rb"\\([0-7]{3})")

_ADVICE = (
    "Nothing more is sent. The file may not know all tenants that were triggered, so do not resume"
    " the job with it before you have compared it with the results"
)


def create_revision(db: Connection) -> None:
    """Create the table with the id of a journal and the number of its transactions."""
    db.execute("CREATE TABLE revision (journal_id TEXT NOT NULL, number INTEGER NOT NULL)")
    db.execute("INSERT INTO revision VALUES (?, 0)", (uuid.uuid4().hex,))


def validate_single_name(path: Path, name: str, error_type: type[PandiumError]) -> None:
    """
    Validate that a file has no other name, neither a hard link nor a mount of its own.

    SQLite finds an interrupted transaction by the name of the file, and our lock file lies beside
    it. Neither is found under another name.

    :param path: the path of the file, which need not exist.
    :param name: how error messages call the file.
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
        stat = path.stat()
    except OSError:
        return 0
    return 1 if path.is_dir() else stat.st_nlink


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
    The identity of an open journal. It is validated in each transaction.

    :param path: the path that the user gave. A symbolic link must keep its target.
    :param name: how error messages call the file.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name
        self._stat = path.stat()
        self._revision: tuple[str, int] | None = None

    def validate(self) -> None:
        """
        Validate that the path is still that of the file, and that the file has no other name.

        :raises PandiumError: if not.
        """
        try:
            stat = self._path.stat()
        except OSError:
            raise self._error("was deleted or replaced") from None
        if not os.path.samestat(stat, self._stat):
            raise self._error("was deleted or replaced")
        if stat.st_nlink > 1:
            validate_single_name(self._path, self._name, PandiumError)

    def next_revision(self, db: Connection) -> tuple[str, int]:
        """
        Validate the file and its content, and begin a new revision.

        :returns: the new revision, to be passed to ``accept`` after the commit.
        :raises PandiumError: if the file is not the one that was opened, or has older content.
        """
        self.validate()
        self._validate_journal_mode(db)
        # An older copy that was written into the same file has a lower number.
        db.execute("UPDATE revision SET number = number + 1")
        row = db.execute("SELECT journal_id, number FROM revision").fetchone()
        last = self._revision
        if row is None or (last is not None and (row[0] != last[0] or row[1] <= last[1])):
            raise self._error("was overwritten with other or older content")
        journal_id, number = row
        return journal_id, number

    def accept(self, revision: tuple[str, int]) -> None:
        """Set the revision that was committed."""
        self._revision = revision

    def _validate_journal_mode(self, db: Connection) -> None:
        # In WAL mode, claims are in a second file that others can delete, and SQLite deletes it
        # itself once its locks are dropped.
        ((mode,),) = db.execute("PRAGMA journal_mode")
        if mode == "wal":
            raise self._error("was switched to WAL mode by another program")

    def _error(self, event: str) -> PandiumError:
        return PandiumError(f"{self._name} {event} while it was in use. {_ADVICE}")

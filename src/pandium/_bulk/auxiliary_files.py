"""Validate the files that SQLite and this package keep beside a database."""

from __future__ import annotations

import stat
import struct
from pathlib import Path

from pandium.errors import UnusableJournal

__all__ = ["validate_auxiliary_files", "validate_not_auxiliary", "validate_regular_files"]

# What SQLite and this package append to the path of a database for their own files.
_AUXILIARY_SUFFIXES = ("-journal", "-wal", "-shm", "-lock")
# The first bytes of the files that SQLite reads. Until its content is on disk, or once it is no
# longer needed, a file begins with zeros.
_MAGIC_NUMBERS = {
    "-journal": (b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7", bytes(8)),
    "-wal": (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83", bytes(4)),
}
# Of the header of a rollback journal, the number of records, and the size of a sector, at which the
# first record starts, and of a page. Each record is the number of a page, its content before the
# transaction, and a checksum. See https://sqlite.org/fileformat.html
_ROLLBACK_HEADER = struct.Struct(">8xI8xII")
_NUMBER = struct.Struct(">I")
# The position of the number of transactions on the first page
_CHANGE_COUNTER = 24


def validate_not_auxiliary(path: str, name: str) -> None:
    """
    Validate that a path is not that of an auxiliary file of another database.

    SQLite deletes ``a-journal`` when it opens ``a``.

    :param path: the path of the database.
    :param name: the name of the database in error messages.
    :raises UnusableJournal: if it has the name of an auxiliary file.
    """
    for suffix in _AUXILIARY_SUFFIXES:
        if path.lower().endswith(suffix):  # some file systems ignore case
            raise UnusableJournal(
                f"{name} has a name that ends in {suffix!r}, like the file that belongs to the"
                f" journal {path[: -len(suffix)]!r}: choose another name"
            )


def validate_auxiliary_files(path: str, name: str) -> None:
    """
    Validate that the files that SQLite would read, overwrite or delete are its own.

    :param path: the path of the database.
    :param name: the name of the database in error messages.
    :raises UnusableJournal: if one of them belongs to something else.
    """
    for suffix, magic_numbers in _MAGIC_NUMBERS.items():
        try:
            # SQLite takes no locks on these files, so closing them drops none.
            with Path(f"{path}{suffix}").open("rb") as file:
                head = file.read(len(magic_numbers[0]))
        except OSError:  # SQLite reports a file that it cannot access
            continue
        if not any(one.startswith(head) for one in magic_numbers):
            raise UnusableJournal(
                f"{name} cannot be used, because the file {f'{path}{suffix}'!r} does not belong to"
                " it and would be deleted: move that file, or choose another name"
            )
    _validate_rollback_journal(path, name)


def _validate_rollback_journal(path: str, name: str) -> None:
    """Validate that SQLite would undo a transaction of this file, not of one that it replaced."""
    before = _count_before_transaction(Path(f"{path}-journal"))
    # After a crash, the number of the incomplete transaction may or may not have been written.
    if before is not None and _read_number(Path(path), _CHANGE_COUNTER) not in (before, before + 1):
        raise UnusableJournal(
            f"{name} cannot be used, because {f'{path}-journal'!r} is needed to undo a transaction"
            " of another file, such as one that was moved or replaced with a backup. If you have"
            " that file, move it back. Otherwise, move the file ending in -journal away"
        )


def _count_before_transaction(rollback_journal: Path) -> int | None:
    """Return the number of transactions to which a rollback journal leads back, if it is known."""
    try:
        with rollback_journal.open("rb") as file:
            records, sector, page = _ROLLBACK_HEADER.unpack(file.read(_ROLLBACK_HEADER.size))
            for index in range(records):
                start = sector + index * (page + 2 * _NUMBER.size)
                file.seek(start)
                (number,) = _NUMBER.unpack(file.read(_NUMBER.size))
                if number == 1:
                    return _read_number(rollback_journal, start + _NUMBER.size + _CHANGE_COUNTER)
    except (OSError, struct.error):  # it does not exist or is incomplete
        pass
    return None


def _read_number(path: Path, start: int) -> int | None:
    try:
        # If this is the database, this drops the locks of other connections in this process. The
        # caller holds the lock file, so none of ours is in a transaction.
        with path.open("rb") as file:
            file.seek(start)
            (number,) = _NUMBER.unpack(file.read(_NUMBER.size))
    except (OSError, struct.error):
        return None
    return int(number)


def validate_regular_files(path: str) -> None:
    """
    Validate that a database and its auxiliary files, if they exist, are regular files.

    If one of them were a FIFO, SQLite would wait forever for a process that writes to it.

    :param path: the path of the database.
    :raises OSError: if one of them is not a regular file.
    """
    for name in (path, f"{path}-journal", f"{path}-wal"):
        if not _is_regular_or_missing(name):
            raise OSError(f"{name!r} is not a regular file")


def _is_regular_or_missing(path: str) -> bool:
    try:
        return stat.S_ISREG(Path(path).stat().st_mode)
    except OSError:  # SQLite reports a file that it cannot access
        return True

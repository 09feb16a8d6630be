"""Lock a file for one transaction at a time, across threads and processes."""

from __future__ import annotations

import os
import stat
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

try:
    import fcntl
except ModuleNotFoundError:  # on Windows
    fcntl = None  # type: ignore[assignment]  # a module on other systems

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["FileLockedError", "LockFile", "retry_while_locked"]

T = TypeVar("T")

# The pause after the first attempt, in seconds. It doubles after each attempt.
_FIRST_PAUSE = 0.001
# The maximum time that a fork waits for a transaction, in seconds. Without a limit, a thread that
# forks within its own transaction would deadlock.
_FORK_TIMEOUT = 5.0
# If the path were a FIFO, a blocking call would wait forever for a writer. Windows has no FIFOs.
_FLAGS = os.O_RDONLY | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
# The content of a lock file whose database exists.
_MARK = b"The journal beside this file is in use.\n"


class FileLockedError(Exception):
    """The file is locked by another process. This error never reaches users."""


def retry_while_locked(work: Callable[[], T], timeout: float) -> T:
    """
    Call a function again while it raises ``FileLockedError``, and return its result.

    :param work: the function. It must not hold a lock when it raises the error.
    :param timeout: the maximum time to wait for another process, in seconds.
    :raises FileLockedError: if another process still holds the lock.
    """
    deadline = time.monotonic() + timeout
    pause = _FIRST_PAUSE
    while True:
        try:
            return work()
        except FileLockedError:
            if time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause *= 2


class ProcessLock:
    """
    A lock shared by the threads of this process. A fork waits until no thread holds it.

    This prevents a child process from inheriting an open transaction or a locked file. A thread
    must not hold the lock while it waits for another process, because the lock is shared by all
    journals.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_held_by_fork = False

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self._lock.release()

    def register(self) -> None:
        """Register hooks that acquire the lock before each fork and release it afterward."""
        if hasattr(os, "register_at_fork"):  # Windows has no forks
            os.register_at_fork(
                before=self._before_fork,
                after_in_parent=self._after_fork_in_parent,
                after_in_child=self.__init__,  # type: ignore[misc]  # a child has one thread
            )

    def _before_fork(self) -> None:
        self._is_held_by_fork = self._lock.acquire(timeout=_FORK_TIMEOUT)

    def _after_fork_in_parent(self) -> None:
        if self._is_held_by_fork:  # pragma: no branch - false only after the fork timeout
            self._is_held_by_fork = False
            self._lock.release()


_process_lock = ProcessLock()
_process_lock.register()


class LockFile:
    """
    A file next to a database file, which is locked during each transaction.

    SQLite's own locks are not sufficient on POSIX systems. They belong to the process, so the
    operating system drops them when any code in the process closes the database file, for example
    after copying it. An ``flock`` lock belongs to an open file instead, and only this class opens
    the lock file. On Windows, SQLite's locks also belong to an open file, so there is no ``flock``,
    and the lock file only bears the mark.

    The lock file is opened for each transaction and may be deleted at any time.

    The file is empty until it is marked, which shows that the database existed. The mark remains
    if the database is moved away while it is in use, or if all processes that use it are killed.

    :param path: the path of the lock file.
    :param is_reader: whether to leave the mark as it is, because the database is only read.
    :ivar is_marked: whether the file was marked when it was locked.
    """

    def __init__(self, path: str, *, is_reader: bool = False) -> None:
        self._path = path
        self._is_reader = is_reader
        self.is_marked = False

    @contextmanager
    def hold(self) -> Iterator[None]:
        """
        Return a context manager that holds the lock. The block must wait only for the disk.

        :raises FileLockedError: if another process holds the lock.
        :raises OSError: if the file cannot be created or locked, or is not a lock file.
        """
        with _process_lock:
            descriptor = self._acquire()
            try:
                yield
            finally:
                _release(descriptor)

    def mark(self) -> None:
        """Write that the database exists, if possible. The caller must hold the lock."""
        if self.is_marked or self._is_reader:
            return
        with suppress(OSError), open(self._path, "r+b") as file:  # noqa: PTH123 - fails if missing
            file.write(_MARK)

    def remove(self) -> None:
        """Delete the lock file, if possible. The caller must hold the lock."""
        if self.is_marked and self._is_reader:
            return
        with suppress(OSError):
            Path(self._path).unlink()

    def _acquire(self) -> int:
        descriptor = self._open()
        is_locked = False
        try:
            self._validate(descriptor)
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # If the file was deleted after it was opened, other processes will lock a new file.
            is_locked = os.path.samestat(os.fstat(descriptor), Path(self._path).stat())
        except (BlockingIOError, FileNotFoundError):
            pass
        finally:
            if not is_locked:
                os.close(descriptor)
        if not is_locked:
            raise FileLockedError
        return descriptor

    def _open(self) -> int:
        try:
            return os.open(self._path, _FLAGS, 0o666)
        except PermissionError:
            raise OSError(
                f"Permission denied for the lock file {self._path!r}: check its permissions and"
                " those of its directory, or delete it while no process uses the journal"
            ) from None

    def _validate(self, descriptor: int) -> None:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{self._path!r} is not a regular file")
        content = os.read(descriptor, len(_MARK) + 1)
        if not _MARK.startswith(content):
            raise OSError(f"{self._path!r} is not a lock file")
        self.is_marked = content == _MARK


def _release(descriptor: int) -> None:
    # Closing does not release the lock if a child process, forked without Python's fork hooks,
    # still has the file open.
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)

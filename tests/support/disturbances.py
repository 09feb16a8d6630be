"""Disturb processes that share a journal, and the files of the journal, at random."""

from __future__ import annotations

import heapq
import itertools
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from pandium._bulk.journal import LEASE
from support.posix import IS_POSIX
from support.syncing import JobOptions, SyncingProcess

if IS_POSIX:
    import fcntl
    import resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@attrs.define(eq=False)
class Worker:
    """
    A process in a storm, and its children.

    :ivar is_killed: whether the process or a child may have been killed.
    :ivar is_struck: whether the process or a child may have been unable to write its journal.
    """

    process: SyncingProcess
    is_killed: bool = False
    is_struck: bool = False
    is_suspended: bool = False

    @property
    def pid(self) -> int:
        return self.process.popen.pid


class Storm:
    """
    A job whose processes and files are disturbed at random.

    :param options: the options of the processes.
    :param workers: the number of processes that run at any time.
    :param seed: the seed of all random choices.
    :ivar started: all processes that have run.
    :ivar applied: how often each disturbance was applied.
    """

    def __init__(self, options: JobOptions, workers: int, seed: int) -> None:
        self.options = options
        self.journal = Path(options.journal)
        self.chance = random.Random(seed)
        self.lease = LEASE / options.speed
        self.started: list[Worker] = []
        self.applied: dict[str, int] = dict.fromkeys(DISTURBANCES, 0)
        self._workers = workers
        self._numbers = itertools.count()
        self._repairs: list[tuple[float, int, Callable[[], None]]] = []

    def rage(self, seconds: float, pause: float) -> None:
        """
        Disturb the job for a time, then repair everything and wait until all processes have ended.

        :param seconds: the duration, in seconds.
        :param pause: the average time between two disturbances, in seconds.
        """
        names, end = self._choose_names(), time.monotonic() + seconds
        while time.monotonic() < end:
            self._replace_ended()
            name = next(names)
            DISTURBANCES[name](self)
            self.applied[name] += 1
            self._repair_until(time.monotonic() + self.chance.uniform(0, 2 * pause))
        self.calm()

    def _choose_names(self) -> Iterator[str]:
        """Yield all disturbances in random order, again and again."""
        while True:
            yield from self.chance.sample(list(DISTURBANCES), len(DISTURBANCES))

    def calm(self) -> None:
        """Repair everything and wait until all processes have ended."""
        while self._repairs:
            heapq.heappop(self._repairs)[-1]()
        for worker in self.started:
            worker.process.wait()
        allow_access(self)  # a process may have created a file while access was forbidden

    def later(self, repair: Callable[[], None], seconds: float) -> None:
        """Call a function after a time, or once the storm is over."""
        entry = (time.monotonic() + seconds, next(self._numbers), repair)
        heapq.heappush(self._repairs, entry)

    def _repair_until(self, end: float) -> None:
        while self._repairs and self._repairs[0][0] < end:
            due, _, repair = heapq.heappop(self._repairs)
            time.sleep(max(due - time.monotonic(), 0))
            repair()
        time.sleep(max(end - time.monotonic(), 0))

    def running(self) -> list[Worker]:
        return [worker for worker in self.started if worker.process.is_running()]

    def _replace_ended(self) -> None:
        for _ in range(self._workers - len(self.running())):
            options = attrs.evolve(self.options, seed=self.chance.randrange(10**6))
            self.started.append(Worker(SyncingProcess(options)))

    def choose(self) -> Worker | None:
        """Return a random process that has started, if there is one."""
        running = [worker for worker in self.running() if worker.process.lines]
        return self.chance.choice(running) if running else None

    def strike(self, workers: list[Worker]) -> None:
        for worker in workers:
            worker.is_struck = True

    @contextmanager
    def between_transactions(self) -> Iterator[bool]:
        """Hold the lock that the client holds during a transaction. Return whether it was free."""
        lock = os.open(f"{self.journal}-lock", os.O_RDONLY | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
        except BlockingIOError:
            yield False
        finally:
            os.close(lock)


# Processes


def kill(storm: Storm) -> None:
    if worker := storm.choose():
        worker.is_killed = True
        worker.process.kill()


def suspend(storm: Storm, seconds: float) -> None:
    worker = storm.choose()
    if worker is None or worker.is_suspended:
        return

    def resume() -> None:
        worker.is_suspended = False
        worker.process.resume()

    worker.process.popen.send_signal(signal.SIGSTOP)
    worker.is_suspended = True
    storm.later(resume, seconds)


def suspend_briefly(storm: Storm) -> None:
    suspend(storm, storm.chance.uniform(0, 0.9) * storm.lease)


def suspend_past_the_lease(storm: Storm) -> None:
    suspend(storm, storm.chance.uniform(1.1, 3) * storm.lease)


def fork(storm: Storm) -> None:
    if worker := storm.choose():
        worker.process.command("fork")


# The disk


def fill_the_disk(storm: Storm, leases: float) -> None:
    """Prevent the files of a random number of processes from growing."""
    running = storm.running()
    chosen = storm.chance.sample(running, storm.chance.randint(1, len(running)))
    size = storm.journal.stat().st_size if storm.journal.exists() else 0
    limit = storm.chance.choice([0, storm.chance.randint(0, size + 1)])
    storm.strike(chosen)
    for worker in chosen:
        limit_files(worker, limit)
        seconds = storm.chance.uniform(0, leases) * storm.lease
        storm.later(lambda worker=worker: limit_files(worker, None), seconds)  # type: ignore[misc]


def fill_the_disk_briefly(storm: Storm) -> None:
    fill_the_disk(storm, leases=0.2)


def fill_the_disk_for_long(storm: Storm) -> None:
    fill_the_disk(storm, leases=3)


def limit_files(worker: Worker, size: int | None) -> None:
    if sys.platform == "linux":
        with suppress(ProcessLookupError):
            _, hard = resource.prlimit(worker.pid, resource.RLIMIT_FSIZE)
            soft = hard if size is None else size
            resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (soft, hard))


# The files


def read_in_the_process(storm: Storm) -> None:
    if worker := storm.choose():
        worker.process.command("read")


def read_the_file(storm: Storm) -> None:
    with suppress(FileNotFoundError, PermissionError):
        storm.journal.read_bytes()


def copy_the_file(storm: Storm) -> None:
    with suppress(FileNotFoundError, PermissionError):
        shutil.copyfile(storm.journal, storm.journal.with_name("copy"))


def back_up(storm: Storm) -> None:
    """Back up the journal as the documentation describes, and check the backup."""
    if not storm.journal.exists():
        return
    with (
        closing(sqlite3.connect(storm.journal, timeout=0.1)) as journal,
        closing(sqlite3.connect(storm.journal.with_name("backup"))) as backup,
        # The journal is locked, or another disturbance is active.
        suppress(sqlite3.OperationalError, BlockingIOError),
    ):
        journal.backup(backup, progress=stop_if_locked)
        assert backup.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def stop_if_locked(status: int, *_: int) -> None:
    # Otherwise, a backup waits for a suspended process that this one would have to resume.
    if status == sqlite3.SQLITE_BUSY:
        raise BlockingIOError


def delete_the_lock_file(storm: Storm) -> None:
    with storm.between_transactions() as is_locked:
        if is_locked:
            Path(f"{storm.journal}-lock").unlink(missing_ok=True)


def delete_the_rollback_journal(storm: Storm) -> None:
    """Delete the rollback journal, unless it is needed to undo an incomplete transaction."""
    path = Path(f"{storm.journal}-journal")
    with storm.between_transactions() as is_locked:
        if is_locked and path.exists() and path.stat().st_size == 0:
            path.unlink()


def forbid_access(storm: Storm) -> None:
    """Change the permissions of the journal, which has no effect on processes of root."""
    if storm.journal.exists():
        storm.strike(storm.running())
        storm.journal.chmod(storm.chance.choice([0, 0o444]))
        storm.later(lambda: allow_access(storm), storm.chance.uniform(0, 0.5) * storm.lease)


def allow_access(storm: Storm) -> None:
    # SQLite creates the rollback journal with the permissions of the journal.
    for path in storm.journal.parent.glob(f"{storm.journal.name}*"):
        with suppress(FileNotFoundError):
            path.chmod(0o644)


def make_a_hard_link(storm: Storm) -> None:
    link = storm.journal.with_name("link")
    if not storm.journal.exists() or link.exists():
        return
    storm.strike(storm.running())
    os.link(storm.journal, link)
    storm.later(link.unlink, storm.chance.uniform(0, 0.2) * storm.lease)


DISTURBANCES: dict[str, Callable[[Storm], None]] = {
    "kill a process": kill,
    "suspend a process for less than its lease": suspend_briefly,
    "suspend a process for more than its lease": suspend_past_the_lease,
    "fork a process": fork,
    "fill the disk briefly": fill_the_disk_briefly,
    "fill the disk for longer": fill_the_disk_for_long,
    "read the journal in a process that uses it": read_in_the_process,
    "read the journal": read_the_file,
    "copy the journal": copy_the_file,
    "back up the journal": back_up,
    "delete the lock file": delete_the_lock_file,
    "delete the rollback journal": delete_the_rollback_journal,
    "forbid access to the journal": forbid_access,
    "make a hard link to the journal": make_a_hard_link,
}

# The errors with which a process may end, and what must have been done for each of them.
ERRORS = {
    "the disk failed or is full": "fill the disk",
    "because the disk is full": "fill the disk",
    "cannot be opened": "forbid access",
    "is not writable": "forbid access",
    "Permission denied": "forbid access",
    "has 2 names (hard links)": "make a hard link",
}

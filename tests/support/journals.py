"""Helpers for tests of bulk syncs and their journals."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import anyio
import pytest

from pandium._bulk.journal import Entry, Journal, State
from pandium._clock import RealClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from types import TracebackType

    from pandium import RunResult

JOB = {"mode": "normal", "base_url": "https://x.example"}
NEW = Entry(State.NEW)
MINE = Entry(State.SENDING, is_mine=True)
NOT_MINE = Entry(State.SENDING)
JOURNAL_PROCESS = Path(__file__).with_name("journal_process.py")


class CalendarClock(RealClock):
    """A clock whose date is set by the test. It counts the transactions that read the date."""

    def __init__(self) -> None:
        self.date = datetime(2026, 1, 1, tzinfo=UTC)
        self.reads = 0
        self._work_begun = 0
        self._changed = anyio.Event()

    def wall(self) -> datetime:
        self.reads += 1
        return self.date

    def advance(self, seconds: float) -> None:
        self.date += timedelta(seconds=seconds)

    def waiting_for_io(self) -> AbstractContextManager[object]:
        self._work_begun += 1
        self._changed.set()
        return super().waiting_for_io()

    async def wait_for_work(self, times: int) -> None:
        """Wait until the given number of further attempts, or pauses between them, have begun."""
        target = self._work_begun + times
        while self._work_begun < target:
            self._changed = anyio.Event()
            await self._changed.wait()


def script_environment() -> dict[str, str]:
    """Return the environment of a script that imports ``support``."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}


async def claim(journal: Journal, tenant_id: int = 1, *, retry_unknown: bool = False) -> Entry:
    return await journal.claim(tenant_id, retry_unknown=retry_unknown)


async def adopt(journal: Journal, tenant_id: int = 1, *, retry_unknown: bool = False) -> Entry:
    return await journal.adopt(tenant_id, retry_unknown=retry_unknown)


def by_tenant(results: list[RunResult]) -> dict[int, RunResult]:
    """Return the results by tenant id, and assert that there is one result per tenant."""
    found = {int(result.tenant_id or 0): result for result in results}
    assert len(found) == len(results)
    return found


def read_states(path: Path) -> dict[int, str]:
    """Return the state of each tenant in a journal file."""
    with closing(sqlite3.connect(path)) as db:
        return dict(db.execute("SELECT tenant_id, state FROM syncs"))


def read_entries(path: Path) -> list[tuple[object, ...]]:
    """Return the id, state and trigger of each tenant in a journal file."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT tenant_id, state, trigger_id FROM syncs").fetchall()


def copy_during_transaction(source: Path, target: Path) -> None:
    """Copy a database with the rollback journal of a transaction that is not complete."""
    with closing(sqlite3.connect(source)) as db:
        db.execute("CREATE TABLE notes (text)")
        db.execute("PRAGMA cache_size = 10")  # write changes before the transaction ends
        with db:
            db.execute("BEGIN")
            db.execute("UPDATE syncs SET state = state")  # so that the first page is not the first
            db.execute("DROP TABLE syncs")
            db.executemany("INSERT INTO notes VALUES (?)", [("a" * 5000,)] * 20)
            for suffix in ("", "-journal"):
                shutil.copy(f"{source}{suffix}", f"{target}{suffix}")


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold the write lock on a file, as another process would."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield db


@contextmanager
def trace_statements(trace: Callable[[str], object]) -> Iterator[None]:
    """Pass the SQL statements of all connections that are opened within the block to a function."""
    connect = sqlite3.connect

    def connect_and_trace(*args: Any, **options: Any) -> sqlite3.Connection:
        db: sqlite3.Connection = connect(*args, **options)
        db.set_trace_callback(trace)
        return db

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", connect_and_trace)
        yield


def count_transactions(path: Path) -> int:
    """
    Return the number of transactions that changed an SQLite file, which is in its header.

    SQLite compares it with the last one that it has seen to know whether its cache is valid.
    """
    return int.from_bytes(path.read_bytes()[24:28], "big")


class JournalProcess:
    """
    Another process that has opened a journal. It is killed at the end of the block.

    :param path: the path of the journal.
    :param backend: the event loop to use.
    """

    def __init__(self, path: Path, backend: str = "asyncio") -> None:
        self._popen = subprocess.Popen(
            [sys.executable, JOURNAL_PROCESS, backend, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=script_environment(),
        )

    def __enter__(self) -> Self:
        assert self.receive() == "open", self._popen.communicate()[1]
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._popen.kill()
        self._popen.communicate()

    def send(self, *command: object) -> None:
        """Send a command without waiting for its result."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(json.dumps(command) + "\n")

    def receive(self) -> Any:
        """Wait for a command's result."""
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline()
        return json.loads(line) if line else None

    def call(self, *command: object) -> Any:
        """Send a command and wait for its result."""
        self.send(*command)
        return self.receive()

    def wait_for_warning(self) -> str:
        """Wait until the process logs a warning and return the warning."""
        assert self._popen.stderr is not None
        return self._popen.stderr.readline()

    def kill(self) -> None:
        """Kill the process and wait until it has exited."""
        self._popen.kill()
        self._popen.wait()

    def close(self) -> None:
        """Close the journal in the process and wait until the process has exited."""
        assert self.call("close") == "closed"
        self._popen.wait()

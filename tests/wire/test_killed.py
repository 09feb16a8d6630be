"""Processes that are killed or suspended while they sync tenants with a journal."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from support.disk_syncs import compile_shim, requires_compiler
from support.journals import read_states
from support.syncing import TIME_LIMIT, JobOptions, SyncingProcess, check_triggers, emulator_with

if TYPE_CHECKING:
    from pathlib import Path

    from pandium.emulator import Emulator

IS_LONG = bool(os.environ.get("PANDIUM_LONG"))
KILLS = 100 if IS_LONG else 8
ROUNDS = 10 if IS_LONG else 1
# Large enough that the processes are killed before the last tenant has been synced.
TENANTS = 12 * KILLS
LONGEST_LIFE = 0.4  # seconds after the process starts or sends its first request
LEASE = 0.5  # seconds on the fast clock in syncing_process.py


def start(emulator: Emulator, journal: Path, tenants: int) -> SyncingProcess:
    return SyncingProcess(JobOptions(emulator.url, str(journal), tenants))


def read_sending(journal: Path) -> set[int]:
    """Return the tenants whose request may be in progress, according to the journal."""
    if not journal.exists():
        return set()
    with closing(sqlite3.connect(journal, timeout=TIME_LIMIT)) as db:
        try:
            return {n for (n,) in db.execute("SELECT tenant_id FROM syncs WHERE state = 'sending'")}
        except sqlite3.OperationalError:  # killed before the tables were created
            return set()


def test_a_killed_process_can_be_resumed(tmp_path: Path) -> None:
    """A job killed at any time can be resumed. Only requests in progress have unknown outcomes."""
    journal, chance = tmp_path / "journal", random.Random()
    sending: set[int] = set()
    with emulator_with(TENANTS) as emulator:
        for _ in range(KILLS):
            process = start(emulator, journal, TENANTS)
            process.wait_for_start() if chance.random() < 0.5 else process.wait_for_request(
                emulator
            )
            time.sleep(chance.uniform(0, LONGEST_LIFE))
            process.end()
            sending |= read_sending(journal)
        results = start(emulator, journal, TENANTS).results()
        assert check_triggers(emulator, results, TENANTS) == sending
        # In a second run, all results come from the journal, and nothing is sent.
        before = emulator.counts.total()
        again = start(emulator, journal, TENANTS).results()
        assert again.keys() == results.keys()
        assert all(again[n]["status"] == results[n]["status"] for n in results)
        assert emulator.counts.total() == before


@pytest.mark.posix
@requires_compiler
def test_a_process_killed_during_a_transaction_can_be_resumed(tmp_path: Path) -> None:
    """A process killed at any disk sync has sent no request that its journal does not contain."""
    journal, chance, shim = tmp_path / "journal", random.Random(), compile_shim(tmp_path)
    tenants, sending, killed = 20 * KILLS, set[int](), 0
    with emulator_with(tenants) as emulator:
        # With this concurrency, five records share a transaction, which takes five syncs.
        options = JobOptions(emulator.url, str(journal), tenants, max_concurrency=40)
        for _ in range(KILLS):
            process = SyncingProcess(
                options,
                LD_PRELOAD=str(shim),
                SYNC_DELAY_MS=str(chance.choice([0, 20])),
                SYNC_KILL_AT=str(chance.randint(1, 60)),
            )
            process.wait()
            killed += process.popen.returncode == -signal.SIGKILL
            sending |= read_sending(journal)
            sent = {tenant_id for _, tenant_id in emulator.effects}
            assert sent <= set(read_states(journal) if sent else ())
        assert killed
        results = SyncingProcess(options).results()
        assert check_triggers(emulator, results, tenants) == sending


@pytest.mark.posix
@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_killed_and_a_suspended_process_harm_no_other(tmp_path: Path, number: int) -> None:
    """Each process that ends reports all tenants, and each tenant is triggered once."""
    journal, chance, tenants = tmp_path / "journal", random.Random(), 80
    with emulator_with(tenants) as emulator:
        killed, suspended = (start(emulator, journal, tenants) for _ in range(2))
        for process in (killed, suspended):
            process.wait_for_request(emulator)
        time.sleep(chance.uniform(0, LONGEST_LIFE))
        killed.end()
        time.sleep(chance.uniform(0, LEASE))
        suspended.suspend()
        helping = start(emulator, journal, tenants)
        helping.wait_for_start()
        time.sleep(chance.uniform(2, 4) * LEASE)  # the leases expire while it is suspended
        suspended.resume()
        for process in (suspended, helping):
            check_triggers(emulator, process.results(), tenants)


@pytest.mark.parametrize("number", range(ROUNDS))
def test_the_files_beside_a_journal_can_be_deleted(tmp_path: Path, number: int) -> None:
    """Deleting a journal's auxiliary files, even after a process is killed, loses no tenant."""
    journal, chance, tenants = tmp_path / "journal", random.Random(), 80
    with emulator_with(tenants) as emulator:
        killed, other = (start(emulator, journal, tenants) for _ in range(2))
        for process in (killed, other):
            process.wait_for_request(emulator)
        for file in tmp_path.iterdir():
            if file != journal:
                file.unlink(missing_ok=True)
        time.sleep(chance.uniform(0, LONGEST_LIFE))
        killed.end()
        for process in (other, start(emulator, journal, tenants)):
            check_triggers(emulator, process.results(), tenants)


def test_a_journal_that_is_moved_away_is_not_begun_anew(tmp_path: Path) -> None:
    """All processes stop, even one that starts afterwards, until the journal is back."""
    journal, moved, tenants = tmp_path / "journal", tmp_path / "moved", 24
    with emulator_with(tenants) as emulator:
        processes = [start(emulator, journal, tenants) for _ in range(2)]
        for process in processes:
            process.wait_for_request(emulator)
        journal.rename(moved)
        processes.append(start(emulator, journal, tenants))
        for process in processes:
            process.wait()
        processes.append(start(emulator, journal, tenants))
        processes[-1].wait()
        failures = [process.lines[-1]["failed"] for process in processes]
        # One of the first two may have been so slow that it had yet to open the journal.
        assert any("deleted or replaced" in text for text in failures[:2])
        assert all("shows that a job used it" in text for text in failures[2:])
        assert not journal.exists()
        moved.rename(journal)
        check_triggers(emulator, start(emulator, journal, tenants).results(), tenants)


@pytest.mark.posix
@pytest.mark.parametrize("action", ["fork", "read"])
@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_process_may_fork_and_read_its_journal(tmp_path: Path, action: str, number: int) -> None:
    """Forked children share the work, and a file that is read stays locked for others."""
    journal, chance, tenants = tmp_path / "journal", random.Random(), 80
    with emulator_with(tenants) as emulator:
        killed, careless = (start(emulator, journal, tenants) for _ in range(2))
        for process in (killed, careless):
            process.wait_for_request(emulator)
        careless.command(action)
        time.sleep(chance.uniform(0, LONGEST_LIFE))
        killed.end()
        results = [process.results() for process in (careless, start(emulator, journal, tenants))]
        for found in results:
            check_triggers(emulator, found, tenants)

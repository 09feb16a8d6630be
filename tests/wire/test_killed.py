"""Processes that are killed or suspended while they sync tenants with a journal."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pandium.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).parents[1] / "support" / "syncing_process.py"
IS_LONG = bool(os.environ.get("PANDIUM_LONG"))
KILLS = 100 if IS_LONG else 12
ROUNDS = 10 if IS_LONG else 2
# Large enough that the processes are killed before the last tenant has been synced.
TENANTS = 12 * KILLS
MAX_CONCURRENCY = 6
LONGEST_LIFE = 0.4  # seconds after the process starts or sends its first request
LEASE = 0.5  # seconds on the fast clock in syncing_process.py
TIME_LIMIT = 120.0

BACKENDS = itertools.cycle(["asyncio", "trio"])


class SyncingProcess:
    """A process that runs syncing_process.py."""

    def __init__(
        self, emulator: Emulator, journal: Path, tenants: int, action: str = "nothing"
    ) -> None:
        self.emulator = emulator
        arguments = [next(BACKENDS), emulator.url, journal, tenants, MAX_CONCURRENCY, action]
        self.popen = subprocess.Popen(
            [sys.executable, "-W", "error", SCRIPT, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for_start(self) -> None:
        assert self.popen.stdout is not None
        assert self.popen.stdout.readline(), self.popen.communicate()[1]

    def wait_for_request(self) -> None:
        before = count_posts(self.emulator)
        self.wait_for_start()
        while self.popen.poll() is None and count_posts(self.emulator) == before:
            time.sleep(0.01)

    def kill(self) -> None:
        self.popen.kill()
        self.popen.communicate()

    def suspend(self) -> None:
        self.popen.send_signal(signal.SIGSTOP)
        os.waitpid(self.popen.pid, os.WUNTRACED)

    def resume(self) -> None:
        self.popen.send_signal(signal.SIGCONT)

    def results(self) -> dict[int, dict[str, Any]]:
        """Wait for the process to end and return its results, one per tenant."""
        # `communicate` would lose the data that `readline` has buffered.
        assert self.popen.stdout is not None
        assert self.popen.stderr is not None
        limit = threading.Timer(TIME_LIMIT, self.popen.kill)
        limit.start()
        with self.popen, self.popen.stdout as out_file, self.popen.stderr as err_file:
            out, err = out_file.read(), err_file.read()
        limit.cancel()
        assert self.popen.returncode == 0, err
        *lines, last = [json.loads(line) for line in out.splitlines()]
        assert last == {"done": True}
        found = {line["tenant"]: line for line in lines if "tenant" in line}
        assert len(found) == sum("tenant" in line for line in lines)
        return found


@contextmanager
def emulator_with(tenants: int) -> Iterator[Emulator]:
    with Emulator() as emulator:
        for _ in range(tenants):
            emulator.add_tenant()
        for tenant_id in range(1, tenants + 1, 3):  # the other runs appear later and take longer
            emulator.runs.script(tenant=tenant_id, appears_after=0.02, phases=[("Succeeded", 0)])
        yield emulator


def count_posts(emulator: Emulator) -> int:
    return sum(count for (method, *_), count in dict(emulator.counts).items() if method == "POST")


def count_triggers(emulator: Emulator, tenant_id: int) -> int:
    """Return the number of a tenant's triggers, once all of its runs have appeared."""
    return sum(len(run["triggers"]) for run in emulator.runs.of(tenant_id))


def read_sending(journal: Path) -> set[int]:
    """Return the tenants whose request may be in progress, according to the journal."""
    if not journal.exists():
        return set()
    with closing(sqlite3.connect(journal, timeout=TIME_LIMIT)) as db:
        try:
            return {n for (n,) in db.execute("SELECT tenant_id FROM syncs WHERE state = 'sending'")}
        except sqlite3.OperationalError:  # killed before the tables were created
            return set()


def check_triggers(emulator: Emulator, results: dict[int, dict[str, Any]], count: int) -> set[int]:
    """Assert that each tenant was triggered once or is unknown, and return the unknown ones."""
    assert set(results) == set(range(1, count + 1))
    unknown = {tenant_id for tenant_id, result in results.items() if result["unknown"]}
    for tenant_id, result in results.items():
        triggers = count_triggers(emulator, tenant_id)
        if tenant_id in unknown:
            assert triggers <= 1, result
        else:
            assert (result["status"], triggers) == ("Succeeded", 1), result
    return unknown


def test_a_killed_process_can_be_resumed(tmp_path: Path) -> None:
    """A job killed at any time can be resumed. Only requests in progress have unknown outcomes."""
    journal, chance = tmp_path / "journal", random.Random()
    sending: set[int] = set()
    with emulator_with(TENANTS) as emulator:
        for _ in range(KILLS):
            process = SyncingProcess(emulator, journal, TENANTS)
            chance.choice([process.wait_for_start, process.wait_for_request])()
            time.sleep(chance.uniform(0, LONGEST_LIFE))
            process.kill()
            sending |= read_sending(journal)
        results = SyncingProcess(emulator, journal, TENANTS).results()
        assert check_triggers(emulator, results, TENANTS) == sending
        # In a second run, all results come from the journal, and nothing is sent.
        before = emulator.counts.total()
        again = SyncingProcess(emulator, journal, TENANTS).results()
        assert again.keys() == results.keys()
        assert all(again[n]["status"] == results[n]["status"] for n in results)
        assert emulator.counts.total() == before


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_killed_and_a_suspended_process_harm_no_other(tmp_path: Path, number: int) -> None:
    """Each process that ends reports all tenants, and each tenant is triggered once."""
    journal, chance, tenants = tmp_path / "journal", random.Random(), 80
    with emulator_with(tenants) as emulator:
        killed, suspended = (SyncingProcess(emulator, journal, tenants) for _ in range(2))
        for process in (killed, suspended):
            process.wait_for_request()
        time.sleep(chance.uniform(0, LONGEST_LIFE))
        killed.kill()
        time.sleep(chance.uniform(0, LEASE))
        suspended.suspend()
        helping = SyncingProcess(emulator, journal, tenants)
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
        killed, other = (SyncingProcess(emulator, journal, tenants) for _ in range(2))
        for process in (killed, other):
            process.wait_for_request()
        for file in tmp_path.iterdir():
            if file != journal:
                file.unlink(missing_ok=True)
        time.sleep(chance.uniform(0, LONGEST_LIFE))
        killed.kill()
        for process in (other, SyncingProcess(emulator, journal, tenants)):
            check_triggers(emulator, process.results(), tenants)


@pytest.mark.parametrize("action", ["fork", "read"])
@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_process_may_fork_and_read_its_journal(tmp_path: Path, action: str, number: int) -> None:
    """Forked children share the work, and a file that is read stays locked for others."""
    journal, chance, tenants = tmp_path / "journal", random.Random(), 80
    with emulator_with(tenants) as emulator:
        killed, careless = (
            SyncingProcess(emulator, journal, tenants, action) for action in ("nothing", action)
        )
        for process in (killed, careless):
            process.wait_for_request()
        time.sleep(chance.uniform(0, LONGEST_LIFE))
        killed.kill()
        results = [
            process.results() for process in (careless, SyncingProcess(emulator, journal, tenants))
        ]
        for found in results:
            check_triggers(emulator, found, tenants)

"""Processes that are killed, or stand still, in the middle of syncing tenants with a journal."""

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

PROCESS = Path(__file__).parents[1] / "support" / "syncing_process.py"
IS_LONG = bool(os.environ.get("PANDIUM_LONG"))
KILLS = 100 if IS_LONG else 12
ROUNDS = 10 if IS_LONG else 2
# As many as take longer than all the processes live that are killed.
TENANTS = 12 * KILLS
AT_ONCE = 6
LONGEST_LIFE = 0.4  # seconds from when it began, or began to send
LEASE = 0.5  # seconds, as syncing_process.py lets time go by
PATIENCE = 120.0

BACKENDS = itertools.cycle(["asyncio", "trio"])


class Process:
    """A process that syncs, what it said, and how it may end."""

    def __init__(self, emulator: Emulator, journal: Path, tenants: int) -> None:
        self.emulator = emulator
        words = [next(BACKENDS), emulator.url, journal, tenants, AT_ONCE]
        self.popen = subprocess.Popen(
            [sys.executable, "-W", "error", PROCESS, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def until_it_begins(self) -> None:
        assert self.popen.stdout is not None
        assert self.popen.stdout.readline(), self.popen.communicate()[1]

    def until_it_sends(self) -> None:
        before = posts(self.emulator)
        self.until_it_begins()
        while self.popen.poll() is None and posts(self.emulator) == before:
            time.sleep(0.01)

    def kill(self) -> None:
        self.popen.kill()
        self.popen.communicate()

    def stop(self) -> None:
        self.popen.send_signal(signal.SIGSTOP)
        os.waitpid(self.popen.pid, os.WUNTRACED)

    def go_on(self) -> None:
        self.popen.send_signal(signal.SIGCONT)

    def results(self) -> dict[int, dict[str, Any]]:
        """Wait for its end, and give its results; each tenant must have come once."""
        # `communicate` would lose what was read ahead with the first line.
        assert self.popen.stdout is not None
        assert self.popen.stderr is not None
        limit = threading.Timer(PATIENCE, self.popen.kill)
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
def world(tenants: int) -> Iterator[Emulator]:
    with Emulator() as emulator:
        for _ in range(tenants):
            emulator.add_tenant()
        for tenant_id in range(1, tenants + 1, 3):  # others appear later, and go on for longer
            emulator.runs.script(tenant=tenant_id, appears_after=0.02, phases=[("Succeeded", 0)])
        yield emulator


def posts(emulator: Emulator) -> int:
    return sum(count for (method, *_), count in dict(emulator.counts).items() if method == "POST")


def triggers(emulator: Emulator, tenant_id: int) -> int:
    """Count the triggers of a tenant, once all of its runs have appeared."""
    return sum(len(run["triggers"]) for run in emulator.runs.of(tenant_id))


def sending(journal: Path) -> set[int]:
    """Give the tenants whose POST may be under way, as the journal has them at this moment."""
    if not journal.exists():
        return set()
    with closing(sqlite3.connect(journal, timeout=PATIENCE)) as db:
        try:
            return {n for (n,) in db.execute("SELECT tenant_id FROM syncs WHERE state = 'sending'")}
        except sqlite3.OperationalError:  # killed before it had made its tables
            return set()


def check(emulator: Emulator, results: dict[int, dict[str, Any]], tenants: int) -> set[int]:
    """See that each tenant was triggered once, or else is unknown; give those that are."""
    assert set(results) == set(range(1, tenants + 1))
    unknown = {tenant_id for tenant_id, result in results.items() if result["unknown"]}
    for tenant_id, result in results.items():
        count = triggers(emulator, tenant_id)
        if tenant_id in unknown:
            assert count <= 1, result
        else:
            assert (result["word"], count) == ("Succeeded", 1), result
    return unknown


def test_killed_at_any_instant_nothing_is_done_twice_or_forgotten(tmp_path: Path) -> None:
    """Started again, it reports as unknown just what was being sent when it died, and no other."""
    journal, chance = tmp_path / "journal", random.Random()
    being_sent: set[int] = set()
    with world(TENANTS) as emulator:
        for _ in range(KILLS):
            process = Process(emulator, journal, TENANTS)
            chance.choice([process.until_it_begins, process.until_it_sends])()
            time.sleep(chance.uniform(0, LONGEST_LIFE))  # the instant of its death is any
            process.kill()
            being_sent |= sending(journal)
        results = Process(emulator, journal, TENANTS).results()
        assert check(emulator, results, TENANTS) == being_sent
        # And once more: all is told again, and nothing is sent.
        before = emulator.counts.total()
        again = Process(emulator, journal, TENANTS).results()
        assert again.keys() == results.keys()
        assert all(again[n]["word"] == results[n]["word"] for n in results)
        assert emulator.counts.total() == before


@pytest.mark.parametrize("number", range(ROUNDS))
def test_processes_share_a_journal_though_one_dies_and_one_stands_still(
    tmp_path: Path, number: int
) -> None:
    """Whatever becomes of the others, each process that ends reports all, each triggered once."""
    journal, chance, tenants = tmp_path / "journal", random.Random(), 80
    with world(tenants) as emulator:
        dying, halting = (Process(emulator, journal, tenants) for _ in range(2))
        for process in (dying, halting):
            process.until_it_sends()
        time.sleep(chance.uniform(0, LONGEST_LIFE))
        dying.kill()
        time.sleep(chance.uniform(0, LEASE))
        halting.stop()
        helping = Process(emulator, journal, tenants)
        helping.until_it_begins()
        time.sleep(chance.uniform(2, 4) * LEASE)  # its leases lapse while it stands still
        halting.go_on()
        for process in (halting, helping):
            check(emulator, process.results(), tenants)

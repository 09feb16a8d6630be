"""A bulk job whose processes and files are disturbed at random."""

from __future__ import annotations

import os
import random
import re
import time
from collections import Counter
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from pandium._bulk.journal import LEASE
from pandium.emulator import Emulator, Latency
from support.disturbances import ERRORS, Storm
from support.syncing import JobOptions, SyncingProcess, results_by_process, results_of

if TYPE_CHECKING:
    from pathlib import Path


@attrs.frozen
class Size:
    """The size of a job, and of its disturbances. Times are in seconds."""

    tenants: int
    seconds: float
    pause: float
    workers: int
    max_concurrency: int
    speed: float


SHORT = Size(tenants=80, seconds=14.0, pause=0.25, workers=3, max_concurrency=6, speed=20.0)
# A process that is started again reads all recorded tenants. Disturb it less often.
LONG = Size(tenants=2000, seconds=600.0, pause=2.5, workers=4, max_concurrency=10, speed=5.0)
SIZE = LONG if os.environ.get("PANDIUM_LONG") else SHORT
SEED = int(os.environ.get("PANDIUM_SEED") or random.randrange(10**6))


def add_tenants(emulator: Emulator, chance: random.Random) -> dict[int, str]:
    """Add tenants whose runs take a random time, and return the status in which they end."""
    # The longer a request takes, the more often its process is killed before the response.
    delay = Latency(0.6 * LEASE / SIZE.speed)
    emulator.faults.add("tenants.sync", delay, probability=0.8, seed=chance.randrange(10**6))
    ends = {}
    for tenant_id in range(1, SIZE.tenants + 1):
        emulator.add_tenant()
        ends[tenant_id] = chance.choice(["Succeeded"] * 9 + ["Failed (Timeout)"])
        emulator.runs.script(
            tenant=tenant_id,
            appears_after=chance.uniform(0, 5) / SIZE.speed,
            phases=[("Running", chance.uniform(0, 20) / SIZE.speed), (ends[tenant_id], 0)],
        )
    return ends


class Account:
    """What all processes of a storm have reported, and what must be true of it."""

    def __init__(self, storm: Storm, emulator: Emulator, ends: dict[int, str]) -> None:
        self.storm = storm
        self.emulator = emulator
        self.ends = ends
        self.triggers: dict[int, set[str]] = {tenant_id: set() for tenant_id in ends}

    def check_processes(self) -> None:
        """Check that each process ended for a known reason and reported no tenant twice."""
        for worker in self.storm.started:
            process = worker.process
            assert not process.noise, "".join(process.noise)
            assert process.popen.returncode in ({0, -9} if worker.is_killed else {0})
            self._check_failures(process)
            complete = results_by_process(process.lines)
            assert all(set(found) == set(self.ends) for found in complete.values())
            for pid in {line["pid"] for line in process.lines}:
                self._check_results(results_of(pid, process.lines))

    def _check_failures(self, process: SyncingProcess) -> None:
        for line in process.lines:
            if "failed" in line:
                causes = tuple(cause for text, cause in ERRORS.items() if text in line["failed"])
                applied = [name for name, times in self.storm.applied.items() if times]
                assert any(name.startswith(causes) for name in applied), line
                assert str(self.storm.journal) in line["failed"]

    def _check_results(self, found: dict[int, dict[str, Any]]) -> None:
        for tenant_id, result in found.items():
            if result["status"] is not None:
                assert result["status"] == self.ends[tenant_id], result
            if result["trigger"] is not None:
                self.triggers[tenant_id].add(result["trigger"])

    def check_final(self, found: dict[int, dict[str, Any]]) -> set[int]:
        """Check that no tenant is forgotten or was triggered twice, and return the unknown ones."""
        assert set(found) == set(self.ends)
        self._check_results(found)
        unknown = {tenant_id for tenant_id, result in found.items() if result["unknown"]}
        for tenant_id, result in found.items():
            effects = self.emulator.effects["tenants.sync", tenant_id]
            if tenant_id in unknown:
                assert effects <= 1, result
            else:
                assert (result["status"], effects) == (self.ends[tenant_id], 1), result
            assert len(self.triggers[tenant_id]) <= 1, self.triggers[tenant_id]
        return unknown

    def check_records(self, unknown: set[int]) -> None:
        """Check that each result that was reported is in the journal, or was named as lost."""
        for worker in self.storm.started:
            # If a process was killed while it could not write, nobody could name what was lost.
            if worker.is_killed and worker.is_struck:
                continue
            lines = worker.process.lines
            warnings = " ".join(line["warning"] for line in lines if "warning" in line)
            named = {int(number) for number in re.findall(r"of tenant (\d+)", warnings)}
            reported = {line["tenant"] for line in lines if line.get("status") is not None}
            assert not reported & unknown - named, (worker.pid, reported & unknown - named)


@pytest.mark.posix
def test_a_job_survives_whatever_is_done_to_its_processes_and_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No tenant is triggered twice or forgotten, and each process reports each tenant once."""
    report(capsys, f"\nThe seed of the disturbances is PANDIUM_SEED={SEED}")
    with Emulator() as emulator:
        ends = add_tenants(emulator, random.Random(SEED))
        options = JobOptions(
            emulator.url,
            str(tmp_path / "journal"),
            SIZE.tenants,
            SIZE.max_concurrency,
            SIZE.speed,
            began=time.time(),
            interval=0.8 * SIZE.seconds / SIZE.tenants,
        )
        storm = Storm(options, SIZE.workers, SEED)
        storm.rage(SIZE.seconds, SIZE.pause)
        account = Account(storm, emulator, ends)
        account.check_processes()
        unknown = account.check_final(SyncingProcess(options).results())
        account.check_records(unknown)
        # In a second run, all results come from the journal, and nothing is sent.
        before = emulator.counts.total()
        again = account.check_final(SyncingProcess(options).results())
        assert (again, emulator.counts.total()) == (unknown, before)
    report(capsys, describe(storm, unknown))


def report(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Print a text, in the long form even if the test succeeds."""
    with capsys.disabled() if SIZE is LONG else nullcontext():
        print(text)  # noqa: T201 - the seed is needed to repeat a run


def describe(storm: Storm, unknown: set[int]) -> str:
    """Return a summary of a storm."""
    counts = Counter(
        re.sub(r".*: ", "", line["failed"])
        for worker in storm.started
        for line in worker.process.lines
        if "failed" in line
    )
    processes = {line["pid"] for worker in storm.started for line in worker.process.lines}
    lines = [f"{number:5} x {name}" for name, number in storm.applied.items()]
    lines += [f"{number:5} processes ended with: {text}" for text, number in counts.items()]
    return "\n".join(
        [*lines, f"{len(processes)} processes, {len(unknown)} tenants with an unknown outcome"]
    )

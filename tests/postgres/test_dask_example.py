"""examples/dask_sync.py with workers that come, go and are killed."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from support.postgres import expire_leases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pandium.emulator import Emulator

pytestmark = pytest.mark.postgres

EXAMPLE = Path(__file__).parents[2] / "examples" / "dask_sync.py"
TENANTS = 60


@pytest.fixture
def populated_emulator(pandium_emulator: Emulator) -> Emulator:
    pandium_emulator.runs.script(appears_after=0.2, phases=[("Running", 1.0), ("Succeeded", 0)])
    for _ in range(TENANTS):
        pandium_emulator.add_tenant()
    return pandium_emulator


@pytest.fixture
def start(
    populated_emulator: Emulator, postgres_dsn: str, tmp_path: Path
) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Return a function that starts the example."""
    jobs: list[subprocess.Popen[str]] = []

    def start_job() -> subprocess.Popen[str]:
        # The fixture `pandium_emulator` has set the environment variables for the key and the URL.
        command = [sys.executable, str(EXAMPLE), "1", "--journal", postgres_dsn, "--job", "nightly"]
        command += ["--workers", "3", "--batch", "10", "--poll-rate", "300"]
        pipe = subprocess.PIPE
        jobs.append(subprocess.Popen(command, text=True, stdout=pipe, stderr=pipe, cwd=tmp_path))
        return jobs[-1]

    yield start_job
    for job in jobs:
        job.kill()
        job.communicate()


def count_triggers(emulator: Emulator) -> dict[int, int]:
    effects = Counter({key: number for (_, key), number in emulator.effects.items()})
    return {tenant.id: effects[tenant.id] for tenant in emulator.tenants}


def find_workers(job: subprocess.Popen[str], emulator: Emulator) -> list[psutil.Process]:
    """Return the workers that are connected to the emulator."""
    port = int(emulator.url.rpartition(":")[2])
    found = []
    for process in psutil.Process(job.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            ports = [one.raddr.port for one in process.net_connections() if one.raddr]
            if port in ports:
                found.append(process)
    return found


def test_workers_that_come_and_go_share_the_tenants(
    start: Callable[[], subprocess.Popen[str]], populated_emulator: Emulator
) -> None:
    """Each tenant is triggered once and reported once, and a second run sends nothing."""
    job = start()
    workers = set()
    while job.poll() is None:
        with suppress(psutil.NoSuchProcess):
            workers |= {process.pid for process in find_workers(job, populated_emulator)}
        time.sleep(0.05)
    out, err = job.communicate(timeout=120)
    assert (out, job.returncode) == (f"{TENANTS} of {TENANTS} tenants succeeded\n", 0), err
    assert set(count_triggers(populated_emulator).values()) == {1}
    assert len(workers - {job.pid}) > 1
    out, err = start().communicate(timeout=120)
    assert out == f"{TENANTS} of {TENANTS} tenants succeeded\n", err
    assert set(count_triggers(populated_emulator).values()) == {1}


def test_a_worker_that_is_killed_is_replaced(
    start: Callable[[], subprocess.Popen[str]], populated_emulator: Emulator, postgres_dsn: str
) -> None:
    """Another worker resumes a killed worker's batch. No tenant is triggered twice or forgotten."""
    job = start()
    workers: list[psutil.Process] = []
    while len(populated_emulator.effects) < TENANTS / 4 or not workers:
        assert job.poll() is None, job.communicate()
        workers = find_workers(job, populated_emulator)
    workers[0].kill()
    expire_leases(postgres_dsn, 60, workers[0].pid)
    out, err = job.communicate(timeout=120)
    # Tenants whose request was in progress are reported and not triggered again.
    unknown = {
        int(number) for number in re.findall(r"^(\d+) .*may have been triggered", err, re.MULTILINE)
    }
    assert out == f"{TENANTS - len(unknown)} of {TENANTS} tenants succeeded\n", err
    assert len(unknown) <= 10
    for tenant_id, number in count_triggers(populated_emulator).items():
        assert number == 1 or (tenant_id in unknown and number == 0), tenant_id

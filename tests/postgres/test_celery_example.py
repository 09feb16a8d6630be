"""examples/celery_task.py with a real Celery worker, which `nox -s workflows` installs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from support.postgres import expire_leases

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pandium.emulator import Emulator

pytest.importorskip("celery", reason="requires Celery: run nox -s workflows")
pytestmark = pytest.mark.postgres

EXAMPLES = Path(__file__).parents[2] / "examples"
TENANTS = 20
# A broker and a result backend in a directory.
JOBS = """
from celery_task import app, sync

app.conf.update(
    broker_url="filesystem://",
    broker_transport_options={
        "data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control"
    },
    result_backend="file://results",
)
"""
SEND = "import json, jobs; print(json.dumps(jobs.sync.delay(1, 'nightly').get(timeout=120)))"


@pytest.fixture
def environment(pandium_emulator: Emulator, postgres_dsn: str, tmp_path: Path) -> dict[str, str]:
    """Return the variables of a worker and of a program that sends a task to it."""
    for _ in range(TENANTS):
        pandium_emulator.add_tenant()
    pandium_emulator.runs.script(appears_after=0.2, phases=[("Running", 1.0), ("Succeeded", 0)])
    (tmp_path / "jobs.py").write_text(JOBS)
    for name in ("queue", "control", "results"):
        (tmp_path / name).mkdir()
    path = os.pathsep.join([str(tmp_path), str(EXAMPLES)])
    return {**os.environ, "PANDIUM_JOURNAL": postgres_dsn, "PYTHONPATH": path}


@contextmanager
def start(
    environment: dict[str, str], directory: Path, *arguments: str
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=environment,
        cwd=directory,
        text=True,
        stdout=subprocess.PIPE,
    )
    with process:
        yield process
        process.terminate()


def test_a_task_whose_worker_is_killed_runs_again(
    environment: dict[str, str], pandium_emulator: Emulator, postgres_dsn: str, tmp_path: Path
) -> None:
    """The next attempt resumes from the journal. No tenant is triggered twice or forgotten."""
    arguments = ("-m", "celery", "--quiet", "-A", "jobs", "worker", "--concurrency", "1")
    with (
        start(environment, tmp_path, *arguments) as worker,
        start(environment, tmp_path, "-c", SEND) as sender,
    ):
        while len(pandium_emulator.effects) < TENANTS / 2:
            assert worker.poll() is None
            time.sleep(0.01)
        for process in psutil.Process(worker.pid).children():
            process.kill()
            expire_leases(postgres_dsn, 60, process.pid)
        failures = json.loads(sender.communicate(timeout=150)[0])
    unknown = {int(*re.findall(r"^tenant (\d+): .*may have been", text)) for text in failures}
    for tenant in pandium_emulator.tenants:
        effects = pandium_emulator.effects["tenants.sync", tenant.id]
        assert effects == 1 or (tenant.id in unknown and effects == 0)

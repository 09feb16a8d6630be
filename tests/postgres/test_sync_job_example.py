"""examples/sync_job.py on several hosts at the same time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pandium.emulator import Emulator

pytestmark = pytest.mark.postgres

EXAMPLE = Path(__file__).parents[2] / "examples" / "sync_job.py"


def start(postgres_dsn: str) -> subprocess.Popen[str]:
    # The fixture `pandium_emulator` has set the environment variables for the key and the URL.
    command = [sys.executable, str(EXAMPLE), "1", "nightly"]
    variables = {**os.environ, "PANDIUM_JOURNAL": postgres_dsn}
    return subprocess.Popen(command, env=variables, text=True, stdout=subprocess.PIPE)


def test_processes_with_one_job_trigger_each_tenant_once(
    pandium_emulator: Emulator, postgres_dsn: str
) -> None:
    """Each process reports all tenants, and a process that is started later sends nothing."""
    tenants = [pandium_emulator.add_tenant().id for _ in range(40)]
    pandium_emulator.runs.script(tenant=7, phases=[("Failed (Timeout)", 0)])
    for processes in (3, 1):
        running = [start(postgres_dsn) for _ in range(processes)]
        outputs = [process.communicate(timeout=120)[0] for process in running]
        assert all(output.startswith("tenant 7: ") for output in outputs), outputs
        assert [process.returncode for process in running] == [1] * processes
        for tenant_id in tenants:
            pandium_emulator.assert_triggered_once(tenant_id)

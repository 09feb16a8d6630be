"""examples/airflow_trigger.py in Airflow, which `nox -s workflows` installs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pandium.emulator import Emulator

pytest.importorskip("airflow", reason="requires Airflow: run nox -s workflows")
pytestmark = pytest.mark.postgres

EXAMPLES = Path(__file__).parents[2] / "examples"
TENANTS = 20
DAG = f"""
from airflow.sdk import DAG
from airflow_trigger import SyncTenants

with DAG("nightly", schedule=None):
    SyncTenants(task_id="sync", tenants=range(1, {TENANTS + 1}))
"""
# What the triggerer does: it creates a trigger from what `serialize` returned, and runs it.
TRIGGERER = f"""
import asyncio
from airflow_trigger import TenantsSynced


async def main() -> None:
    trigger = TenantsSynced(range(1, {TENANTS + 1}), "normal", "nightly")
    path, arguments = trigger.serialize()
    assert path == "airflow_trigger.TenantsSynced"
    events = [event.payload async for event in TenantsSynced(**arguments).run()]
    print("events", events)


asyncio.run(main())
"""


@pytest.fixture
def environment(pandium_emulator: Emulator, postgres_dsn: str, tmp_path: Path) -> dict[str, str]:
    """Return the variables of a new Airflow installation with the example and one DAG."""
    for _ in range(TENANTS):
        pandium_emulator.add_tenant()
    pandium_emulator.runs.script(appears_after=0.2, phases=[("Running", 1.0), ("Succeeded", 0)])
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "nightly.py").write_text(DAG)
    return {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PANDIUM_JOURNAL": postgres_dsn,
        "PYTHONPATH": str(EXAMPLES),
    }


def run_airflow(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "-m", "airflow", *arguments]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("fails", [False, True], ids=["success", "failure"])
def test_a_dag_syncs_tenants(
    environment: dict[str, str],
    pandium_emulator: Emulator,
    fails: bool,  # noqa: FBT001
) -> None:
    """The operator defers, each tenant is synced once, and the task fails if one of them failed."""
    if fails:
        pandium_emulator.runs.script(tenant=7, phases=[("Failed (Timeout)", 0)])
    run_airflow(environment, "db", "migrate")
    output = run_airflow(environment, "dags", "test", "nightly")
    assert f"state={'failed' if fails else 'success'}" in output, output
    assert re.search(r"1 tenants did not succeed: tenant 7: .*Timeout", output) or not fails
    for tenant in pandium_emulator.tenants:
        pandium_emulator.assert_triggered_once(tenant.id)


def test_a_trigger_whose_process_is_killed_resumes(
    environment: dict[str, str], pandium_emulator: Emulator
) -> None:
    """If the triggerer dies, the next one resumes. No tenant is triggered twice or forgotten."""
    command = [sys.executable, "-c", TRIGGERER]
    with subprocess.Popen(command, env=environment) as process:
        while len(pandium_emulator.effects) < TENANTS / 2:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    unknown = {int(n) for n in re.findall(r"tenant (\d+): .*?may have been", done.stdout)}
    for tenant in pandium_emulator.tenants:
        effects = pandium_emulator.effects["tenants.sync", tenant.id]
        assert effects == 1 or (tenant.id in unknown and effects == 0)

"""The table columns for each kind of record."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import pytest

from pandium._cli.app import run
from pandium._cli.output.records import RunRow
from pandium._cli.output.table import Table
from pandium.models import Run, RunMode, Tenant

if TYPE_CHECKING:
    from pandium.emulator import Emulator


@pytest.mark.usefixtures("api_environment")
def test_a_run_is_one_line(emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    """A run shows its phase, its times to the minute, and its triggers. Missing cells are empty."""
    emulator.add_tenant("acme")
    emulator.runs.script(appears_after=0, phases=[("Failed (Timeout)", 0)])
    assert run(["tenants", "sync", "1"]) == 0
    assert run(["tenants", "runs", "1"]) == 0
    title, line = capsys.readouterr().out.splitlines()[-2:]
    assert title.split() == ["ID", "MODE", "PHASE", "STARTED", "COMPLETED", "TRIGGERS"]
    assert re.fullmatch(
        r"\s*1  normal  Failed \(Timeout\)  [\d-]{10} [\d:]{5}  [\d-]{10} [\d:]{5}  1", line
    )
    out = io.StringIO()
    Table("Run", out, None).write([Run(2, RunMode.INIT)])
    assert out.getvalue().splitlines()[1].split() == ["2", "init"]


def test_a_tenant_without_a_status_has_empty_cells() -> None:
    """Fields that the API omits from a tenant are empty cells."""
    out = io.StringIO()
    Table("Tenant", out, None).write([Tenant(1, "a", archived=True), Tenant(2, "b", paused=False)])
    assert [row.split() for row in out.getvalue().splitlines()[1:]] == [
        ["1", "a", "archived"],
        ["2", "b", "active"],
    ]


def test_a_finished_wait_shows_its_polls_and_seconds() -> None:
    """The row of a wait contains the outcome, the time to a tenth of a second, and the polls."""
    out = io.StringIO()
    Table("RunRow", out, None).write([RunRow(7, "3", "succeeded", "Succeeded", None, 4, 2.04)])
    title, line = out.getvalue().splitlines()
    assert title.split() == ["TENANT", "TRIGGER", "OUTCOME", "SECONDS", "POLLS", "STATUS", "ERROR"]
    assert line.split() == ["7", "3", "succeeded", "2.0", "4", "Succeeded"]

"""The examples, run in the same way as by users."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.node import requires_node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pandium.emulator import Emulator

EXAMPLES = Path(__file__).parents[2] / "examples"
SYNC = "/v2/tenants/{tenant_id}/sync"


@pytest.fixture
def populated_emulator(pandium_emulator: Emulator) -> Emulator:
    pandium_emulator.runs.script(appears_after=0.2, phases=[("Running", 1.0), ("Succeeded", 0)])
    for _ in range(40):
        pandium_emulator.add_tenant()
    return pandium_emulator


@pytest.fixture
def job(populated_emulator: Emulator, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    arguments = ["1", "--journals", str(tmp_path / "journals"), "--workers", "2"]
    arguments += ["--poll-rate", "100"]
    command = [sys.executable, str(EXAMPLES / "dask_sync.py"), *arguments]
    # The fixture `pandium_emulator` has set the environment variables for the key and the URL.
    with subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    ) as process:
        yield process
        process.kill()


def find_workers(job: subprocess.Popen[str]) -> set[int]:
    """Return the ids of the processes that run a share, which have its journal open."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            files = {str(file.readlink()) for file in (process / "fd").iterdir()}
        except OSError:
            continue
        if any(re.search(r"/journals/\d+\.db$", file) for file in files):
            found.add(int(process.name))
    return found - {job.pid}


def test_two_workers_share_the_tenants(
    job: subprocess.Popen[str], populated_emulator: Emulator
) -> None:
    """Two workers trigger each tenant once, and all results are returned."""
    out, err = job.communicate(timeout=120)
    assert (out, job.returncode) == ("40 of 40 tenants succeeded\n", 0), err
    for tenant in populated_emulator.tenants:
        populated_emulator.assert_triggered_once(tenant.id)


def test_a_worker_that_is_killed_is_replaced(
    job: subprocess.Popen[str], populated_emulator: Emulator
) -> None:
    """Another worker resumes a killed worker's share, and no tenant is triggered twice."""
    while not any(route == SYNC for _, route, _ in populated_emulator.counts):
        assert job.poll() is None
        time.sleep(0.01)
    os.kill(min(find_workers(job)), signal.SIGKILL)
    out, err = job.communicate(timeout=120)
    # Tenants whose request was in progress are reported and not triggered again.
    unknown = set(re.findall(r"^(\d+) .*may have been triggered", err, re.MULTILINE))
    assert out == f"{40 - len(unknown)} of 40 tenants succeeded\n", err
    assert len(unknown) <= 10
    for tenant in populated_emulator.tenants:
        if str(tenant.id) not in unknown:
            populated_emulator.assert_triggered_once(tenant.id)
    assert (
        sum(number for (_, route, _), number in populated_emulator.counts.items() if route == SYNC)
        <= 40
    )


def run_example(*command: str) -> str:
    """Run an example that starts its own emulator, and return its output."""
    done = subprocess.run(
        command,
        cwd=EXAMPLES,
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@requires_node
def test_failures_can_be_tested_in_javascript() -> None:
    """Node's test runner passes all tests of the example, and skips none."""
    output = run_example("node", "--test", "failures.test.mjs")
    results = dict(re.findall(r"^\S* ?(tests|pass|fail|skipped) (\d+)$", output, re.MULTILINE))
    assert results == {"tests": "8", "pass": "8", "fail": "0", "skipped": "0"}


@pytest.mark.skipif(shutil.which("curl") is None, reason="requires curl")
def test_failures_can_be_tested_in_a_shell_script() -> None:
    """A POSIX shell and curl suffice, and each check passes."""
    output = run_example("sh", "failures.sh")
    assert len(output.splitlines()) == 6
    assert all(line.startswith("ok - ") for line in output.splitlines())


@pytest.mark.parametrize(
    ("language", "name"), [("js", "failures.test.mjs"), ("bash", "failures.sh")]
)
def test_the_excerpts_in_the_documentation_are_up_to_date(language: str, name: str) -> None:
    """Each excerpt is a part of the example, word for word."""
    page = (EXAMPLES.parent / "docs" / "howto" / "other-languages.md").read_text()
    excerpts = re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert excerpts
    example = (EXAMPLES / name).read_text()
    assert not [one for one in excerpts if one not in example]

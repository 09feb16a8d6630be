"""The examples, run in the same way as by users."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.node import requires_node

if TYPE_CHECKING:
    from pandium.emulator import Emulator

EXAMPLES = Path(__file__).parents[2] / "examples"


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


@pytest.mark.posix
@pytest.mark.skipif(shutil.which("curl") is None, reason="requires curl")
def test_failures_can_be_tested_in_a_shell_script() -> None:
    """A POSIX shell and curl suffice, and each check passes."""
    output = run_example("sh", "failures.sh")
    assert len(output.splitlines()) == 6
    assert all(line.startswith("ok - ") for line in output.splitlines())


@pytest.mark.posix
@pytest.mark.parametrize(
    ("page", "language", "name"),
    [
        ("other-languages.md", "js", "failures.test.mjs"),
        ("other-languages.md", "bash", "failures.sh"),
        ("ci-builds.md", "bash", "ci_build.sh"),
        ("scale-out.md", "py", "*.py"),
    ],
)
def test_the_excerpts_in_the_documentation_are_up_to_date(
    page: str, language: str, name: str
) -> None:
    """Each excerpt is a part of an example, word for word."""
    text = (EXAMPLES.parent / "docs" / "howto" / page).read_text()
    excerpts = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert excerpts
    examples = [path.read_text() for path in EXAMPLES.glob(name)]
    assert not [one for one in excerpts if not any(one in example for example in examples)]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Provide a git repository with one commit and a remote named origin."""
    path = tmp_path / "repository"
    author = ("-c", "user.name=ci", "-c", "user.email=ci@example.com")
    for command in (
        ("init", "--quiet", "--bare", "origin.git"),
        ("clone", "--quiet", "origin.git", path.name),
        ("-C", path.name, *author, "commit", "--quiet", "--allow-empty", "--message", "one"),
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True, capture_output=True)
    return path


def build_in_ci(repository: Path, tag: str, tenant: int) -> subprocess.CompletedProcess[str]:
    """Run the CI job for integration 1 on the emulator of the test."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["sh", str(EXAMPLES / "ci_build.sh"), tag, "1", str(tenant)],
        cwd=repository,
        env={**os.environ, "PATH": path, "BUILD_TIMEOUT": "3"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


requires_git = pytest.mark.skipif(shutil.which("git") is None, reason="requires git")


@pytest.mark.posix
@requires_git
def test_a_ci_job_builds_a_tag_and_syncs_a_tenant(
    pandium_emulator: Emulator, repository: Path
) -> None:
    """The job pushes the tag, builds it, and syncs the tenant once. It does not build it again."""
    tenant = pandium_emulator.add_tenant("test-tenant")
    job = build_in_ci(repository, "v1.4.0", tenant.id)
    assert job.returncode == 0, job.stderr
    assert re.search(r"^tag +v1\.4\.0$", job.stdout, re.MULTILINE), "the release is shown"
    pandium_emulator.assert_triggered_once(tenant.id)
    tags = ["git", "ls-remote", "--tags", "origin"]
    listed = subprocess.run(tags, cwd=repository, check=True, capture_output=True, text=True)
    assert listed.stdout.endswith("refs/tags/v1.4.0\n")
    requests = len(pandium_emulator.requests)
    assert "already exists" in build_in_ci(repository, "v1.4.0", tenant.id).stderr
    assert len(pandium_emulator.requests) == requests


@pytest.mark.posix
@requires_git
def test_a_ci_job_fails_with_the_log_of_the_run(
    pandium_emulator: Emulator, repository: Path
) -> None:
    """If the run of the test tenant fails, the job fails and prints the log of the run."""
    tenant = pandium_emulator.add_tenant("test-tenant")
    pandium_emulator.runs.script(phases=[("Failed (Integration Issue)", 0)])
    job = build_in_ci(repository, "v1.4.0", tenant.id)
    assert job.returncode == 1, job.stderr
    assert "--- test-tenant (tenant 1), run 1: Failed (Integration Issue)\n" in job.stderr
    assert "run 1: triggers 1\n" in job.stderr


@pytest.mark.posix
@requires_git
def test_a_ci_job_fails_without_a_release(pandium_emulator: Emulator, repository: Path) -> None:
    """If no release appears within the time limit, the job fails and does not sync the tenant."""
    tenant = pandium_emulator.add_tenant("test-tenant")
    pandium_emulator.builds.script(fails=True)
    job = build_in_ci(repository, "v1.4.0", tenant.id)
    assert job.returncode == 5, job.stderr
    assert "v1.4.0" in job.stderr
    pandium_emulator.assert_not_triggered(tenant.id)

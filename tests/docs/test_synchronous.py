"""The examples in docs/howto/synchronous.md, run by the frameworks that they are for."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pandium.emulator import Emulator

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "synchronous.md"
TIMEOUT = 120.0

DJANGO = """
import django
from django.conf import settings
from django.urls import path

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["testserver"], SECRET_KEY="secret")
django.setup()

import views
from django.test import Client

urlpatterns = [path("tenants/", views.tenants)]
for _ in range(2):
    print(Client().get("/tenants/").json())
"""
CELERY = """
from celery.signals import worker_ready
from tasks import app, sync_tenant

@worker_ready.connect
def send(**_):
    for tenant_id in (1, 2, 3):
        sync_tenant.delay(tenant_id)

app.worker_main(["worker", "--pool=prefork", "--concurrency=2", "--loglevel=INFO"])
"""
LAMBDA = """
import threading
from lambda_function import handler

for _ in range(3):
    print(handler({"tenant_id": 1}, None))
print(sum(thread.name == "pandium" for thread in threading.enumerate()))
"""
JUPYTER = """
from pathlib import Path
import nbformat
from nbclient import NotebookClient

source = Path("notebook.py").read_text()
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
NotebookClient(notebook, kernel_name="python3").execute()
print(notebook.cells[0].outputs[0].data["text/plain"])
"""


@pytest.fixture(autouse=True)
def _tenants(pandium_emulator: Emulator) -> None:
    for name in ("acme", "globex", "initech"):
        pandium_emulator.add_tenant(name)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Provide a directory with the modules of the page."""
    blocks = re.findall(r"^```py\n# (\S+)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert {name for name, _ in blocks} == {
        *("views.py", "tasks.py", "lambda_function.py", "notebook"),
    }
    for name, source in blocks:
        (tmp_path / name).with_suffix(".py").write_text(source)
    return tmp_path


def start(project: Path, script: str) -> subprocess.Popen[str]:
    (project / "run.py").write_text(script)
    # The fixture `pandium_emulator` has set the environment variables for the key and the URL.
    return subprocess.Popen(
        [sys.executable, "run.py"],
        cwd=project,
        env={**os.environ, "IPYTHONDIR": str(project), "JUPYTER_CONFIG_DIR": str(project)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(project: Path, script: str) -> list[str]:
    """Run a script and return the lines of its output."""
    with start(project, script) as process:
        out, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, err
    return out.splitlines()


def test_django_views_use_a_client(project: Path) -> None:
    """A view lists the tenants for each request of Django's test client."""
    assert run(project, DJANGO) == ["{'names': ['acme', 'globex', 'initech']}"] * 2


def test_a_lambda_handler_uses_a_client_again_and_again(
    project: Path, pandium_emulator: Emulator
) -> None:
    """Each invocation syncs the tenant, and all of them share one thread."""
    *triggers, threads = run(project, LAMBDA)
    assert triggers == [f"{{'trigger_id': '{number}'}}" for number in (1, 2, 3)]
    assert threads == "1"


def test_a_notebook_uses_a_client(project: Path) -> None:
    """A cell lists the tenants without await, in a kernel that runs an event loop."""
    assert run(project, JUPYTER) == ["['acme', 'globex', 'initech']"]


@pytest.fixture
def worker(project: Path) -> Iterator[subprocess.Popen[str]]:
    with start(project, CELERY) as process:
        yield process
        process.kill()


@pytest.mark.posix
def test_a_celery_worker_uses_a_client_after_its_fork(
    worker: subprocess.Popen[str], pandium_emulator: Emulator
) -> None:
    """The forked processes of a worker sync the tenants, and the worker ends when it is told to."""
    assert worker.stderr is not None
    succeeded: list[str] = []
    while len(succeeded) < 3:
        line = worker.stderr.readline()
        assert line, "the worker has ended"
        succeeded += re.findall(r"ForkPoolWorker-\d+\].* succeeded in \S+: '(\w+)'", line)
    assert succeeded == ["Succeeded"] * 3
    for tenant in pandium_emulator.tenants:
        pandium_emulator.assert_triggered_once(tenant.id)
    worker.send_signal(signal.SIGTERM)
    _, err = worker.communicate(timeout=TIMEOUT)
    assert worker.returncode == 0, err
    assert "Traceback" not in err

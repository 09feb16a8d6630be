"""
Run every block of code in README.md and docs/ as a test, against an emulator of the page's own.

The blocks of a page run in order and share their names; ``client``, ``emulator`` and ``tenant_id``
are there from the beginning. Time goes fifty times as fast. A block that defines tests is run by
pytest, too, in a project of its own: with the page's tests before it, and without the page's
emulator. Blocks of shell run in a directory of their own, but for those that only install: these
are what sets up the tests themselves.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import shlex
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack, chdir
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser

from pandium import AsyncPandium
from pandium._clock import use_clock
from pandium.emulator import Clock, Emulator

if TYPE_CHECKING:
    from sybil import Example

KEY = "key-of-the-docs"
# What a careful project sets; the plugins must be there, as each would refuse the other's words.
STRICT = """
[pytest]
addopts = --strict-markers --strict-config -p no:cacheprovider -p no:schemathesis
required_plugins = anyio pandium pytest-asyncio
filterwarnings = error
xfail_strict = true
asyncio_mode = strict
asyncio_default_fixture_loop_scope = function
"""
INSTALLS = ("pip install", "python3 -m venv", "#")


def set_up(names: dict[str, Any]) -> None:
    stack = names["_stack"] = ExitStack()
    clock = Clock(speed=50)
    stack.enter_context(use_clock(clock))
    stack.enter_context(chdir(stack.enter_context(tempfile.TemporaryDirectory())))
    emulator = stack.enter_context(Emulator(clock=clock))
    emulator.connectors.register("crm", lambda _: {"contacts": [{"name": "Ann"}]})
    names["tenant_id"] = emulator.add_tenant("acme", user_name="ann").id
    names["emulator"] = emulator
    names["_port"] = free_port()
    patch = stack.enter_context(pytest.MonkeyPatch.context())
    patch.setenv("PANDIUM_API_KEY", KEY)
    patch.setenv("PANDIUM_BASE_URL", emulator.url)
    patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    names["_runner"] = stack.enter_context(asyncio.Runner())
    names["client"] = client = AsyncPandium()
    stack.callback(lambda: names["_runner"].run(client.aclose()))


def tear_down(names: dict[str, Any]) -> None:
    names["_stack"].close()


def run_python(example: Example) -> None:
    source = "\n" * (example.line + example.parsed.line_offset) + example.parsed
    code = compile(source, example.path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, example.namespace)
    if inspect.iscoroutine(result):
        example.namespace["_runner"].run(result)
    if has_tests(example.parsed):
        run_tests(example)


def has_tests(source: str) -> bool:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = ast.walk(ast.parse(source))
    return any(isinstance(node, functions) and node.name.startswith("test_") for node in nodes)


def run_tests(example: Example) -> None:
    blocks = example.namespace.setdefault("_tests", [])
    blocks.append(example.parsed)
    project = Path(tempfile.mkdtemp(dir=Path.cwd()))
    (project / "pytest.ini").write_text(STRICT)
    (project / "test_page.py").write_text("\n".join(blocks))
    # Neither the page's emulator nor what this run of pytest was told.
    ours = ("PANDIUM_", "PYTEST_")
    variables = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
    command = [sys.executable, "-m", "pytest", "-q", "test_page.py"]
    subprocess.run(command, check=True, timeout=120, cwd=project, env=variables)


def run_shell(example: Example) -> None:
    # The page's own port, in place of one that may be taken.
    text = example.parsed.replace("8080", str(example.namespace["_port"]))
    lines = [line for line in text.splitlines() if line and not line.startswith(INSTALLS)]
    if lines and lines[-1].startswith("python -m pandium.emulator"):
        serve(lines.pop(), example.namespace["_stack"])
    command = ["bash", "-euo", "pipefail", "-c", "\n".join(lines)]
    subprocess.run(command, check=True, timeout=60, stdin=subprocess.DEVNULL)


def serve(command: str, stack: ExitStack) -> None:
    """Run an emulator until the page ends; it says when it is there."""
    process = subprocess.Popen(shlex.split(command), stdout=subprocess.PIPE)
    stack.enter_context(process)
    stack.callback(process.terminate)
    assert process.stdout is not None
    assert process.stdout.readline()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


pytest_collect_file = Sybil(
    parsers=[CodeBlockParser("python", run_python), CodeBlockParser("sh", run_shell)],
    patterns=["README.md", "docs/*.md", "docs/**/*.md"],
    setup=set_up,
    teardown=tear_down,
).pytest()

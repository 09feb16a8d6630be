"""
Run every code block in README.md and docs/ as a test. Each page has a separate emulator.

The blocks of a page run in order and share a namespace. A block that begins with the name of a
file, such as `# sync.py`, is saved under this name instead. If a block defines tests, they also run
under pytest, in a separate project that contains all tests from the page up to that point. Shell
blocks run in the page's temporary directory, with the variables that earlier blocks have set. Lines
that only install packages are skipped. An error status makes curl fail.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser

from support.examples import example_namespace, run_example
from support.posix import IS_POSIX, POSIX_REASON

if TYPE_CHECKING:
    from sybil import Example

# The strictest settings that a user's project can have. Each required plugin must accept the
# options of the others.
STRICT = """
[pytest]
addopts = --strict-markers --strict-config -p no:cacheprovider -p no:schemathesis
required_plugins = anyio pandium pytest-asyncio
filterwarnings = error
xfail_strict = true
asyncio_mode = strict
asyncio_default_fixture_loop_scope = function
"""
ASSIGNMENTS = re.compile(r"(export )?\w+=[^ ]+( \w+=[^ ]+| \w+='[^']*')*$")
FILE_NAME = re.compile(r"# (\w+\.py)\n")
INSTALLS = ("pip install", "python3 -m venv", "#")


def set_up(names: dict[str, Any]) -> None:
    stack = names["_stack"] = ExitStack()
    names.update(stack.enter_context(example_namespace()))
    names["_port"] = free_port()


def tear_down(names: dict[str, Any]) -> None:
    names["_stack"].close()


def run_python(example: Example) -> None:
    if name := FILE_NAME.match(example.parsed):
        Path(name[1]).write_text(example.parsed)
        return
    # Leading blank lines make the line numbers in tracebacks match those of the page.
    source = "\n" * (example.line + example.parsed.line_offset) + example.parsed
    run_example(source, example.path, example.namespace)
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
    # A user's tests must not be affected by the page's emulator or the options of this pytest run.
    hidden = ("PANDIUM_", "PYTEST_")
    variables = {name: text for name, text in os.environ.items() if not name.startswith(hidden)}
    command = [sys.executable, "-m", "pytest", "-q", "test_page.py"]
    subprocess.run(command, check=True, timeout=120, cwd=project, env=variables)


def run_shell(example: Example) -> None:
    if not IS_POSIX:
        pytest.skip(POSIX_REASON)
    # Port 8080 may be in use, so each page uses a free port instead.
    text = example.parsed.replace("8080", str(example.namespace["_port"]))
    lines = [line for line in text.splitlines() if line and not line.startswith(INSTALLS)]
    if lines and lines[-1].startswith("python -m pandium.emulator"):
        serve(lines.pop(), example.namespace["_stack"])
    variables = example.namespace.setdefault("_variables", [])
    command = ["bash", "-euo", "pipefail", "-c", "\n".join([*variables, *lines])]
    Path(".curlrc").write_text("fail-with-body")
    environment = {**os.environ, "CURL_HOME": str(Path.cwd())}
    subprocess.run(command, check=True, timeout=60, stdin=subprocess.DEVNULL, env=environment)
    variables += [line for line in lines if ASSIGNMENTS.match(line)]


def serve(command: str, stack: ExitStack) -> None:
    """Start an emulator that runs until the end of the page, and wait for its first output line."""
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

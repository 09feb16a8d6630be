"""Run the documentation's code examples against an emulator."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import sys
import tempfile
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pandium import AsyncPandium, Pandium
from pandium._clock import use_clock
from pandium.emulator import Clock, Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "key-of-the-docs"
_SPEED = 50  # the speed of the emulator's and client's clocks, relative to real time


@contextmanager
def example_namespace() -> Iterator[dict[str, Any]]:
    """
    Yield the names that examples may use without defining them.

    ``emulator`` is a running emulator, and ``client`` is an open client for it. ``tenant_id`` and
    ``integration_id`` are ids of its records. Environment variables configure additional clients
    and the command line. Examples run in an empty directory.
    """
    with ExitStack() as stack:
        clock = Clock(speed=_SPEED)
        stack.enter_context(use_clock(clock))
        stack.enter_context(chdir(stack.enter_context(tempfile.TemporaryDirectory())))
        emulator = stack.enter_context(Emulator(clock=clock))
        emulator.connectors.register("crm", lambda _: {"contacts": [{"name": "Ann"}]})
        tenant = emulator.add_tenant("acme", user_name="ann")
        _set_environment(stack.enter_context(pytest.MonkeyPatch.context()), emulator.url)
        runner = stack.enter_context(asyncio.Runner())
        client = AsyncPandium()
        stack.callback(lambda: runner.run(client.aclose()))
        sync_client = Pandium()
        stack.callback(sync_client.close)
        yield {
            "__name__": "__main__",
            "_runner": runner,
            "_sync_client": sync_client,
            "client": client,
            "emulator": emulator,
            "integration_id": tenant.integration_id,
            "tenant_id": tenant.id,
        }


def _set_environment(patch: pytest.MonkeyPatch, url: str) -> None:
    patch.setenv("PANDIUM_API_KEY", KEY)
    patch.setenv("PANDIUM_BASE_URL", url)
    patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def run_example(source: str, filename: str, namespace: dict[str, Any]) -> None:
    """Run Python code that may use ``await`` at the top level."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    # Otherwise, this module's `from __future__ import annotations` would apply to the examples.
    code = compile(source, filename, "exec", flags=flags, dont_inherit=True)
    result = eval(code, namespace)
    if inspect.iscoroutine(result):
        namespace["_runner"].run(result)

"""The executor for name lookups calls each function in a thread that nothing waits for."""

from __future__ import annotations

import threading

import pytest

from pandium._daemon_executor import DaemonExecutor


def test_the_result_or_error_of_a_function_is_returned() -> None:
    """A future has the result of its function, or its error."""
    with DaemonExecutor() as executor:
        assert executor.submit(int, "7", base=8).result(10) == 7
        with pytest.raises(ValueError, match="invalid literal"):
            executor.submit(int, "x").result(10)


def test_nothing_waits_for_a_function_that_blocks() -> None:
    """Another function runs, and the executor ends, while a function blocks."""
    release = threading.Event()
    with DaemonExecutor() as executor:
        blocked = executor.submit(release.wait, 10)
        assert executor.submit(str).result(10) == ""
    assert not blocked.done()
    release.set()
    assert blocked.result(10)

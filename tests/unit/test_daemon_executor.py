"""The executor for name lookups calls each function in a thread that nothing waits for."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from pandium._daemon_executor import DaemonExecutor, look_up_in_daemon_threads


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


async def look_up(host: str) -> set[object]:
    loop = asyncio.get_running_loop()
    look_up_in_daemon_threads(loop)
    found = await loop.getaddrinfo(host, 80, type=socket.SOCK_STREAM)
    return {address[0] for *_, address in found}


def test_names_are_looked_up_even_if_no_thread_can_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A lookup without a thread of its own has the same result."""
    expected = asyncio.run(look_up("localhost"))

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    assert asyncio.run(look_up("localhost")) == expected != set()

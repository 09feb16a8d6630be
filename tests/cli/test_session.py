"""Logging and Ctrl-C while a command uses a client."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

from pandium._cli import session
from pandium._cli.app import run
from support import KEY
from support.cli import Terminal
from support.posix import FULL, small_pipe

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from pytest_httpx import HTTPXMock

    from pandium.emulator import Emulator


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANDIUM_API_KEY", KEY)


@pytest.mark.parametrize(
    ("options", "errors", "words"),
    [
        ([], io.StringIO, ["error"]),
        ([], Terminal, ["retrying", "error"]),
        (["--debug"], io.StringIO, ["attempt 1,", "retrying", "attempt 2,", "error"]),
    ],
)
def test_the_log_depends_on_the_terminal_and_on_debug(
    options: list[str],
    errors: type[io.StringIO],
    words: list[str],
    httpx_mock: HTTPXMock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pipe gets only errors, a terminal also gets retries, and `--debug` shows everything."""
    httpx_mock.add_response(status_code=503, json={"message": "x"}, headers={"Retry-After": "0"})
    httpx_mock.add_response(status_code=404, json={"message": f"no {KEY}"})
    stream = errors()
    monkeypatch.setattr(sys, "stderr", stream)
    assert run(["tenants", "list", "--attempts", "2", *options]) == 4
    text = stream.getvalue()
    assert len(text.splitlines()) == len(words)
    assert all(word in line for word, line in zip(words, text.splitlines(), strict=True))
    assert all(line.startswith("pandium-api: ") for line in text.splitlines())
    assert KEY not in text
    assert logging.getLogger("pandium").handlers == []


def test_a_second_ctrl_c_does_not_interrupt_the_shutdown(
    httpx_mock: HTTPXMock, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second Ctrl-C soon after the first one is ignored, so that cleanup can complete."""
    events = []

    async def respond(_: httpx.Request) -> httpx.Response:
        signal.raise_signal(signal.SIGINT)
        try:
            await anyio.sleep_forever()
        finally:
            signal.raise_signal(signal.SIGINT)
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            events.append("cleaned up")
        raise AssertionError

    httpx_mock.add_callback(respond)
    with pytest.raises(KeyboardInterrupt):
        run(["tenants", "sync", "6"])
    assert events == ["cleaned up"]
    assert capsys.readouterr().err == (
        "pandium-api: interrupted\npandium-api: these tenants may or may not have been synced: 6\n"
    )


def test_an_ignored_sigint_stays_ignored(httpx_mock: HTTPXMock) -> None:
    """If a shell ignores SIGINT for a background job, the command also ignores it."""
    httpx_mock.add_response(json={"trigger_id": "17"})
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert run(["tenants", "sync", "6"]) == 0
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, previous)


def test_an_outage_does_not_flood_a_terminal(
    httpx_mock: HTTPXMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal, similar warnings about retries are printed once, and the others counted."""
    httpx_mock.add_response(status_code=503, headers={"Retry-After": "0"}, is_reusable=True)
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    assert run(["tenants", "list", "--attempts", "4"]) == 4
    warning, error = stream.getvalue().splitlines()
    assert "retrying in" in warning
    assert error.startswith("pandium-api: error:")


def test_a_repeated_warning_states_how_many_were_omitted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """After half a minute, a similar warning is printed, with the number of omitted ones."""
    handler = session._NoteHandler(logging.WARNING)
    for seconds in (0, 1, 29, 31, 62):
        record = logging.LogRecord("pandium", logging.WARNING, "", 0, "late %d", (seconds,), None)
        record.created = 1000 + seconds
        handler.handle(record)
    assert capsys.readouterr().err.splitlines() == [
        "pandium-api: late 0",
        "pandium-api: late 31 (2 similar warnings omitted)",
        "pandium-api: late 62",
    ]


@contextmanager
def unread_messages(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Make standard error a pipe that is full, and yield the end from which to read."""
    with (
        small_pipe() as (reading, writing),
        os.fdopen(writing, "w", closefd=False) as stream,
        monkeypatch.context() as patch,
    ):
        os.write(writing, FULL)
        patch.setattr(sys, "stderr", stream)
        yield reading


def late_record(text: str) -> logging.LogRecord:
    return logging.LogRecord("pandium.waiting", logging.WARNING, "", 0, text, (), None)


@pytest.mark.posix
@pytest.mark.anyio
async def test_a_log_record_is_held_until_it_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record is printed once standard error is read, even if nothing is logged after it."""
    handler = session._NoteHandler(logging.WARNING)
    with unread_messages(monkeypatch) as reading:
        handler.handle(late_record("held"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(handler.keep_printing)
            assert os.read(reading, 65536) == FULL
            await anyio.wait_readable(reading)
            assert os.read(reading, 65536) == b"pandium-api: held\n"
            tasks.cancel_scope.cancel()


@pytest.mark.posix
def test_the_number_of_held_records_is_limited(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of more than 10,000 records that nobody reads, the earliest are omitted and counted."""
    handler = session._NoteHandler(logging.WARNING)
    with unread_messages(monkeypatch):
        for number in range(10_002):
            handler.handle(late_record(f"held {number}"))
    handler.flush()
    first, second, *others = capsys.readouterr().err.splitlines()
    assert first == "pandium-api: 2 earlier messages omitted"
    assert second == "pandium-api: held 2"
    assert len(others) == 9_999


@pytest.mark.posix
def test_records_that_are_held_at_the_end_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was logged while nobody read it is printed at the end, which may have to wait."""
    handler = session._NoteHandler(logging.WARNING)
    with unread_messages(monkeypatch) as reading:
        handler.handle(late_record("held"))
        ending = threading.Thread(target=handler.flush)
        ending.start()
        assert os.read(reading, 65536) == FULL
        ending.join()
        assert os.read(reading, 65536) == b"pandium-api: held\n"


@pytest.mark.usefixtures("api_environment")
@pytest.mark.parametrize(
    "line",
    [["tenants", "sync", "1", "2"], ["tenants", "sync", "1", "--wait"], ["runs", "wait", "1"]],
)
@pytest.mark.parametrize(
    "setting", [("HTTP_PROXY", "ftp://ann:hidden@proxy"), ("SSL_CERT_FILE", "missing.pem")]
)
def test_an_invalid_environment_ends_a_command_once(
    line: list[str],
    setting: tuple[str, str],
    emulator: Emulator,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A proxy or certificates that cannot be used are one error, before anything is sent."""
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv(*setting)
    assert run(line) == 3
    written = capsys.readouterr()
    assert written.out == ""
    [error] = written.err.splitlines()
    assert error.startswith("pandium-api: error: ")
    assert setting[0] in error
    assert "hidden" not in error
    assert len(emulator.requests) == 0

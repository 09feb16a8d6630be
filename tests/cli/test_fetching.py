"""Listings printed to standard output: limits, pipes, errors and interrupts."""

from __future__ import annotations

import getpass
import http.server
import io
import json
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pandium._cli.app import run
from support import KEY
from support.cli import DEADLINE, Terminal, api_variables, start_child

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_httpx import HTTPXMock

    from pandium.emulator import Emulator

TOTAL = 100_000


class LongListing(http.server.BaseHTTPRequestHandler):
    """A listing of 100,000 tenants that are created on demand."""

    protocol_version = "HTTP/1.1"
    requests = 0

    def do_GET(self) -> None:
        type(self).requests += 1
        query = parse_qs(urlsplit(self.path).query)
        skip, limit = int(query["skip"][0]), int(query["limit"][0])
        ids = range(skip, min(skip + limit, TOTAL))
        body = json.dumps([{"id": id_, "name": f"tenant-{id_}"} for id_ in ids]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serve_long_listing() -> Iterator[str]:
    LongListing.requests = 0
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), LongListing) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(DEADLINE)


@pytest.mark.parametrize("output_format", ["table", "jsonl"])
def test_a_listing_stops_when_the_reader_closes_the_pipe(output_format: str) -> None:
    """`head` gets its lines, few pages are fetched, and standard error remains empty."""
    with serve_long_listing() as url:
        line = ["tenants", "list", "--all", "-f", output_format]
        child = start_child(*line, environ=api_variables(url))
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(10)]
        child.stdout.close()
        assert child.wait(DEADLINE) == 141
        assert child.stderr is not None
        assert child.stderr.read() == ""
        child.stderr.close()
    assert all("tenant-" in line for line in lines[1:])
    assert LongListing.requests < 60


def test_a_long_listing_is_complete(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last 20,000 of 100,000 tenants are printed one per line, in order."""
    monkeypatch.setenv("PANDIUM_API_KEY", KEY)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serve_long_listing() as url:
        assert run(["tenants", "list", "--all", "--skip", "80000", "--base-url", url]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [int(line.split()[0]) for line in lines] == list(range(80_000, TOTAL))


def test_a_failed_listing_says_how_to_resume(
    httpx_mock: HTTPXMock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records before an error are printed, a JSON array remains open, and `--skip` is shown."""
    monkeypatch.setenv("PANDIUM_API_KEY", KEY)
    httpx_mock.add_response(json=[{"id": 1, "name": "a"}, {"id": 2, "name": "b"}])
    httpx_mock.add_response(status_code=400, json={"message": "no"}, is_reusable=True)
    line = ["tenants", "list", "--all", "--page-size", "2", "--prefetch", "1", "-f", "json"]
    assert run(line) == 4
    written = capsys.readouterr()
    assert written.out.count('"id"') == 2
    with pytest.raises(json.JSONDecodeError):
        json.loads(written.out)
    assert written.err.splitlines()[-1] == "pandium-api: to resume, use --skip 2"


def test_a_failed_search_does_not_suggest_an_option_that_it_lacks(
    httpx_mock: HTTPXMock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a search fails after some pages, nothing is said about `--skip`."""
    monkeypatch.setenv("PANDIUM_API_KEY", KEY)
    httpx_mock.add_response(json=[{"id": number, "name": "a"} for number in range(500)])
    httpx_mock.add_response(status_code=400, json={"message": "no"}, is_reusable=True)
    assert run(["tenants", "find", "--name", "b"]) == 4
    assert capsys.readouterr().err == ("pandium-api: error: GET /v2/tenants: 400 Bad Request: no\n")


@pytest.mark.usefixtures("api_environment")
def test_an_interrupted_listing_says_how_to_resume(
    emulator: Emulator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C, the message contains the number of records to skip."""
    for _ in range(6):
        emulator.add_tenant()

    class InterruptingFlush(io.StringIO):
        def flush(self) -> None:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(sys, "stdout", InterruptingFlush())
    with pytest.raises(KeyboardInterrupt):
        run(["tenants", "list", "--all", "--page-size", "2"])
    assert (
        capsys.readouterr().err
        == "pandium-api: interrupted\npandium-api: to resume, use --skip 2\n"
    )


def test_an_interrupt_before_the_first_request_needs_no_hint(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C at the prompt for the key prints nothing."""

    def prompt(_: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(getpass, "getpass", prompt)
    with pytest.raises(KeyboardInterrupt):
        run(["tenants", "list"])
    assert capsys.readouterr().err == ""

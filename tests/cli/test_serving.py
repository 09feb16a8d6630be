"""The process of `pandium-api mcp`, started by the official client or by hand."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from pandium._cli.app import run
from pandium._mcp.standard_input import read_lines
from support import KEY
from support.agents import start_agent
from support.cli import (
    DEADLINE,
    RUN_CHILD,
    api_variables,
    child_environment,
    run_child,
    run_on_terminal,
)
from support.servers import Behavior, Misbehaving, Wire, status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from anyio.streams.memory import MemoryObjectReceiveStream

    from pandium.emulator import Emulator

on_both_loops = pytest.mark.anyio


def message(method: str, number: int | None = None, **params: Any) -> str:
    """Write a line of the protocol."""
    call = {} if number is None else {"id": number}
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params, **call}) + "\n"


HELLO = message(
    "initialize",
    1,
    protocolVersion="2025-06-18",
    capabilities={},
    clientInfo={"name": "test", "version": "1"},
) + message("notifications/initialized")


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    """Return a list of processes that are killed after the test."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate(timeout=DEADLINE)


def start(
    *arguments: str, environ: Mapping[str, str], stdin: int = subprocess.PIPE
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN_CHILD, "mcp", *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=child_environment(environ),
    )


@pytest.fixture
def instructions_of(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Return a function that starts a server, says hello, and returns how it introduces itself."""

    def read_instructions(*arguments: str, **variables: str) -> str:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with tempfile.TemporaryFile("w+") as hello:  # a process per server would be slow
            hello.write(HELLO)
            hello.seek(0)
            monkeypatch.setattr(sys, "stdin", hello)
            assert run(["mcp", *arguments]) == 0
        out, errors = capfd.readouterr()
        assert errors == ""
        text: str = json.loads(out.splitlines()[0])["result"]["instructions"]
        return text

    return read_instructions


# The official client


@on_both_loops
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_an_agent_can_read_but_not_write(mode: str, emulator: Emulator) -> None:
    """By default, the server offers only reading tools, in each version of the protocol."""
    emulator.add_tenant("acme")
    async with start_agent(emulator.url, mode=mode) as agent:
        assert not {"sync_tenant", "create_build"} & set(await agent.tools())
        [tenant] = (await agent.call("list_tenants"))["tenants"]
        assert tenant["name"] == "acme"
        assert "tenant_id or name is required" in await agent.fail("find_tenant")
    assert {request.method for request in emulator.requests} == {"GET"}


@on_both_loops
async def test_an_agent_can_write_if_the_user_allows_it(emulator: Emulator) -> None:
    """With `--allow-writes`, an agent can sync a tenant and follow its run."""
    tenant = emulator.add_tenant("acme")
    async with start_agent(emulator.url, "--allow-writes") as agent:
        trigger = await agent.call("sync_tenant", tenant_id=tenant.id)
        ended = await agent.call("wait_for_run", trigger_id=trigger["trigger_id"])
    assert ended["outcome"] == "succeeded"
    emulator.assert_triggered_once(tenant.id)


@on_both_loops
async def test_a_canceled_call_leaves_nothing_running() -> None:
    """After an agent canceled a call, its request is closed, and the server serves other calls."""
    stalled = Behavior("stalled", Wire.until_gone)
    with Misbehaving(stalled, otherwise=status("404 Not Found")) as server:
        async with start_agent(server.url) as agent:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(agent.fail, "list_tenants")
                await server.until(lambda: server.seen == 1)
                tasks.cancel_scope.cancel()
            await server.until_idle()
            assert "404 Not Found" in await agent.fail("list_integrations")
        assert server.arrived == {("GET", "/v2/tenants"): 1, ("GET", "/v2/integrations"): 1}


@on_both_loops
async def test_a_service_that_is_down_is_one_sentence() -> None:
    """If the service cannot be reached, a call fails with the URL, and the server stays up."""
    with Misbehaving(is_listening=False) as server:
        async with start_agent(server.url, "--attempts", "1") as agent:
            for _ in range(2):
                assert server.url in await agent.fail("list_tenants")


# The process


def test_only_the_protocol_is_on_standard_output(emulator: Emulator) -> None:
    """Even with `--debug`, logs are on standard error, and the key is nowhere."""
    emulator.add_tenant(KEY.replace("a-key", "key"))
    calls = [
        message("tools/call", 2, name="list_tenants", arguments={}),
        message("tools/call", 3, name="get_run_log", arguments={"run_id": 9}),
        "no JSON\n",
    ]
    server = start("--debug", environ=api_variables(emulator.url))
    out, errors = server.communicate(HELLO + "".join(calls), timeout=DEADLINE)
    assert server.returncode == 0
    answers = {answer["id"]: answer for answer in map(json.loads, out.splitlines())}
    assert set(answers) >= {1}
    assert all(answer["jsonrpc"] == "2.0" for answer in answers.values())
    assert KEY not in out + errors


def test_the_log_is_on_standard_error(
    emulator: Emulator, processes: list[subprocess.Popen[str]]
) -> None:
    """With `--debug`, each request is logged to standard error."""
    server = start("--debug", environ=api_variables(emulator.url))
    processes.append(server)
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(HELLO + message("tools/call", 2, name="list_tenants", arguments={}))
    server.stdin.flush()
    assert [json.loads(server.stdout.readline())["id"] for _ in range(2)] == [1, 2]
    server.stdin.close()
    server.stdin = None
    _, errors = server.communicate(timeout=DEADLINE)
    assert "GET /v2/tenants" in errors
    assert KEY not in errors


def test_a_byte_order_mark_before_the_first_message_is_ignored(emulator: Emulator) -> None:
    """Some programs on Windows begin what they write to a pipe with a byte order mark."""
    server = start(environ=api_variables(emulator.url))
    output, _ = server.communicate("\ufeff" + HELLO, timeout=DEADLINE)
    assert [json.loads(line)["id"] for line in output.splitlines()] == [1]


def test_the_end_of_the_input_ends_the_server_and_its_calls() -> None:
    """A server whose agent is gone ends at once, along with the call in progress."""
    with Misbehaving(otherwise=Behavior("stalled", Wire.until_gone)) as service:
        server = start(environ=api_variables(service.url))
        call = message("tools/call", 2, name="list_tenants", arguments={})
        server.communicate(HELLO + call, timeout=DEADLINE)
        anyio.run(service.until_idle)
    assert server.returncode == 0


@pytest.mark.posix
def test_a_non_blocking_input_is_not_its_end(
    emulator: Emulator, processes: list[subprocess.Popen[str]]
) -> None:
    """If the agent has made standard input non-blocking, the server waits for its messages."""
    source, target = os.pipe()
    os.set_blocking(source, False)
    server = start(environ=api_variables(emulator.url), stdin=source)
    processes.append(server)
    os.close(source)
    assert server.stdout is not None
    with os.fdopen(target, "w", encoding="utf-8") as agent:
        for number in range(1, 4):
            agent.write(HELLO if number == 1 else message("ping", number))
            agent.flush()
            assert json.loads(server.stdout.readline())["id"] == number
    assert server.wait(DEADLINE) == 0
    assert server.stderr is not None
    assert server.stderr.read() == ""


@pytest.mark.posix
def test_a_message_without_end_ends_the_server(emulator: Emulator) -> None:
    """A line that is too long ends the server with a message, before it fills the memory."""
    with Path("/dev/zero").open() as endless:
        server = start(environ=api_variables(emulator.url), stdin=endless.fileno())
        output, errors = server.communicate(timeout=DEADLINE)
    assert (server.returncode, output) == (0, "")
    assert errors == "pandium-api: a message is longer than 16777215 characters\n"


@pytest.mark.posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_while_it_waits_for_input(
    number: signal.Signals, emulator: Emulator, processes: list[subprocess.Popen[str]]
) -> None:
    """Ctrl-C and SIGTERM end the server even though its standard input is still open."""
    server = start(environ=api_variables(emulator.url))
    processes.append(server)
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(HELLO)
    server.stdin.flush()
    assert server.stdout.readline()
    server.send_signal(number)
    assert server.wait(DEADLINE) == 128 + number


@pytest.mark.posix
def test_the_server_ends_if_its_input_is_lost(
    emulator: Emulator, processes: list[subprocess.Popen[str]]
) -> None:
    """An error while reading standard input, such as a connection that is reset, is its end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    with ours:
        with theirs:
            server = start(environ=api_variables(emulator.url), stdin=theirs.fileno())
        processes.append(server)
        ours.sendall(HELLO.encode())
        assert server.stdout is not None
        assert server.stdout.readline()
        # With this option, closing resets the connection.
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert server.wait(DEADLINE) == 0
    assert server.stderr is not None
    assert server.stderr.read() == ""


class UnreadableInput:
    """A standard input whose use fails for a reason that is no `OSError`."""

    def fileno(self) -> int:
        raise MemoryError


@on_both_loops
async def test_the_input_ends_if_its_thread_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends the thread that reads standard input, the stream of lines ends, too."""
    has_ended = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: has_ended.set())
    monkeypatch.setattr(sys, "stdin", UnreadableInput())
    with anyio.fail_after(DEADLINE):
        async with read_lines() as lines:
            assert [line async for line in lines] == []
        await anyio.to_thread.run_sync(has_ended.wait)


@on_both_loops
async def test_the_thread_ends_silently_with_the_event_loop(
    monkeypatch: pytest.MonkeyPatch, anyio_backend_name: str
) -> None:
    """If the event loop ends while a line waits to be received, nothing is printed."""
    errors: list[object] = []
    monkeypatch.setattr(threading, "excepthook", errors.append)
    source, target = os.pipe()
    os.write(target, b"line\n")
    opened: list[MemoryObjectReceiveStream[str]] = []

    async def leave_open() -> None:
        lines = read_lines()
        opened.append(lines)
        while not lines.statistics().tasks_waiting_send:
            await anyio.lowlevel.checkpoint()

    with os.fdopen(source, encoding="utf-8") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        before = set(threading.enumerate())
        await anyio.to_thread.run_sync(lambda: anyio.run(leave_open, backend=anyio_backend_name))
        for thread in set(threading.enumerate()) - before:
            if not thread.name.startswith(("AnyIO", "Trio")):
                await anyio.to_thread.run_sync(thread.join, DEADLINE)
    os.close(target)
    opened[0].close()
    assert errors == []


# Configuration


def test_a_missing_key_is_an_error_at_the_start() -> None:
    """Without a key, the server ends with code 3 before it serves anything."""
    done = run_child("mcp")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        "pandium-api: error: no API key: set PANDIUM_API_KEY or specify a file with --key-file\n"
    )


def test_a_python_without_docstrings_is_an_error_at_the_start() -> None:
    """The docstrings describe the tools, so the server does not start if Python removes them."""
    done = run_child("mcp", environ={"PANDIUM_API_KEY": KEY, "PYTHONOPTIMIZE": "2"})
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.endswith("tools have no descriptions: unset PYTHONOPTIMIZE\n")


@pytest.mark.posix
def test_there_is_no_prompt_for_the_key() -> None:
    """On a terminal, a missing key is an error too, because the input is for the protocol."""
    code, screen = run_on_terminal("mcp")
    assert code == 3
    assert "no API key" in screen.text


@pytest.mark.parametrize(
    ("arguments", "variables", "host"),
    [
        ([], {}, "https://api.sandbox.pandium.com"),
        ([], {"PANDIUM_ENV": " \n"}, "https://api.sandbox.pandium.com"),
        ([], {"PANDIUM_ENV": "production"}, "https://api.pandium.io"),
        ([], {"PANDIUM_BASE_URL": "https://eu.example"}, "https://eu.example"),
        (["--environment", "production"], {}, "https://api.pandium.io"),
        (
            ["--environment", "sandbox"],
            {"PANDIUM_ENV": "production"},
            "https://api.sandbox.pandium.com",
        ),
        (["--base-url", "https://eu.example"], {}, "https://eu.example"),
    ],
)
def test_the_sandbox_is_the_default(
    arguments: list[str],
    variables: dict[str, str],
    host: str,
    instructions_of: Callable[..., str],
) -> None:
    """The tools use the sandbox unless an option or a variable selects another API."""
    text = instructions_of(*arguments, PANDIUM_API_KEY=KEY, **variables)
    assert f"These tools use the API at {host}. " in text


@pytest.mark.posix
def test_a_profile_can_select_the_api(
    config_folder: Path, tmp_path: Path, instructions_of: Callable[..., str]
) -> None:
    """A profile selects the API and the key of the tools, so that an agent needs one argument."""
    key_file = tmp_path / "key"
    key_file.write_text(KEY)
    key_file.chmod(0o400)
    config = config_folder / "pandium-api" / "config.toml"
    config.parent.mkdir()
    config.write_text(f'[profiles.live]\nenvironment = "production"\nkey_file = "{key_file}"\n')
    text = instructions_of("--profile", "live")
    assert "These tools use the API at https://api.pandium.io. " in text

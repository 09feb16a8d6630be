"""Whatever ends a command, it ends in good order, and every trigger that was sent is named."""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from pandium._cli.app import run
from pandium._cli.signals import Interruption, SignalHandler
from pandium.emulator.network.faults import Latency, RateLimit, Reset, Stall, Status
from support.cli import (
    DEADLINE,
    FAST_POLLING,
    RUN_CHILD,
    RUN_ON_TERMINAL,
    add_tenants,
    api_variables,
    child_environment,
    limit_file_size,
    sent_posts,
)
from support.posix import ENDING_SIGNALS, FULL, IS_POSIX, small_pipe
from support.servers import Misbehaving, status
from support.waiting import is_asleep, wait_until

if IS_POSIX:
    import pty

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pandium.emulator import Emulator

pytestmark = pytest.mark.usefixtures("signals_end_children")

FORMS = ["", "--wait", "--wait --journal"]


def sync_line(form: str, folder: Path, ids: list[str]) -> list[str]:
    """Return the command line of a sync with or without a wait and a journal."""
    options = ["--wait", *FAST_POLLING] if "--wait" in form else []
    journal = ["--journal", str(folder / "sync.db")] if "--journal" in form else []
    return ["tenants", "sync", *ids, "--max-concurrency", "20", *options, *journal, "-f", "jsonl"]


def start(
    line: list[str], environ: dict[str, str], program: str = RUN_CHILD, **options: Any
) -> subprocess.Popen[str]:
    """Start a child, by default with its standard error in a pipe."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *line],
        stdin=subprocess.DEVNULL,
        encoding="utf-8",
        env=child_environment(environ),
        **{"stderr": subprocess.PIPE, **options},
    )


def named_triggers(errors: str) -> set[str]:
    """Return the triggers that the hints on standard error name."""
    found = re.findall(r"(?:runs wait|triggers that were sent:) ([\d ]+)$", errors, re.MULTILINE)
    return {trigger for text in found for trigger in text.split()}


def unknown_tenants(errors: str) -> set[str]:
    """Return the tenants that, according to standard error, may or may not have been synced."""
    found = re.findall(r"may or may not have been synced: ([\d ]+)$", errors, re.MULTILINE)
    return {tenant for text in found for tenant in text.split()}


# Signals


ENDS = [
    *((number, "waiting", "--wait") for number in ENDING_SIGNALS),
    (signal.SIGTERM, "waiting", "--wait --journal"),
    *((signal.SIGTERM, "sending", form) for form in FORMS),
]


@pytest.mark.posix
@pytest.mark.parametrize(("number", "instant", "form"), ENDS)
def test_every_signal_ends_a_sync_alike(
    number: signal.Signals, instant: str, form: str, emulator: Emulator, tmp_path: Path
) -> None:
    """SIGINT, SIGTERM and SIGHUP end a sync with 128 + N and name all triggers that were sent."""
    ids = add_tenants(emulator, *["Succeeded"] * 3, seconds=1000)
    is_sending = instant == "sending"
    # The response for the last tenant never arrives, or there is no such fault.
    rule = emulator.faults.add("tenants.sync", Stall(), tenant=3 if is_sending else 99)
    triggered = 2 if is_sending else 3
    with (tmp_path / "out").open("wb") as out:
        child = start(sync_line(form, tmp_path, ids), api_variables(emulator.url), stdout=out)
        wait_until(lambda: rule.hits or not is_sending)
        wait_for_triggers(triggered, form, emulator, tmp_path / "out")
        child.send_signal(number)
        _, errors = child.communicate(timeout=DEADLINE)
    assert child.returncode == 128 + number
    assert "Traceback" not in errors
    assert named_triggers(errors) == ({"1", "2"} if is_sending else {"1", "2", "3"})
    assert ("--journal" in errors) is ("--journal" in form)
    if is_sending and "--journal" not in form:
        assert unknown_tenants(errors) == {"3"}
    title = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
    assert errors.startswith(f"pandium-api: {title}\n")


# Output that is not read


@pytest.fixture
def full_pipe() -> Iterator[tuple[int, int]]:
    """Return the ends of a pipe for little output, as of a pager that has stopped reading."""
    with small_pipe() as ends:
        yield ends


@pytest.mark.posix
def test_requests_continue_while_the_output_is_not_read(
    emulator: Emulator, full_pipe: tuple[int, int], tmp_path: Path
) -> None:
    """A pager that stops reading does not stop a bulk sync, and each result is printed later."""
    reading, writing = full_pipe
    ids = add_tenants(emulator, *["Succeeded"] * 200, seconds=0)
    child = start(sync_line("--wait", tmp_path, ids), api_variables(emulator.url), stdout=writing)
    wait_until(lambda: len(polled(emulator)) == 200)
    rows = b""
    while rows.count(b"\n") < 200:
        rows += os.read(reading, 65536)
    _, errors = child.communicate(timeout=DEADLINE)
    assert (child.returncode, errors) == (0, "pandium-api: 200 succeeded\n")
    assert {json.loads(row)["outcome"] for row in rows.splitlines()} == {"succeeded"}


@pytest.mark.posix
@pytest.mark.parametrize("form", ["", "--wait"])
def test_one_signal_ends_a_command_whose_output_is_not_read(
    form: str, emulator: Emulator, full_pipe: tuple[int, int], tmp_path: Path
) -> None:
    """The command does not wait for the reader of its output, and names all that it has sent."""
    reading, writing = full_pipe
    ids = add_tenants(emulator, *["Succeeded"] * 500, seconds=0)
    child = start(sync_line(form, tmp_path, ids), api_variables(emulator.url), stdout=writing)
    wait_until(lambda: not select.select([], [writing], [], 0)[1])
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate(timeout=DEADLINE)
    assert child.returncode == 128 + signal.SIGTERM
    printed = {str(json.loads(row)["trigger_id"]) for row in os.read(reading, 65536).splitlines()}
    assert printed
    named = len(printed | named_triggers(errors)) + len(unknown_tenants(errors))
    assert named >= len(sent_posts(emulator))


@pytest.mark.posix
def test_a_signal_loses_no_outcome_that_waits_for_the_reader(
    emulator: Emulator, full_pipe: tuple[int, int], tmp_path: Path
) -> None:
    """If a tenant's outcome is unknown, it is named, although its row was never printed."""
    _, writing = full_pipe
    os.write(writing, FULL)
    ids = add_tenants(emulator, *["Succeeded"] * 2, seconds=1000)
    emulator.faults.add("tenants.sync", Reset(after_work=True), tenant=1)
    line = [*sync_line("--wait", tmp_path, ids), "--max-concurrency", "1"]
    child = start(line, api_variables(emulator.url), stdout=writing)
    wait_until(lambda: len(polled(emulator)) == 1)  # of the second tenant
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate(timeout=DEADLINE)
    assert child.returncode == 128 + signal.SIGTERM
    assert re.search("tenant 1: unknown|may or may not have been synced: 1$", errors, re.MULTILINE)


@pytest.mark.posix
@pytest.mark.parametrize("form", ["", "--wait"])
def test_an_error_does_not_wait_for_the_reader_of_the_output(
    form: str, emulator: Emulator, full_pipe: tuple[int, int], tmp_path: Path
) -> None:
    """While the output is not read, errors are printed, and their tenants are not unknown."""
    _, writing = full_pipe
    os.write(writing, FULL)
    ids = add_tenants(emulator, *["Succeeded"] * 2, seconds=0)
    emulator.faults.add("tenants.sync", Status(400), tenant=2)
    child = start(sync_line(form, tmp_path, ids), api_variables(emulator.url), stdout=writing)
    assert child.stderr is not None
    assert child.stderr.readline().startswith("pandium-api: tenant 2: ")
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate(timeout=DEADLINE)
    assert unknown_tenants(errors) == set()
    assert "tenant 2" not in errors


@pytest.mark.posix
@pytest.mark.parametrize("form", ["", "--wait", "--wait --debug"])
def test_requests_continue_while_messages_are_not_read(
    form: str, emulator: Emulator, full_pipe: tuple[int, int], tmp_path: Path
) -> None:
    """A pager that reads errors and log records, too, does not stop the event loop."""
    reading, writing = full_pipe
    os.write(writing, FULL)
    ids = add_tenants(emulator, *["Succeeded"] * 2, seconds=0)
    emulator.faults.add("tenants.sync", Status(400), tenant=1)
    # The second tenant is rejected after the first and sent again, unless the loop is blocked.
    emulator.faults.add("tenants.sync", Latency(0.2), tenant=2, times=1)
    emulator.faults.add("tenants.sync", RateLimit(0), tenant=2, times=1)
    line = [*sync_line(form, tmp_path, ids), *form.split()[1:]]
    child = start(line, api_variables(emulator.url), stdout=writing, stderr=writing)
    wait_until(lambda: len(sent_posts(emulator)) == 3)
    output = b""
    while child.poll() is None or select.select([reading], [], [], 0)[0]:
        if select.select([reading], [], [], 0.05)[0]:
            output += os.read(reading, 65536)
    lines = output.decode().lstrip("x").splitlines()
    assert child.returncode == 1
    assert sum('"trigger_id":' in one for one in lines) == (2 if form else 1)
    assert sum(one.startswith("pandium-api: tenant 1: ") for one in lines) == 1
    assert any("attempt 1" in one for one in lines) == ("--debug" in form)


def polled(emulator: Emulator) -> set[str]:
    """Return the paths that have been polled."""
    return {request.path for request in emulator.requests if request.method == "GET"}


def wait_for_triggers(number: int, form: str, emulator: Emulator, out: Path) -> None:
    """Wait until the command has received a number of triggers."""
    if form:  # it prints no row before a run ends, but polls each trigger
        wait_until(lambda: len(polled(emulator)) == number)
    else:
        wait_until(lambda: out.read_bytes().count(b"\n") == number)


@pytest.mark.posix
def test_a_journal_resumes_a_sync_that_a_signal_ended(emulator: Emulator, tmp_path: Path) -> None:
    """The same command waits for the runs in progress and sends nothing twice."""
    ids = add_tenants(emulator, "Succeeded", "Succeeded", seconds=2)
    line = sync_line("--wait --journal", tmp_path, ids)
    child = start(line, api_variables(emulator.url), stdout=subprocess.DEVNULL)
    wait_until(lambda: len(polled(emulator)) == 2)
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=DEADLINE)
    resumed = start(line, api_variables(emulator.url), stdout=subprocess.PIPE)
    out, _ = resumed.communicate(timeout=DEADLINE)
    assert (resumed.returncode, out.count('"succeeded"')) == (0, 2)
    assert len(sent_posts(emulator)) == 2


@pytest.mark.posix
@pytest.mark.parametrize("form", FORMS)
def test_many_signals_end_a_command_once(form: str, emulator: Emulator, tmp_path: Path) -> None:
    """After the first signal, others of any kind do not interrupt the shutdown."""
    ids = add_tenants(emulator, *["Succeeded"] * 3, seconds=1000)
    rule = emulator.faults.add("tenants.sync", Stall(), tenant=3)
    with (tmp_path / "out").open("wb") as out:
        child = start(sync_line(form, tmp_path, ids), api_variables(emulator.url), stdout=out)
        wait_until(lambda: rule.hits)
        wait_for_triggers(2, form, emulator, tmp_path / "out")
        while child.poll() is None:
            for number in ENDING_SIGNALS:
                child.send_signal(number)
        _, errors = child.communicate(timeout=DEADLINE)
    # Python handles signals that arrive together in the order of their numbers.
    assert child.returncode in {129, 130, 143}
    assert "Traceback" not in errors
    assert len(re.findall("interrupted|ended by", errors)) == 1
    assert named_triggers(errors) == {"1", "2"}


@pytest.mark.posix
@pytest.mark.parametrize("options", [[], ["--debug"]])
@pytest.mark.parametrize("reads_messages", [True, False])
def test_a_later_signal_ends_a_command_whose_output_is_blocked(
    emulator: Emulator, options: list[str], *, reads_messages: bool
) -> None:
    """If nobody reads the output or the messages, repeated signals end a command."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with pytest.raises(BlockingIOError):  # fill the pipe
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    errors_to = subprocess.PIPE if reads_messages else writing
    line, environ = ["integrations", "list", *options], api_variables(emulator.url)
    child = start(line, environ, stdout=writing, stderr=errors_to)
    os.close(writing)
    wait_until(lambda: polled(emulator))

    def has_ended() -> bool:
        child.send_signal(signal.SIGTERM)
        return child.poll() is not None

    wait_until(has_ended)
    _, errors = child.communicate(timeout=DEADLINE)
    os.close(reading)
    assert child.returncode == 143
    assert "Traceback" not in (errors or "")


LOOKUPS_HANG = """
import socket, sys, threading

def getaddrinfo(*args, **kwargs):
    print("lookup", flush=True)
    threading.Event().wait()

socket.getaddrinfo = getaddrinfo
"""


@pytest.mark.posix
def test_a_name_lookup_that_hangs_does_not_delay_the_end() -> None:
    """If no name server responds, a signal still ends a wait, which names its triggers."""
    line = ["runs", "wait", "71", "72"]
    environ = api_variables("https://api.example")
    child = start(line, environ, LOOKUPS_HANG + RUN_CHILD, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == "lookup\n"
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate(timeout=DEADLINE)
    assert child.returncode == 143
    assert errors.startswith("pandium-api: ended by SIGTERM\n")
    assert named_triggers(errors) == {"71", "72"}


@pytest.mark.posix
def test_a_signal_that_is_ignored_stays_ignored(emulator: Emulator, tmp_path: Path) -> None:
    """A command that was started with `nohup` survives SIGHUP."""
    ids = add_tenants(emulator, "Succeeded", seconds=0.5)
    program = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); {RUN_CHILD}"
    line = sync_line("--wait", tmp_path, ids)
    child = start(line, api_variables(emulator.url), program, stdout=subprocess.DEVNULL)
    wait_until(lambda: polled(emulator))
    child.send_signal(signal.SIGHUP)
    child.communicate(timeout=DEADLINE)
    assert child.returncode == 0


@pytest.mark.posix
def test_a_closed_terminal_ends_a_wait(emulator: Emulator, tmp_path: Path) -> None:
    """If the terminal is closed while a bar is drawn, the exit code is that of SIGHUP."""
    ids = add_tenants(emulator, "Succeeded", seconds=1000)
    outer, inner = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", RUN_ON_TERMINAL, *sync_line("--wait", tmp_path, ids)],
        stdin=inner,
        stdout=inner,
        stderr=inner,
        env=child_environment(api_variables(emulator.url)),
    )
    os.close(inner)
    wait_until(lambda: polled(emulator))
    os.close(outer)
    assert child.wait(DEADLINE) == 129


@pytest.mark.posix
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_signal_does_not_cut_off_what_is_being_printed(
    unbuffered: str, emulator: Emulator
) -> None:
    """A second signal during a long hint does not shorten it, even without buffers."""
    triggers = [f"{number:0100}" for number in range(1000)]  # more than a pipe holds
    environ = {**api_variables(emulator.url), "PYTHONUNBUFFERED": unbuffered}
    child = start(["runs", "wait", *triggers], environ, stdout=subprocess.DEVNULL)
    wait_until(lambda: polled(emulator))
    child.send_signal(signal.SIGTERM)
    assert child.stderr is not None
    readable = select.select([child.stderr], [], [], DEADLINE)[0]
    assert readable
    wait_until(lambda: is_asleep(child.pid))
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate(timeout=DEADLINE)
    assert child.returncode == 143
    assert named_triggers(errors) == set(triggers)


@pytest.mark.posix
def test_a_signal_at_the_prompt_is_not_a_traceback(emulator: Emulator) -> None:
    """SIGTERM at the prompt for the key ends the command with 143 and restores the echo."""
    outer, inner = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", RUN_ON_TERMINAL, "tenants", "list"],
        stdin=inner,
        stdout=inner,
        stderr=inner,
        env=child_environment({"PANDIUM_BASE_URL": emulator.url}),
    )
    written = b""
    while b"key:" not in written:
        written += os.read(outer, 1024)
    # Python handles a signal that arrives just before a blocking call only after that call.
    wait_until(lambda: is_asleep(child.pid))
    child.send_signal(signal.SIGTERM)
    assert child.wait(DEADLINE) == 143
    written += os.read(outer, 1024)
    os.write(outer, b"visible")
    assert b"visible" in os.read(outer, 1024)
    assert b"Traceback" not in written
    os.close(inner)
    os.close(outer)


@pytest.mark.posix
def test_a_write_that_a_signal_ends_may_have_been_executed(emulator: Emulator) -> None:
    """A signal during a request that changes something is reported as an unknown outcome."""
    rule = emulator.faults.add("tenants.create", Stall())
    line = ["tenants", "create", "1", "acme"]
    child = start(line, api_variables(emulator.url), stdout=subprocess.DEVNULL)
    wait_until(lambda: rule.hits)
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate(timeout=DEADLINE)
    assert child.returncode == 143
    assert errors.splitlines() == [
        "pandium-api: ended by SIGTERM",
        "pandium-api: the request may have been executed",
    ]


# Output


@contextmanager
def closed_pipe() -> Iterator[int]:
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@contextmanager
def full_device() -> Iterator[int]:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


@contextmanager
def limited_file() -> Iterator[int]:
    descriptor = os.memfd_create("out")
    yield descriptor
    os.close(descriptor)


OUTPUTS: dict[str, tuple[Any, int, Callable[[], None] | None]] = {
    "closed pipe": (closed_pipe, 141, None),
    "full device": (full_device, 74, None),
    "file size limit": (limited_file, 74, limit_file_size(0)),
}


@pytest.mark.posix
@pytest.mark.parametrize("form", ["", "--wait"])
@pytest.mark.parametrize("output", OUTPUTS)
def test_output_that_cannot_be_written_names_every_trigger(
    output: str,
    form: str,
    emulator: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If a row cannot be written, all triggers that were sent are named, and no more are sent."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # its data cannot be written
    ids = add_tenants(emulator, *["Succeeded"] * 40)
    open_output, code, prepare = OUTPUTS[output]
    line = sync_line(form, tmp_path, ids)
    with open_output() as out:
        child = start(line, api_variables(emulator.url), stdout=out, preexec_fn=prepare)
        _, errors = child.communicate(timeout=DEADLINE)
    sent = len(sent_posts(emulator))
    assert child.returncode == code
    assert "Traceback" not in errors
    assert len(named_triggers(errors)) == sent < 40
    assert unknown_tenants(errors) == set()
    assert "these tenants were not synced" in errors


@pytest.mark.posix
def test_triggers_of_a_finished_journal_are_not_named(emulator: Emulator, tmp_path: Path) -> None:
    """If a row cannot be written, only triggers that this command sent are named as sent."""
    line = sync_line("--wait", tmp_path, add_tenants(emulator, "Succeeded", "Succeeded"))
    line += ["--journal", str(tmp_path / "sync.db")]
    first = start(line, api_variables(emulator.url))
    first.communicate(timeout=DEADLINE)
    with closed_pipe() as out:
        child = start(line, api_variables(emulator.url), stdout=out)
        _, errors = child.communicate(timeout=DEADLINE)
    assert (first.returncode, child.returncode) == (0, 141)
    assert "to resume, run the same command again with --journal" in errors
    assert not named_triggers(errors)


@pytest.mark.posix
@pytest.mark.parametrize("output", ["closed pipe", "full device"])
def test_the_response_of_a_write_is_not_lost(output: str, emulator: Emulator) -> None:
    """If the response to a request that changed something cannot be written, a message has it."""
    emulator.add_tenant("acme", user_name="ann")
    open_output, code, _ = OUTPUTS[output]
    lines = {
        "integrations sync 1 --user-name ann": ['"trigger_id":"1"', "runs wait 1"],
        "tenants create 1 new": ['"name":"new"'],
        "request POST /v2/tenants/1/sync --param mode=init": ['"trigger_id": "2"'],
    }
    for line, expected in lines.items():
        with open_output() as out:
            child = start(line.split(), api_variables(emulator.url), stdout=out)
            _, errors = child.communicate(timeout=DEADLINE)
        assert child.returncode == code
        assert all(text in errors for text in ["the request was executed", *expected])


@pytest.mark.posix
def test_an_empty_response_of_a_write_is_not_lost() -> None:
    """If the output cannot be written, a message says that the request was executed."""
    with Misbehaving(status("204 No Content")) as server, full_device() as out:
        child = start(
            ["connectors", "disconnect", "1", "crm"], api_variables(server.url), stdout=out
        )
        _, errors = child.communicate(timeout=DEADLINE)
    assert child.returncode == 74
    assert "the request was executed; the response is empty" in errors


@pytest.mark.posix
@pytest.mark.parametrize("line", ["integrations get 1", "request GET /v2/tenants"])
def test_the_response_of_a_read_is_not_repeated(line: str, emulator: Emulator) -> None:
    """If the response to a GET cannot be written, there is one message, or none for a pipe."""
    for output, lines in (("closed pipe", 0), ("full device", 1)):
        open_output, code, _ = OUTPUTS[output]
        with open_output() as out:
            child = start(line.split(), api_variables(emulator.url), stdout=out)
            _, errors = child.communicate(timeout=DEADLINE)
        assert (child.returncode, len(errors.splitlines())) == (code, lines)


@pytest.mark.posix
def test_a_file_does_not_take_the_place_of_a_closed_stream() -> None:
    """If standard streams are closed, files that are opened later get other descriptors."""
    program = "import os; from pandium._cli import main; main(); os._exit(os.dup(0))"
    command = ["bash", "-c", '"$0" -c "$1" --version 0<&- 2>&-', sys.executable, program]
    done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, timeout=DEADLINE)
    assert done.returncode == 3


# The handler


def test_handlers_are_restored_unless_a_signal_was_received() -> None:
    """After the block, signals are handled as before. After a signal, they remain ignored."""
    before = signal.getsignal(signal.SIGTERM)
    with SignalHandler():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(Interruption) as caught, SignalHandler():
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.number == signal.SIGTERM
    signal.raise_signal(signal.SIGINT)


def test_a_signal_wins_over_an_error_during_the_shutdown() -> None:
    """Whatever a function raises after a signal, the signal is reported."""

    async def fail() -> None:
        signal.raise_signal(signal.SIGTERM)
        try:
            await anyio.sleep_forever()
        finally:
            raise OSError("during the shutdown")

    with pytest.raises(Interruption), SignalHandler() as handler:
        handler.run(fail)


def test_a_signal_wins_over_a_result() -> None:
    """A function that returns in spite of a signal does not hide it."""

    async def succeed() -> int:
        signal.raise_signal(signal.SIGTERM)
        return 0

    with pytest.raises(Interruption), SignalHandler() as handler:
        handler.run(succeed)


def test_an_error_of_the_event_loop_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """An error that no task can raise is logged, unless a signal is ending the command."""

    async def report(message: str) -> None:
        asyncio.get_running_loop().call_exception_handler({"message": message})

    async def report_after_signal() -> None:
        signal.raise_signal(signal.SIGTERM)
        await report("during the shutdown")

    with SignalHandler() as handler:
        handler.run(report, "a lost error")
    with pytest.raises(Interruption), SignalHandler() as handler:
        handler.run(report_after_signal)
    assert caplog.messages == ["a lost error"]


def test_exception_groups_are_unwrapped() -> None:
    """The first error of a group is raised, so that it is reported on one line."""

    async def fail() -> None:
        raise ExceptionGroup("", [ExceptionGroup("", [OSError("first")]), ValueError("second")])

    with pytest.raises(OSError, match="first"), SignalHandler() as handler:
        handler.run(fail)


@pytest.mark.usefixtures("api_environment")
def test_a_usage_error_has_no_hints(capsys: pytest.CaptureFixture[str]) -> None:
    """An error before anything is sent does not explain how to resume."""
    assert run(["runs", "wait", ""]) == 2
    assert "to resume" not in capsys.readouterr().err

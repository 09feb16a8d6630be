"""A process that uses the synchronous client ends, forks and is interrupted in good order."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pandium.emulator import Reset
from support import KEY
from support.servers import Misbehaving, stall_before_the_answer

if TYPE_CHECKING:
    from pandium.emulator import Emulator

SCRIPT = Path(__file__).parents[1] / "support" / "sync_process.py"
TIMEOUT = 60.0
UNCLOSED = re.compile(
    r".*: ResourceWarning: unclosed Pandium, created at \S*sync_process\.py:\d+\n"
    r"ResourceWarning: Enable tracemalloc to get the object allocation traceback\n"
)


def start(url: str, name: str, *options: str) -> subprocess.Popen[str]:
    # Python 3.12 warns about each fork of a process with threads.
    warnings = ("-W", "always::ResourceWarning", "-W", "ignore::DeprecationWarning")
    return subprocess.Popen(
        [sys.executable, *warnings, *options, str(SCRIPT), url, name],
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(url: str, name: str, *options: str) -> tuple[list[str], str, int]:
    """Run a function of the script and return its lines, its error output and its exit code."""
    with start(url, name, *options) as process:
        try:
            out, err = process.communicate(timeout=TIMEOUT)
        finally:
            process.kill()
    return out.splitlines(), err, process.returncode


@pytest.fixture
def url(emulator: Emulator) -> str:
    for _ in range(20):
        emulator.add_tenant()
    emulator.runs.script(appears_after=1000, phases=[("Succeeded", 0)])
    return emulator.url


@pytest.mark.parametrize(
    ("name", "lines", "code"),
    [
        ("exit_closed", ["True"], 0),
        ("exit_unused", [], 0),
        ("exit_in_blocks", ["0"], 3),
    ],
)
def test_a_process_ends_quietly(url: str, name: str, lines: list[str], code: int) -> None:
    """If its client was closed or never used, a process ends without a warning."""
    assert run(url, name) == (lines, "", code)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("exit_unclosed", ["True"]),
        ("exit_while_iterating", ["1"]),
        ("exit_while_a_thread_calls", ["started"]),
    ],
)
def test_an_unclosed_client_only_warns(url: str, name: str, lines: list[str]) -> None:
    """If a client was not closed, the process ends with a ResourceWarning and nothing else."""
    out, err, code = run(url, name)
    assert (out, code) == (lines, 0)
    assert UNCLOSED.fullmatch(err), err


def test_an_unclosed_client_that_resolved_a_name_only_warns(url: str) -> None:
    """The same applies if the event loop has threads of its own, which look up host names."""
    out, err, code = run(url.replace("127.0.0.1", "localhost"), "exit_unclosed")
    assert (out, code) == (["True"], 0)
    assert UNCLOSED.fullmatch(err), err


def test_all_unclosed_clients_are_closed_though_warnings_are_errors(url: str) -> None:
    """If the warning about an unclosed client is an error, the other clients are closed, too."""
    out, err, code = run(url, "exit_two_unclosed", "-W", "error::ResourceWarning")
    assert (out, code) == (["True", "True"], 0)
    assert err.count("\nResourceWarning: unclosed Pandium, created at") == 2, err


def test_a_function_that_blocks_does_not_block_the_end(emulator: Emulator) -> None:
    """A process ends although a function that it passed to the client never returns."""
    emulator.add_tenant()
    assert run(emulator.url, "exit_with_a_blocked_function") == (["entered"], "", 0)


MAIN_THREAD_ENDS = """
import logging, sys, threading
from pandium import Pandium, PandiumError

logging.disable(logging.WARNING)  # about a retry
url, key, state = sys.argv[1:]

def work():
    threading.main_thread().join()
    try:
        print(client.tenants.list().first().id)
        with Pandium(key, base_url=url) as another:
            print(another.tenants.list().first().id)
    except PandiumError as error:
        print(error)
    client.close()

client = Pandium(key, base_url=url)
if state == "used":
    client.tenants.list().first()
threading.Thread(target=work).start()
"""
STARTS_THREADS = sys.version_info[:2] != (3, 12)  # once the main thread has ended


@pytest.mark.parametrize("state", ["used", "unused"])
def test_a_thread_can_use_a_client_after_the_end_of_the_main_thread(
    emulator: Emulator, url: str, state: str
) -> None:
    """
    The interpreter waits for other threads, in which the names of hosts are still looked up.

    A client that has to start its own thread raises an error if Python starts none any more.
    """
    if state == "used":  # look up the name again for another connection
        emulator.faults.add("tenants.list", Reset(), after=1, times=1)
    done = subprocess.run(
        [sys.executable, "-c", MAIN_THREAD_ENDS, url.replace("127.0.0.1", "localhost"), KEY, state],
        capture_output=True,
        check=True,
        text=True,
        timeout=TIMEOUT,
    )
    error = "cannot start the client's thread: can't create new thread at interpreter shutdown"
    lines = ["1", "1"] if STARTS_THREADS else ["1", error] if state == "used" else [error]
    assert (done.stdout.splitlines(), done.stderr) == (lines, "")


EXIT_HANDLER = """
import atexit, sys
atexit.register(lambda: call())
from pandium import Pandium, PandiumError

def call():
    try:
        with Pandium("key", base_url=sys.argv[1]) as client:
            client.tenants.list().first()
    except PandiumError as error:
        print(error)
"""


def test_a_first_call_after_the_exit_of_the_library_is_an_error(url: str) -> None:
    """A function registered with `atexit` before the import cannot make a client's first call."""
    done = subprocess.run(
        [sys.executable, "-c", EXIT_HANDLER, url],
        capture_output=True,
        check=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.stdout.startswith("the interpreter is exiting: import pandium before")
    assert done.stderr == ""


FOREIGN = "child: the client was used before this process was forked: create one client in each"


@pytest.mark.posix
def test_a_client_cannot_be_used_after_a_fork(url: str) -> None:
    """In the child, an inherited client raises a clear error, and a new one works."""
    out, err, code = run(url, "fork_after_use")
    expected = [f"{FOREIGN} process", "exit code 0"]
    assert (out, err, code) == (
        [*expected, "exit code 0", *expected, "exit code 0", "True"],
        "",
        0,
    )


@pytest.mark.posix
def test_a_client_that_was_not_used_before_a_fork_works_in_each_process(url: str) -> None:
    """A client that was created but not used before a fork belongs to each process separately."""
    lines = ["child True", "exit code 0"]
    assert run(url, "fork_before_use") == ([*lines, *lines, "child True"], "", 0)


@pytest.mark.posix
def test_an_iterator_cannot_be_used_after_a_fork(url: str) -> None:
    """In the child, an inherited iterator raises a clear error. The parent can go on."""
    lines = ["1", f"{FOREIGN} process", "exit code 0", "2"]
    assert run(url, "fork_while_iterating") == (lines, "", 0)


@pytest.mark.posix
def test_progress_cannot_be_read_after_a_fork(url: str) -> None:
    """In the child, reading the progress of inherited results raises a clear error."""
    lines = [f"{FOREIGN} process", "exit code 0", "0"]
    assert run(url, "fork_in_block") == (lines, "", 0)


@pytest.mark.posix
@pytest.mark.parametrize(
    "name", ["interrupt_call", "interrupt_iteration", "interrupt_results", "interrupt_block"]
)
def test_ctrl_c_ends_everything(name: str) -> None:
    """Ctrl-C ends a call, an iteration or a block, closes connections and leaves no thread."""
    with Misbehaving(otherwise=stall_before_the_answer()) as server:
        with start(server.url, name) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            server.wait_until(lambda: server.seen > 0)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=TIMEOUT)
        server.wait_until(lambda: server.open == 0)
    assert (out.splitlines(), err, process.returncode) == (["interrupted", "no threads"], "", 0)


@pytest.mark.posix
def test_ctrl_c_leaves_a_source_that_blocks(url: str) -> None:
    """Ctrl-C ends a wait although an iterable that it reads blocks, and the process ends."""
    with start(url, "interrupt_blocked_functions") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=TIMEOUT)
    assert (out, err, process.returncode) == ("interrupted\n", "", 0)

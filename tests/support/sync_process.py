"""
Use the synchronous client in a process that ends, forks or is interrupted.

Arguments: the URL of the API, and the name of one of the functions below. Each line of the output
is the result of one step.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from pandium import Pandium, PandiumError
from support import KEY
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

URL = sys.argv[1]
T = TypeVar("T")


kept: list[object] = []


def keep(value: T) -> T:
    """Keep a value until the interpreter deletes its modules, as a script does."""
    kept.append(value)
    return value


def write(*results: object) -> None:
    sys.stdout.write(" ".join(map(str, results)) + "\n")
    sys.stdout.flush()


def open_client() -> Pandium:
    return Pandium(KEY, base_url=URL)


def own_threads() -> list[str]:
    return [
        thread.name for thread in threading.enumerate() if thread is not threading.main_thread()
    ]


# Ways to end the process


def exit_closed() -> None:
    with open_client() as client:
        write(client.tenants.list().first() is not None)


def exit_unclosed() -> None:
    client = keep(open_client())
    write(client.tenants.list().first() is not None)


def exit_two_unclosed() -> None:
    exit_unclosed()
    exit_unclosed()


def exit_unused() -> None:
    keep(open_client())


def exit_while_iterating() -> None:
    client = keep(open_client())
    write(next(keep(iter(client.tenants.list(page_size=1)))).id)


def exit_in_blocks() -> None:
    with open_client() as client, client.runs.as_completed(["1", "2"]) as results:
        write(results.progress.succeeded)
        sys.exit(3)


def exit_while_a_thread_calls() -> None:
    client = keep(open_client())
    triggers = [client.tenants.sync(1, mode="normal")]
    started = threading.Event()

    def wait() -> None:
        with client.runs.as_completed(triggers) as results:
            started.set()
            list(results)

    threading.Thread(target=wait, daemon=True).start()
    started.wait()
    write("started")


def exit_with_a_blocked_function() -> None:
    client = open_client()
    trigger = client.tenants.sync(1, mode="normal")
    entered = threading.Event()

    def on_status(_: object) -> None:
        entered.set()
        threading.Event().wait()

    def wait() -> None:
        with suppress(PandiumError):
            client.runs.wait(trigger, on_status=on_status)

    threading.Thread(target=wait).start()
    entered.wait()
    write("entered")
    client.close()


# Forks


def in_child(function: Callable[[], object]) -> None:
    child = os.fork()
    if child == 0:
        try:
            function()
        except PandiumError as error:
            write("child:", error)
        sys.exit()
    _, status = os.waitpid(child, 0)
    write("exit code", os.waitstatus_to_exitcode(status))


def fork_after_use() -> None:
    with open_client() as client:
        client.tenants.list().first()
        in_child(lambda: client.tenants.list().first())
        in_child(client.close)
        in_child(lambda: list(client.tenants.list()))
        in_child(lambda: open_client().__enter__().close())
        write(client.tenants.list().first() is not None)


def fork_before_use() -> None:
    client = open_client()

    def use() -> None:
        with client:
            write("child", client.tenants.list().first() is not None)

    in_child(use)
    in_child(use)
    use()


def fork_while_iterating() -> None:
    with open_client() as client:
        records = iter(client.tenants.list(page_size=1))
        write(next(records).id)
        in_child(lambda: next(records))
        write(next(records).id)


def fork_in_block() -> None:
    with open_client() as client, client.runs.as_completed(["unknown"]) as results:
        # Before the first poll, the client's thread imports modules. A child that was forked
        # meanwhile could wait for it forever.
        wait_until(lambda: results.progress.polls)
        in_child(lambda: results.progress)
        write(results.progress.succeeded)


# Interrupts. The parent process sends SIGINT after the line "ready".


def report_interrupt(function: Callable[[Pandium], object]) -> None:
    try:
        with open_client() as client:
            try:
                function(client)
            except KeyboardInterrupt:
                write("interrupted")
                raise
    except KeyboardInterrupt:
        wait_until(lambda: own_threads() == [])
        write("no threads")


def interrupt_call() -> None:
    def call(client: Pandium) -> None:
        write("ready")
        client.tenants.metadata(1)

    report_interrupt(call)


def interrupt_iteration() -> None:
    def iterate(client: Pandium) -> None:
        write("ready")
        list(client.tenants.list())

    report_interrupt(iterate)


def interrupt_block() -> None:
    def work(client: Pandium) -> None:
        with client.runs.as_completed(["1", "2"]) as results:
            write("ready")
            threading.Event().wait()
        write(results)

    report_interrupt(work)


def interrupt_results() -> None:
    def iterate(client: Pandium) -> None:
        with client.tenants.sync_all(range(1, 9), mode="normal") as results:
            write("ready")
            list(results)

    report_interrupt(iterate)


def interrupt_blocked_functions() -> None:
    def triggers() -> Iterator[str]:
        yield "1"
        write("ready")
        threading.Event().wait()

    try:
        with open_client() as client, client.runs.as_completed(triggers()) as results:
            list(results)
    except KeyboardInterrupt:
        write("interrupted")


if __name__ == "__main__":
    globals()[sys.argv[2]]()

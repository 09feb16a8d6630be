"""Processes that sync tenants with a shared journal, and what they report."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from pandium.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SCRIPT = Path(__file__).with_name("syncing_process.py")
TIME_LIMIT = 600.0
BACKENDS = itertools.cycle(["asyncio", "trio"])


@attrs.frozen
class JobOptions:
    """
    The options of a process that syncs tenants.

    :ivar tenants: the number of tenants. Their ids are 1, 2, 3 and so on.
    :ivar speed: the speed of the client's clock.
    :ivar began: the time at which the job began, as a timestamp.
    :ivar interval: the time after which the next tenant is due, in seconds.
    :ivar job: the name of the job, if ``journal`` is the connection string of a database.
    :ivar lease: the duration of a lease in such a database, in seconds.
    :ivar requests_per_second: the rate of the client, and of the job if it has one.
    :ivar seed: the seed of the order in which tenants that are due are synced, or ``None`` to sync
        them in the order of their ids.
    """

    url: str
    journal: str
    tenants: int
    max_concurrency: int = 6
    speed: float = 20.0
    began: float = 0.0
    interval: float = 0.0
    seed: int | None = None
    job: str | None = None
    lease: float = 10.0
    requests_per_second: float | None = None


def unmeasured_environment() -> dict[str, str]:
    """Return the environment without coverage's variables. It cannot save data to a full disk."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}


class SyncingProcess:
    """
    A process that runs syncing_process.py, and the children that it forks.

    :param variables: additional environment variables.
    :ivar lines: the JSON lines that these processes have written.
    :ivar noise: other lines, such as tracebacks.
    """

    def __init__(self, options: JobOptions, prefix: Sequence[str] = (), **variables: str) -> None:
        self.lines: list[dict[str, Any]] = []
        self.noise: list[str] = []
        self.popen = subprocess.Popen(
            [
                *prefix,
                sys.executable,
                "-W",
                "error",
                SCRIPT,
                next(BACKENDS),
                json.dumps(attrs.asdict(options)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=unmeasured_environment() | variables,
        )
        self._has_started = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            try:
                self.lines.append(json.loads(line))
            except ValueError:
                self.noise.append(line)
            self._has_started.set()
        self._has_started.set()

    def wait_for_start(self) -> None:
        assert self._has_started.wait(TIME_LIMIT)
        assert self.lines, self.noise

    def wait_for_request(self, emulator: Emulator) -> None:
        """Wait until the emulator has received another request that is not a poll."""
        before = count_posts(emulator)
        self.wait_for_start()
        while self.popen.poll() is None and count_posts(emulator) == before:
            time.sleep(0.01)

    def is_running(self) -> bool:
        return self.popen.poll() is None

    def command(self, name: str) -> None:
        """Make the process ``fork``, or ``read`` its journal from now on."""
        assert self.popen.stdin is not None
        with suppress(BrokenPipeError):
            self.popen.stdin.write(name[0])
            self.popen.stdin.flush()

    def kill(self) -> None:
        """Kill the process, but not its children."""
        self.popen.kill()
        self.popen.wait()

    def end(self) -> None:
        """Kill the process and wait until its children have ended."""
        self.kill()
        self.wait()

    def suspend(self) -> None:
        self.popen.send_signal(signal.SIGSTOP)
        os.waitpid(self.popen.pid, os.WUNTRACED)

    def resume(self) -> None:
        self.popen.send_signal(signal.SIGCONT)

    def wait(self) -> None:
        """Wait until the process and its children have ended."""
        limit = threading.Timer(TIME_LIMIT, self.popen.kill)
        limit.start()
        self._reader.join(TIME_LIMIT)
        assert not self._reader.is_alive(), "the process or one of its children has not ended"
        self.popen.wait()
        limit.cancel()
        for stream in (self.popen.stdin, self.popen.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()

    def results(self) -> dict[int, dict[str, Any]]:
        """Wait for the process to end and return its results, one per tenant."""
        self.wait()
        assert not self.noise
        assert self.popen.returncode == 0
        assert [line["failed"] for line in self.lines if "failed" in line] == []
        return results_by_process(self.lines)[self.popen.pid]


def results_by_process(lines: list[dict[str, Any]]) -> dict[int, dict[int, dict[str, Any]]]:
    """
    Return the results of each process that has ended without an error.

    Each of them must have reported each of its tenants once.
    """
    ended = [line["pid"] for line in lines if "done" in line]
    assert len(ended) == len(set(ended))
    return {pid: results_of(pid, lines) for pid in ended}


def results_of(pid: int, lines: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Return the results of one process, which must have reported no tenant twice."""
    results = [line for line in lines if line["pid"] == pid and "tenant" in line]
    found = {line["tenant"]: line for line in results}
    assert len(found) == len(results), results
    return found


def count_posts(emulator: Emulator) -> int:
    return sum(count for (method, *_), count in dict(emulator.counts).items() if method == "POST")


@contextmanager
def emulator_with(tenants: int) -> Iterator[Emulator]:
    with Emulator() as emulator:
        for _ in range(tenants):
            emulator.add_tenant()
        for tenant_id in range(1, tenants + 1, 3):  # the other runs appear later and take longer
            emulator.runs.script(tenant=tenant_id, appears_after=0.02, phases=[("Succeeded", 0)])
        yield emulator


def count_triggers(emulator: Emulator, tenant_id: int) -> int:
    """Return the number of a tenant's triggers, once all of its runs have appeared."""
    return sum(len(run.triggers) for run in emulator.runs.of(tenant_id))


def check_triggers(
    emulator: Emulator, results: dict[int, dict[str, Any]], count: int, times: int = 1
) -> set[int]:
    """
    Assert that each tenant was triggered once or is unknown, and return the unknown ones.

    :param times: the number of jobs, each of which triggers each tenant once.
    """
    assert set(results) == set(range(1, count + 1))
    unknown = {tenant_id for tenant_id, result in results.items() if result["unknown"]}
    for tenant_id, result in results.items():
        triggers = count_triggers(emulator, tenant_id)
        if tenant_id in unknown:
            assert triggers <= times, result
        else:
            assert (result["status"], triggers) == ("Succeeded", times), result
    return unknown

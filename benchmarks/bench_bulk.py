"""
Sync tenants whose runs end at once, without a journal, with SQLite and with PostgreSQL.

One to four processes share the work. CPU time is that of these processes, without that of the
database server. Disk syncs are counted, and delayed if requested, by a library that is preloaded
into the processes that write the journal: sync_shim.c. Requires a C compiler and Linux, and for
PostgreSQL the extra ``postgres`` and the programs of a server.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
SOURCE = HERE.parent / "src"
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
IS_ROOT = os.geteuid() == 0
SERVER_USER = "postgres" if IS_ROOT else None  # the server refuses to run as root
ROW = "{:>9} {:>9} {:>7} {:>8} {:>10} {:>7} {:>10} {:>6} {:>7} {:>8}"
HEADS = ("code", "journal", "API ms", "sync ms", "processes", "active", "tenants/s", "ratio")


class Syncs:
    """The preloaded library, and the number of disk syncs that it has counted."""

    def __init__(self, directory: Path) -> None:
        self.library = directory / "sync_shim.so"
        self._counts = directory / "counts"
        command = ["cc", "-O2", "-shared", "-fPIC", "-o", str(self.library)]
        subprocess.run([*command, str(HERE / "sync_shim.c"), "-ldl"], check=True)

    def variables(self, delay: int) -> dict[str, str]:
        """Return the environment variables that load the library, given a delay in milliseconds."""
        self._counts.unlink(missing_ok=True)
        self._counts.touch()
        self._counts.chmod(0o666)
        return {
            "LD_PRELOAD": str(self.library),
            "SYNC_DELAY_MS": str(delay),
            "SYNC_COUNT": str(self._counts),
        }

    def total(self) -> int:
        return sum(map(int, self._counts.read_text().split()))


def run_as_server(*command: str | Path, **variables: str) -> None:
    subprocess.run(
        list(map(str, command)),
        user=SERVER_USER,
        extra_groups=[] if IS_ROOT else None,
        cwd="/",
        env={**os.environ, **variables},
        check=True,
        stdout=subprocess.DEVNULL,
    )


@contextmanager
def postgres(directory: Path, variables: dict[str, str]) -> Iterator[str]:
    """Run a new PostgreSQL server with default settings and yield its connection string."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    data, programs = directory / "postgres", POSTGRES[-1]
    data.mkdir()
    shutil.chown(data, SERVER_USER or os.geteuid())
    run_as_server(programs / "initdb", "-A", "trust", "-U", "jobs", "-D", data)
    control = (programs / "pg_ctl", "-D", data, "-w", "-l", data / "log")
    options = f"-p {port} -k {data} -h 127.0.0.1"
    run_as_server(*control, "-o", options, "start", **variables)
    try:
        yield f"postgresql://jobs@127.0.0.1:{port}/postgres"
    finally:
        run_as_server(*control, "-m", "fast", "stop")


@dataclass
class Case:
    """
    A journal, and how it is used.

    :ivar journal: ``none``, ``sqlite`` or ``postgres``.
    :ivar latency: the time until the API responds to a request, in milliseconds.
    :ivar delay: the additional duration of each disk sync, in milliseconds.
    :ivar processes: the number of processes that share the work.
    :ivar width: the maximum number of active tenants in each process.
    :ivar source: the directory from which pandium is imported.
    """

    journal: str
    latency: int
    delay: int
    processes: int
    width: int
    source: Path

    def measure(self, tenants: int) -> dict[str, float]:
        """Return the tenants per second, the CPU time and the disk syncs per tenant."""
        # /tmp may be in memory, where a disk sync does nothing.
        with (
            tempfile.TemporaryDirectory(dir="/var/tmp") as name,
            serving(self.latency / 1000) as url,
        ):
            directory = Path(name)
            directory.chmod(0o755)
            syncs = Syncs(directory)
            with self._open_journal(directory, syncs.variables(self.delay)) as (journal, variables):
                seconds, cpu = self._run(url, journal, tenants, variables)
            with urllib.request.urlopen(f"{url}/requests") as response:
                assert int(response.read()) == tenants, "a tenant was not triggered once"
            return {
                "tenants/s": tenants / seconds,
                "CPU ms": cpu * 1000 / tenants,
                "syncs": syncs.total() / tenants,
            }

    @contextmanager
    def _open_journal(
        self, directory: Path, variables: dict[str, str]
    ) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield the name of a new journal, and the variables of the processes that use it."""
        if self.journal == "postgres":
            with postgres(directory, variables) as name:
                yield name, {}
        else:
            yield str(directory / "journal") if self.journal == "sqlite" else "", variables

    def _run(
        self, url: str, journal: str, tenants: int, variables: dict[str, str]
    ) -> tuple[float, float]:
        """Return the elapsed time, and the CPU time of all processes, in seconds."""
        workers = [
            self._start(url, journal, share, variables) for share in self._shares(journal, tenants)
        ]
        for worker in workers:
            assert worker.stdout.readline() == "ready\n"
        began = time.perf_counter()
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        outputs = [json.loads(worker.communicate()[0]) for worker in workers]
        return time.perf_counter() - began, sum(output["cpu"] for output in outputs)

    def _shares(self, journal: str, tenants: int) -> list[range]:
        """Return the tenants of each process: all of them, or a part of them without a journal."""
        if journal:
            return [range(tenants)] * self.processes
        ends = [tenants * number // self.processes for number in range(self.processes + 1)]
        return [range(*pair) for pair in itertools.pairwise(ends)]

    def _start(self, url: str, journal: str, share: range, variables: dict[str, str]) -> Any:
        script = str(HERE / "sync_tenants.py")
        command = [sys.executable, script, url, "--journal", journal]
        command += [str(share.start), str(share.stop), "--width", str(self.width)]
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **variables, "PYTHONPATH": str(self.source)},
        )


def report(case: Case, found: dict[str, float], base: float) -> None:
    code = "now" if case.source == SOURCE else case.source.parent.name
    speed, cpu, syncs = found["tenants/s"], found["CPU ms"], found["syncs"]
    figures = f"{speed:.0f}", f"{speed / base:.2f}", f"{cpu:.2f}", f"{syncs:.3f}"
    settings = case.latency, case.delay, case.processes, case.width
    print(ROW.format(code, case.journal, *settings, *figures), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=10_000)
    parser.add_argument("--journals", nargs="*", default=["none", "sqlite", "postgres"])
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2, 3, 4])
    parser.add_argument("--widths", type=int, nargs="*", default=[500])
    parser.add_argument(
        "--latencies", type=int, nargs="*", default=[1], help="of API responses, in ms"
    )
    parser.add_argument("--delays", type=int, nargs="*", default=[0], help="of disk syncs, in ms")
    parser.add_argument("--clones", type=Path, nargs="*", default=[], help="of other versions")
    options = parser.parse_args()
    sources = [SOURCE, *(path / "src" for path in options.clones)]
    print(ROW.format(*HEADS, "CPU ms", "syncs"))
    settings = itertools.product(options.latencies, options.delays, options.widths)
    for latency, delay, width in settings:
        base = 0.0
        for choice in itertools.product(options.processes, options.journals, sources):
            processes, journal, source = choice
            case = Case(journal, latency, delay, processes, width, source.resolve())
            found = case.measure(options.tenants)
            base = base or found["tenants/s"]
            report(case, found, base)


if __name__ == "__main__":
    main()

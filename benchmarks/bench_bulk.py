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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server import serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE = Path(__file__).parent
SOURCE = HERE.parent / "src"
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
IS_ROOT = os.geteuid() == 0
SERVER_USER = "postgres" if IS_ROOT else None  # the server refuses to run as root
ROW = "{:>9} {:>14} {:>10} {:>6} {:>7} {:>8}"
HEADS = ("processes", "journal", "tenants/s", "ratio", "CPU ms", "syncs")
# The last commit before group commit. Its journal was in WAL mode.
OLD_COMMIT = "6c542c0"
OLD_SQLITE = f"sqlite {OLD_COMMIT}"


@dataclass
class Part:
    """
    A table that compares journals.

    :ivar tenants: the number of tenants to sync.
    :ivar processes: the numbers of processes that share the work.
    :ivar journals: ``none``, ``sqlite``, ``postgres`` or the SQLite journal of an old commit.
    :ivar width: the maximum number of active tenants in each process.
    :ivar latency: the time until the API responds to a request, in milliseconds.
    :ivar delay: the additional duration of each disk sync, in milliseconds.
    """

    tenants: int
    processes: Sequence[int]
    journals: Sequence[str]
    width: int = 500
    latency: int = 1
    delay: int = 0


JOURNALS = ("none", "sqlite", "postgres")
PARTS = {
    "processes": Part(10_000, (1, 2, 3, 4), JOURNALS),
    "disk": Part(2_000, (1, 2), (*JOURNALS, OLD_SQLITE), delay=5),
    "alone": Part(200, (1,), (*JOURNALS, OLD_SQLITE), width=1, delay=5),
    "api": Part(2_000, (1,), ("none", "sqlite", OLD_SQLITE), latency=500),
}


class WorkerError(Exception):
    """A process that syncs tenants failed. Its own error is on standard error."""


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
    A row of a table.

    :ivar part: the table.
    :ivar processes: the number of processes that share the work.
    :ivar journal: ``none``, ``sqlite`` or ``postgres``.
    :ivar source: the directory from which pandium is imported.
    """

    part: Part
    processes: int
    journal: str
    source: Path

    def measure(self) -> tuple[float, float, float]:
        """Return the tenants per second, the CPU time in ms and the disk syncs per tenant."""
        tenants = self.part.tenants
        # /tmp may be in memory, where a disk sync does nothing.
        with (
            tempfile.TemporaryDirectory(dir="/var/tmp") as name,
            serving(self.part.latency / 1000) as url,
        ):
            directory = Path(name)
            directory.chmod(0o755)
            syncs = Syncs(directory)
            with self._open_journal(directory, syncs.variables(self.part.delay)) as (
                journal,
                variables,
            ):
                seconds, cpu = self._run(url, journal, variables)
            with urllib.request.urlopen(f"{url}/requests") as response:
                assert int(response.read()) == tenants, "a tenant was not triggered once"
            return tenants / seconds, cpu * 1000 / tenants, syncs.total() / tenants

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

    def _run(self, url: str, journal: str, variables: dict[str, str]) -> tuple[float, float]:
        """Return the elapsed time, and the CPU time of all processes, in seconds."""
        workers = [self._start(url, journal, share, variables) for share in self._shares(journal)]
        for worker in workers:
            assert worker.stdout.readline() == "ready\n"
        began = time.perf_counter()
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        outputs = [worker.communicate()[0] for worker in workers]
        if any(worker.returncode for worker in workers):
            raise WorkerError
        outputs = [json.loads(output) for output in outputs]
        return time.perf_counter() - began, sum(output["cpu"] for output in outputs)

    def _shares(self, journal: str) -> list[range]:
        """Return the tenants of each process: all of them, or a part of them without a journal."""
        tenants = self.part.tenants
        if journal:
            return [range(tenants)] * self.processes
        ends = [tenants * number // self.processes for number in range(self.processes + 1)]
        return [range(*pair) for pair in itertools.pairwise(ends)]

    def _start(self, url: str, journal: str, share: range, variables: dict[str, str]) -> Any:
        script = str(HERE / "sync_tenants.py")
        command = [sys.executable, script, url, "--journal", journal]
        command += [str(share.start), str(share.stop), "--width", str(self.part.width)]
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **variables, "PYTHONPATH": str(self.source)},
        )


@contextmanager
def source_of(commit: str) -> Iterator[Path]:
    """Yield a directory with the package as of a commit of this repository."""
    archive = ["git", "-C", str(HERE.parent), "archive", "--format=tar", commit, "src"]
    with tempfile.TemporaryDirectory() as name:
        found = subprocess.run(archive, check=True, stdout=subprocess.PIPE)
        subprocess.run(["tar", "-x", "-C", name], check=True, input=found.stdout)
        yield Path(name) / "src"


def measure(name: str, part: Part, old_source: Path) -> None:
    print(
        f"{name}: {part.tenants:,} tenants, {part.width} active in each process,"
        f" an API that takes {part.latency} ms, and {part.delay} ms more per disk sync"
    )
    print(ROW.format(*HEADS))
    base = 0.0
    for processes, journal in itertools.product(part.processes, part.journals):
        source = old_source if journal == OLD_SQLITE else SOURCE
        try:
            speed, cpu, syncs = Case(part, processes, journal.split()[0], source).measure()
        except WorkerError:
            print(ROW.format(processes, journal, *["failed"] * 4), flush=True)
            continue
        base = base or speed
        figures = f"{speed:.0f}", f"{speed / base:.2f}", f"{cpu:.2f}", f"{syncs:.3f}"
        print(ROW.format(processes, journal, *figures), flush=True)
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    # The settings of the parts can be changed, for example with --tenants 1000.
    for name in ("tenants", "width", "latency", "delay"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--processes", type=int, nargs="*")
    parser.add_argument("--journals", nargs="*")
    options = vars(parser.parse_args())
    names = options.pop("parts") or PARTS
    changes = {name: value for name, value in options.items() if value is not None}
    with source_of(OLD_COMMIT) as old_source:
        for name in names:
            measure(name, replace(PARTS[name], **changes), old_source)


if __name__ == "__main__":
    main()

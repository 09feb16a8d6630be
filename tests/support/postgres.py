"""PostgreSQL servers that tests start, stop, restart and copy."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psycopg

from support.posix import IS_POSIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
IS_ROOT = IS_POSIX and os.geteuid() == 0
# The server refuses to run as root. This is the user that Debian's package creates.
SERVER_USER = "postgres" if IS_ROOT else None
ROLE, PASSWORD = "jobs", "hunter2%/@"
URL_PASSWORD = "hunter2%25%2F%40"


# Messages of PostgreSQL's protocol
FLUSH = b"H\0\0\0\4"
SYNC = b"S\0\0\0\4"


def run(*command: str | Path) -> None:
    """Run a command as the user of the servers."""
    done = subprocess.run(
        [str(word) for word in command],
        user=SERVER_USER,
        extra_groups=[] if IS_ROOT else None,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout


def copy_data(source: Path, target: Path) -> None:
    """Copy the data of a stopped server."""
    run("cp", "-a", source, target)


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        return int(probe.getsockname()[1])


def create_directory() -> Path:
    """Create a directory that belongs to the user of the servers."""
    directory = Path(tempfile.mkdtemp(prefix="pandium-postgres-"))
    if SERVER_USER is not None:
        shutil.chown(directory, SERVER_USER)
    return directory


@cache
def template() -> Path:
    """Return the data of a new server, which is created once and deleted at the end."""
    directory = create_directory()
    atexit.register(shutil.rmtree, directory)
    password = write_readable(directory / "password", PASSWORD)
    run(PROGRAMS[-1] / "initdb", "--no-sync", "-A", "scram-sha-256", "-U", "admin",
        "--encoding=UTF8", "--locale=C", f"--pwfile={password}",
        "-D", directory / "data")  # fmt: skip
    write_readable(
        directory / "data/pg_hba.conf", "local all all trust\nhost all all all scram-sha-256\n"
    )
    return directory / "data"


def write_readable(path: Path, text: str) -> Path:
    """Write a file that the user of the servers can read."""
    path.write_text(text)
    path.chmod(0o644)
    return path


class Server:
    """
    A server in a directory of its own, which is deleted at the end of the block.

    :param listen: the addresses to listen on, in addition to loopback.
    :ivar port: the port, which stays the same when the server is restarted.
    """

    def __init__(self, listen: str = "") -> None:
        self._directory = create_directory()
        self.data = self._directory / "data"
        self.port = free_port()
        self._addresses = ",".join(filter(None, ["127.0.0.1", listen]))

    def __enter__(self) -> Self:
        try:
            copy_data(template(), self.data)
            self.start()
            with self.connect() as db:
                db.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()

    def write(self, name: str, text: str) -> Path:
        """Write a file in the server's directory, which the user of the servers can read."""
        return write_readable(self._directory / name, text)

    def program(self, name: str) -> Path:
        return PROGRAMS[-1] / name

    def configure(self, **settings: object) -> None:
        """Change settings of the server. They take effect when it is started."""
        with (self.data / "postgresql.conf").open("a") as file:
            for name, value in settings.items():
                file.write(f"{name} = '{value}'\n")

    def start(self) -> None:
        options = f"-p {self.port} -k {self._directory} -h {self._addresses}"
        # fsync protects against a crash of the machine, which no test causes.
        options += " -c fsync=off -c wal_level=replica -c max_wal_senders=2"
        run(self.program("pg_ctl"), "-D", self.data, "-w", "-t", "60", "-o", options,
            "-l", self._directory / "log", "start")  # fmt: skip

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: ``fast``, or ``immediate`` as in a crash."""
        run(self.program("pg_ctl"), "-D", self.data, "-w", "-m", mode, "stop")

    def restart(self, mode: str = "fast") -> None:
        self.stop(mode)
        self.start()

    def remove(self) -> None:
        if (self.data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self._directory)

    @contextmanager
    def copy(self) -> Iterator[Server]:
        """Copy the data of the stopped server to another one, which is not started."""
        copied = Server()
        copied.port = self.port
        copy_data(self.data, copied.data)
        try:
            yield copied
        finally:
            copied.remove()

    def start_as_replica(self) -> None:
        """Start the stopped server as a replica."""
        self.write("data/standby.signal", "")
        self.start()

    def promote(self) -> None:
        """Start the stopped server as a replica and promote it, which begins a new timeline."""
        self.start_as_replica()
        run(self.program("pg_ctl"), "-D", self.data, "-w", "promote")

    @contextmanager
    def connect(self, database: str = "postgres") -> Iterator[psycopg.Connection[Any]]:
        """Connect as the administrator."""
        with closing(
            psycopg.connect(
                host=str(self._directory), port=self.port, user="admin", dbname=database,
                autocommit=True,
            )
        ) as db:  # fmt: skip
            yield db

    def dsn(self, database: str, host: str = "127.0.0.1") -> str:
        return f"postgresql://{ROLE}:{URL_PASSWORD}@{host}:{self.port}/{database}"

    def create_database(self, name: str, tablespace: str = "pg_default") -> str:
        """Create a database and return its connection string."""
        with self.connect() as db:
            db.execute(f"CREATE DATABASE {name} OWNER {ROLE} TABLESPACE {tablespace}")
        return self.dsn(name)

    @contextmanager
    def small_disk(self, megabytes: int) -> Iterator[Path]:
        """Mount a small disk, create the tablespace ``small`` on it, and return its path."""
        path = self._directory / "disk"
        path.mkdir()
        size = f"size={megabytes}m,mode=0777"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", path], check=True)
        try:
            run("mkdir", "-m", "700", path / "tables")
            with self.connect() as db:
                db.execute(f"CREATE TABLESPACE small LOCATION '{path / 'tables'}'")
            yield path
        finally:
            subprocess.run(["umount", "--lazy", path], check=True)  # the server uses it

    def drop_database(self, name: str) -> None:
        """End all sessions of a database and drop it."""
        with self.connect() as db:
            db.execute(f"DROP DATABASE {name} WITH (FORCE)")


def can_mount() -> bool:
    """Return whether this process may mount a file system."""
    with tempfile.TemporaryDirectory() as path:
        command = ["mount", "-t", "tmpfs", "tmpfs", path]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return False
        subprocess.run(["umount", path], check=True)
    return True


def fill(disk: Path) -> Path:
    """Fill a disk with a file, which is returned."""
    path = disk / "filling"
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return path


def expire_leases(dsn: str, seconds: float, process_id: int | None = None) -> None:
    """
    Make leases expire earlier, as if the database's clock had advanced by some seconds.

    :param process_id: the process whose leases expire earlier, or ``None`` for all.
    """
    owner = "%" if process_id is None else f"%/{process_id}/%"
    with closing(psycopg.connect(dsn, autocommit=True)) as db:
        db.execute(
            "UPDATE pandium_workers SET expires = expires - %s * interval '1 second'"
            " WHERE owner LIKE %s",
            [seconds, owner],
        )


@contextmanager
def old_server() -> Iterator[int]:
    """Return the port of a server that greets one client as PostgreSQL 11 does."""
    parameters = {"server_version": "11.22", "server_encoding": "UTF8", "client_encoding": "UTF8"}
    messages = [(b"R", bytes(4))]
    messages += [(b"S", f"{name}\0{value}\0".encode()) for name, value in parameters.items()]
    messages += [(b"K", bytes(8)), (b"Z", b"I")]

    def greet() -> None:
        client, _ = listener.accept()
        with closing(client):
            client.recv(10_000)
            for kind, body in messages:
                client.sendall(kind + (len(body) + 4).to_bytes(4, "big") + body)
            client.recv(10_000)

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=greet)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


class PostgresProxy:
    """
    A proxy between a worker and a server, which loses connections at a given point.

    :param port: the port of the server.
    :ivar lose: a function that takes what the client sends and returns what to do: ``""`` to
        forward it, ``"before"`` to lose it and the connection, ``"after"`` to forward it and lose
        the response and the connection, ``"hang"`` to forward nothing more, or ``"cut"`` to forward
        it and then nothing in either direction, not even that the client closes the connection.
        ``"cut early"`` does the same, but does not forward a Sync message at the end.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.lose: Callable[[bytes], str] = lambda _: ""
        self.connections = 0
        self._open: list[socket.socket] = []
        self._cut: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections, and accept no more."""
        self._listener.close()
        _shut_down(*self._open)
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                server = socket.create_connection(("127.0.0.1", self._server_port))
                self._open += client, server
                threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
                threading.Thread(target=self._return, args=(server, client), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65_536):
                action = self.lose(data)
                if action == "hang":
                    return
                if action == "after":
                    client.shutdown(socket.SHUT_RDWR)
                if action.startswith("cut"):
                    self._cut.add(server)
                if action == "cut early":
                    data = data.removesuffix(SYNC)
                if action != "before":
                    server.sendall(data)
                if action.startswith("cut"):
                    return
                if action:
                    break
        _shut_down(client, server)

    def _return(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65_536):
                if server not in self._cut:
                    client.sendall(data)
        _shut_down(client, server)


def _shut_down(*connections: socket.socket) -> None:
    for connection in connections:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

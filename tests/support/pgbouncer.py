"""PgBouncer, the connection pooler that many hosts of PostgreSQL put before the server."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from support.postgres import IS_ROOT, PASSWORD, ROLE, SERVER_USER, Server, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")
_CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={server_port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = {mode}
default_pool_size = {size}
"""


@contextmanager
def pooled(server: Server, mode: str, size: int) -> Iterator[int]:
    """
    Run PgBouncer before a server and return its port.

    :param mode: ``session``, ``transaction`` or ``statement``.
    :param size: the number of connections to the server.
    """
    port = free_port()
    users = server.write("pgbouncer-users", f'"{ROLE}" "{PASSWORD}"\n')
    configuration = server.write(
        "pgbouncer.ini",
        _CONFIGURATION.format(
            server_port=server.port, port=port, users=users, mode=mode, size=size
        ),
    )
    with subprocess.Popen(
        [str(PROGRAM), "--quiet", configuration],
        user=SERVER_USER,
        extra_groups=[] if IS_ROOT else None,
        stderr=subprocess.DEVNULL,  # each connection is logged
    ) as process:
        try:
            wait_for_port(port)
            yield port
        finally:
            process.kill()


def wait_for_port(port: int) -> None:
    while True:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.01)

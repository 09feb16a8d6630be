"""Network namespaces, which are like hosts with a link to this one that can be cut."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

RELAY = Path(__file__).with_name("relay.py")
_numbers = itertools.count(1)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=30)


def has_namespaces() -> bool:
    """Return whether this process may create network namespaces."""
    name = f"pandium-{os.getpid()}"
    try:
        ip("netns", "add", name)
        ip("netns", "delete", name)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


class Namespace:
    """
    A network namespace with a link to this one.

    :ivar address: the address of this namespace as seen from there.
    :ivar prefix: the words before a command that is to run there.
    """

    def __init__(self) -> None:
        number = next(_numbers)
        self._name = f"pandium-{os.getpid()}-{number}"
        self._link = f"pd{os.getpid() % 10**6}n{number}"
        # Each process has eight networks, so that processes that run at the same time differ.
        network = IPv4Address("10.0.0.0") + 4 * ((8 * os.getpid() + number % 8) % 2**22)
        self.address, self._far_address = str(network + 1), str(network + 2)
        self.prefix = ["ip", "netns", "exec", self._name]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        ip("netns", "add", self._name)
        self._stack.callback(ip, "netns", "delete", self._name)
        ip("link", "add", self._link, "type", "veth", "peer", "name", "far", "netns", self._name)
        ip("address", "add", f"{self.address}/30", "dev", self._link)
        ip("-n", self._name, "address", "add", f"{self._far_address}/30", "dev", "far")
        for command in (["-n", self._name, "link", "set", "far", "up"],
                        ["-n", self._name, "link", "set", "lo", "up"]):  # fmt: skip
            ip(*command)
        self.heal()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def cut(self) -> None:
        """Cut the link. Packets are lost, as if a cable had been pulled."""
        ip("link", "set", self._link, "down")

    def heal(self) -> None:
        ip("link", "set", self._link, "up")

    def share(self, port: int, path: Path) -> None:
        """Make a loopback port available there, without using the link."""
        self._relay([], str(path), str(port))
        self._relay(self.prefix, str(port), str(path))

    def _relay(self, prefix: list[str], listen: str, connect: str) -> None:
        process = subprocess.Popen(
            [*prefix, sys.executable, RELAY, listen, connect], stdout=subprocess.PIPE
        )
        self._stack.enter_context(process)
        self._stack.callback(process.kill)
        assert process.stdout is not None
        assert process.stdout.readline()

"""An emulator in a child process, as programs in other languages use it, and its control API."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx


class EmulatorProcess:
    """The URL of an emulator in a child process, and a client of its control API."""

    def __init__(self, url: str, http: httpx.Client) -> None:
        self.url = url
        self._http = http

    def control(self, method: str, path: str, **options: Any) -> Any:
        """Send a request to the control API and return the JSON of the response."""
        response = self._http.request(method, f"/_emulator{path}", **options)
        response.raise_for_status()
        return response.json()


@contextmanager
def emulator_process(*arguments: str) -> Iterator[EmulatorProcess]:
    """Start `python -m pandium.emulator` on a free port and stop it at the end of the block."""
    command = [sys.executable, "-m", "pandium.emulator", "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            with httpx.Client(base_url=url, timeout=60) as http:
                yield EmulatorProcess(url, http)
        finally:
            process.terminate()

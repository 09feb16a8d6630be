"""The dispatcher in front of the API and the control API."""

import subprocess
import sys

PROGRAM = """
import sys
from http.client import HTTPConnection
from pandium.emulator import Emulator

def imported() -> list[str]:
    late = ["jsonschema", "pandium.emulator.control.control_api", "yaml"]
    return [name for name in late if name in sys.modules]

with Emulator() as emulator:
    connection = HTTPConnection("127.0.0.1", emulator.port)
    for path in ("/v2/tenants", "/_emulator/health"):
        connection.request("GET", path, headers={"x-api-key": "k"})
        response = connection.getresponse()
        response.read()
        print(response.status, *imported())
    connection.close()
"""


def test_the_control_api_is_imported_with_its_first_request() -> None:
    """A program that uses only the API does not wait for the control API to be built."""
    command = [sys.executable, "-c", PROGRAM]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    first, second = output.splitlines()
    assert first.split() == ["200"]
    assert second.split() == ["200", "pandium.emulator.control.control_api"]

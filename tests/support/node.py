"""Node.js, which runs the tests' JavaScript programs."""

import re
import shutil
import subprocess

import pytest

OLDEST = 20  # the first version with a stable test runner


def _find_version() -> int:
    if shutil.which("node") is None:
        return 0
    command = ["node", "--version"]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)", output)
    return int(found[1]) if found else 0


requires_node = pytest.mark.skipif(
    _find_version() < OLDEST, reason=f"requires Node.js {OLDEST} or newer"
)

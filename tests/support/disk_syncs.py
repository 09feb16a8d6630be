"""A shared library that counts, delays or interrupts the disk syncs of a child process."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "benchmarks" / "sync_shim.c"

requires_compiler = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="requires Linux and a C compiler"
)


def compile_shim(directory: Path) -> Path:
    """Compile the library, which a process loads if ``LD_PRELOAD`` contains its path."""
    library = directory / "sync_shim.so"
    command = ["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return library

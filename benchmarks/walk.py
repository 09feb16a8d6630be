"""
List all tenants with one client in a process of its own, and print the measurements as JSON.

The process is separate because the garbage collector also visits the objects of other imports. The
client first lists the tenants of another server, so that late imports and setup are not measured.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import json
import re
import signal
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_OWN = re.compile(r"/(pandium/\w+|peer_\w+)\.py$")
_INSTALLED = re.compile(r"/site-packages/(\w+)")


def peak() -> float:
    """Return the peak memory of this process, in MB of 2**20 bytes."""
    # Not ru_maxrss: on Linux, a child process inherits it from its parent.
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


@contextmanager
def sampled(seconds: float) -> Iterator[Counter[str]]:
    """Sample the stack at an interval in seconds of CPU time, and count the samples by module."""
    samples: Counter[str] = Counter()

    def take_sample(_: int, frame: FrameType | None) -> None:
        samples[_module_of(frame)] += 1

    signal.signal(signal.SIGPROF, take_sample)
    gc.callbacks.append(_collecting)
    signal.setitimer(signal.ITIMER_PROF, seconds, seconds)
    try:
        yield samples
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        gc.callbacks.remove(_collecting)


def _collecting(phase: str, info: Any) -> None:
    """Mark a garbage collection on the stack, for signals that are handled when it ends."""


def _module_of(frame: FrameType | None) -> str:
    assert frame is not None
    if frame.f_code is _collecting.__code__:
        if frame.f_locals["phase"] == "stop":
            return "garbage collector"
        return _module_of(frame.f_back)
    path = frame.f_code.co_filename
    found = _OWN.search(path) or _INSTALLED.search(path)
    return found[1] if found else "standard library"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("client")
    parser.add_argument("warm_up_url")
    parser.add_argument("url")
    parser.add_argument("--page-size", type=int, default=500)
    parser.add_argument("--prefetch", type=int, default=4)
    parser.add_argument("--sample", action="store_true")
    options = parser.parse_args()
    peer: Any = importlib.import_module(f"peer_{options.client}")
    asyncio.run(peer.walk(options.warm_up_url, options.page_size, options.prefetch))
    walk = peer.walk(options.url, options.page_size, options.prefetch)
    began, cpu = time.perf_counter(), time.process_time()
    with sampled(0.001 if options.sample else 0) as samples:
        tenants = asyncio.run(walk)
    figures = {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "tenants": tenants,
        "peak": peak(),
        "samples": samples,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

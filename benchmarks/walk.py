"""
List all tenants with one client in a separate process and print the measurements as JSON.

In a shared process, the garbage collector would also traverse the modules that other clients have
imported. The client first lists the tenants of another server, so that lazy imports and setup are
not measured.
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

_OWN = re.compile(r".*/(pandium/(?:\w+/)*\w+|peer_\w+)\.py$")
_INSTALLED = re.compile(r"/site-packages/(\w+)")


def peak_memory() -> float:
    """Return the peak memory of this process, in MB of 2**20 bytes."""
    # On Linux, ru_maxrss starts with the peak of the parent process.
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1]) / 1024


@contextmanager
def sample_stack(interval: float) -> Iterator[Counter[str]]:
    """
    Sample the stack and count the samples in each module.

    :param interval: the CPU time between two samples of the stack, in seconds. 0 disables
        sampling.
    """
    samples: Counter[str] = Counter()

    def sample(_: int, frame: FrameType | None) -> None:
        samples[_module_of(frame)] += 1

    signal.signal(signal.SIGPROF, sample)
    gc.callbacks.append(_on_collection)
    signal.setitimer(signal.ITIMER_PROF, interval, interval)
    try:
        yield samples
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        gc.callbacks.remove(_on_collection)


def _on_collection(phase: str, info: Any) -> None:
    """Do nothing. This frame identifies signals that arrive during garbage collection."""


def _module_of(frame: FrameType | None) -> str:
    assert frame is not None
    if frame.f_code is _on_collection.__code__:
        if frame.f_locals["phase"] == "stop":
            return "garbage collector"
        return _module_of(frame.f_back)
    path = frame.f_code.co_filename
    match = _OWN.search(path) or _INSTALLED.search(path)
    return match[1] if match else "standard library"


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
    with sample_stack(0.001 if options.sample else 0) as samples:
        tenants = asyncio.run(walk)
    measurements = {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "tenants": tenants,
        "peak": peak_memory(),
        "samples": samples,
    }
    print(json.dumps(measurements))


if __name__ == "__main__":
    main()

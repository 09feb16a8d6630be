"""
Compare the performance of listing tenants with other clients: latency, decoding, CPU and memory.

Each round measures every client once. Ratios are computed within a round, and the median of all
rounds is printed. The server and each client run in separate processes, except in the decoding
benchmark.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import msgspec

import peer_aiohttp
import peer_generated
import peer_httpx
import peer_pandium
from server import serving, tenants

if TYPE_CHECKING:
    from collections.abc import Callable

WALK = str(Path(__file__).with_name("walk.py"))


def walk(total: int, client: str, url: str, warm_up_url: str, *options: str) -> Any:
    """List all tenants in a separate process and return the measurements and request count."""
    before = count_requests(url)
    command = [sys.executable, WALK, client, warm_up_url, url, *options]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    measurements = json.loads(output)
    assert measurements["tenants"] == total
    return {**measurements, "requests": count_requests(url) - before}


def count_requests(url: str) -> int:
    with urlopen(f"{url}/requests") as response:
        return int(response.read())


def report_goal(text: str, limit: float, result: float, *, is_minimum: bool = False) -> None:
    is_met = result >= limit if is_minimum else result <= limit
    bound = "at least" if is_minimum else "at most"
    print(f"  {text}: {bound} {limit:g}, got {result:.2f}{'' if is_met else ' (missed)'}")


def median(rounds: list[Any], name: str) -> float:
    return statistics.median(float(measurements[name]) for measurements in rounds)


def median_ratio(rounds: list[Any], peer_rounds: list[Any], name: str) -> float:
    pairs = zip(rounds, peer_rounds, strict=True)
    return statistics.median(float(own[name] / peer[name]) for own, peer in pairs)


def latency(rounds: int) -> None:
    """List 5,000 tenants, 100 per page, from a server that responds after 50 ms."""
    walks = {
        "httpx, pydantic": ("httpx", "0"),
        "generated client": ("generated", "0"),
        "aiohttp, msgspec": ("aiohttp", "0"),
        **{f"pandium, prefetch={prefetch}": ("pandium", prefetch) for prefetch in ("4", "8", "12")},
    }
    results: dict[str, list[Any]] = {name: [] for name in walks}
    with serving(0.05, 5000) as url, serving(0, 1) as warm:
        for _ in range(rounds):
            for name, (client, prefetch) in walks.items():
                options = ("--page-size", "100", "--prefetch", prefetch)
                results[name].append(walk(5000, client, url, warm, *options))
    loop = results["httpx, pydantic"]
    print(f"{'client':>20} {'seconds':>8} {'times as fast':>14} {'requests':>9} {'ratio':>6}")
    for name, figures in results.items():
        row = f"{name:>20} {median(figures, 'seconds'):>8.2f}"
        row += f" {median_ratio(loop, figures, 'seconds'):>14.2f}"
        row += f" {median(figures, 'requests'):>9.0f}"
        print(f"{row} {median_ratio(figures, loop, 'requests'):>6.2f}")
    for name in list(results)[-3:]:
        speed = median_ratio(loop, results[name], "seconds")
        report_goal(f"{name}: times as fast as the httpx loop", 5, speed, is_minimum=True)
        report_goal(
            f"{name}: times its requests", 1.1, median_ratio(results[name], loop, "requests")
        )


def decode(rounds: int) -> None:
    """Decode a page of 500 tenants into the objects that each client returns."""
    readers: dict[str, Callable[[bytes], object]] = {
        "msgspec, dicts": msgspec.json.Decoder().decode,
        "msgspec, structs": peer_aiohttp.read,
        "pandium": peer_pandium.read,
        "pandium, raw": peer_pandium.read_raw,
        "pydantic": peer_httpx.read,
        "generated client": peer_generated.read,
    }
    print(f"{'datetimes':>12} {'decoder':>18} {'µs/tenant':>12} {'ratio to dicts':>15}")
    pages = {
        "offset": (tenants(0, 500, "+00:00"), 1.5),
        "Z": (tenants(0, 500, "Z"), 1.5),
        "naive": (tenants(0, 500, ""), 2.5),
        # These tenants have null for a field that has a documented default.
        "Z, nulls": (tenants(0, 500, "Z").replace(b'_configs":{}', b'_configs":null'), None),
    }
    for kind, (page, limit) in pages.items():
        results: dict[str, list[Any]] = {name: [] for name in readers}
        for _ in range(rounds * 5):
            for name, read in readers.items():
                results[name].append({"seconds": least_seconds(read, page)})
        dicts, ours = results["msgspec, dicts"], results["pandium"]
        for name, figures in results.items():
            microseconds = median(figures, "seconds") / 500 * 1e6
            ratio = median_ratio(figures, dicts, "seconds")
            print(f"{kind:>12} {name:>18} {microseconds:>12.2f} {ratio:>15.2f}")
        raw = median_ratio(results["pandium, raw"], dicts, "seconds")
        report_goal(f"{kind}: raw, times the dicts", 1.15, raw)
        if limit is None:
            continue
        report_goal(f"{kind}: times the dicts", limit, median_ratio(ours, dicts, "seconds"))
        speed = median_ratio(results["generated client"], ours, "seconds")
        report_goal(f"{kind}: times as fast as the generated client", 8, speed, is_minimum=True)


def least_seconds(read: Callable[[bytes], object], page: bytes) -> float:
    """Return the lowest CPU time of five runs, which excludes garbage collection."""
    seconds = []
    for _ in range(5):
        began = time.process_time()
        result = read(page)
        seconds.append(time.process_time() - began)
        del result  # do not measure the time to free the result
    return min(seconds)


def cpu(rounds: int) -> None:
    """List 100,000 tenants, 500 per page, without delay. Measure the client process's CPU time."""
    clients = ["aiohttp", "pandium", "httpx", "generated"]
    results: dict[str, list[Any]] = {name: [] for name in clients}
    with serving(0, 100_000) as url, serving(0, 1) as warm:
        for _ in range(rounds):
            for name in clients:
                results[name].append(walk(100_000, name, url, warm))
        print(f"{'client':>20} {'µs/tenant':>12} {'ratio':>6}")
        for name, figures in results.items():
            microseconds = median(figures, "cpu") / 100_000 * 1e6
            ratio = median_ratio(figures, results["aiohttp"], "cpu")
            print(f"{name:>20} {microseconds:>12.2f} {ratio:>6.2f}")
        report_goal(
            "times the CPU of aiohttp",
            2,
            median_ratio(results["pandium"], results["aiohttp"], "cpu"),
        )
        sampled_walks = [
            [walk(100_000, name, url, warm, "--sample") for _ in range(rounds)]
            for name in clients[:2]
        ]
    report_modules(*map(cpu_by_module, sampled_walks))


def cpu_by_module(walks: list[Any]) -> Counter[str]:
    """Estimate the CPU time of each module or library from samples, in µs per tenant."""
    samples: Counter[str] = Counter()
    for measurements in walks:
        samples.update(measurements["samples"])
    scale = median(walks, "cpu") / 100_000 * 1e6 / samples.total()
    return Counter({name: count * scale for name, count in samples.items()})


def report_modules(peer: Counter[str], own: Counter[str]) -> None:
    small = {name for name in peer | own if max(peer[name], own[name]) < own.total() / 50}
    rows = {name: (peer[name], own[name]) for name in (peer | own).keys() - small}
    rows["other modules"] = (sum(peer[name] for name in small), sum(own[name] for name in small))
    ordered = sorted(rows.items(), key=lambda row: row[1][0] - row[1][1])
    ordered.append(("total", (peer.total(), own.total())))
    print(f"{'µs/tenant in':>30} {'aiohttp':>8} {'pandium':>8} {'difference':>11}")
    for name, (peer_time, own_time) in ordered:
        print(f"{name:>30} {peer_time:>8.2f} {own_time:>8.2f} {own_time - peer_time:>11.2f}")


def memory(rounds: int) -> None:
    """List 10,000 tenants, then 1,000,000. Measure the client process's peak memory."""
    sizes = (10_000, 1_000_000)
    peaks = {}
    print(f"{'tenants':>20} {'peak MB':>8}")
    for size in sizes:
        with serving(0, size) as url, serving(0, 1) as warm:
            walks = [walk(size, "pandium", url, warm) for _ in range(rounds)]
        peaks[size] = max(measurements["peak"] for measurements in walks)
        print(f"{size:>20,} {peaks[size]:>8.1f}")
    report_goal("MB more for 1,000,000", 30, peaks[sizes[1]] - peaks[sizes[0]])


PARTS = {part.__name__: part for part in (latency, decode, cpu, memory)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="part", help=f"one of {', '.join(PARTS)} (default: all)"
    )
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown part: {', '.join(unknown)}")
    with peer_generated.generated() as directory:
        sys.path.insert(0, directory)
        # walk.py runs in other processes, which read the path from this variable.
        os.environ["PYTHONPATH"] = os.pathsep.join([directory, os.environ.get("PYTHONPATH", "")])
        for name in options.parts or PARTS:
            print(f"{name}: {PARTS[name].__doc__}")
            PARTS[name](options.rounds)


if __name__ == "__main__":
    main()

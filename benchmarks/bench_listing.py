"""
Compare listing tenants with other clients: latency, decoding, CPU time and memory.

Each round measures every client. A ratio is the median over the rounds of the ratios in one round.
The server is another process, and so is each client, except for decoding.
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
    """List all tenants in another process, and return its measurements and number of requests."""
    before = requests(url)
    command = [sys.executable, WALK, client, warm_up_url, url, *options]
    figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    assert figures["tenants"] == total
    return {**figures, "requests": requests(url) - before}


def requests(url: str) -> int:
    with urlopen(f"{url}/requests") as response:
        return int(response.read())


def goal(text: str, limit: float, got: float, *, is_least: bool = False) -> None:
    is_met = got >= limit if is_least else got <= limit
    bound = "at least" if is_least else "at most"
    print(f"  {text}: {bound} {limit:g}, got {got:.2f}{'' if is_met else ' (missed)'}")


def median(figures: list[Any], name: str) -> float:
    return statistics.median(float(figure[name]) for figure in figures)


def median_ratio(mine: list[Any], theirs: list[Any], name: str) -> float:
    pairs = zip(mine, theirs, strict=True)
    return statistics.median(float(m[name] / t[name]) for m, t in pairs)


def latency(rounds: int) -> None:
    """List 5,000 tenants with 100 per page and a delay of 50 ms per request."""
    walks = {
        "httpx, pydantic": ("httpx", "0"),
        "generated client": ("generated", "0"),
        "aiohttp, msgspec": ("aiohttp", "0"),
        **{f"pandium, prefetch={prefetch}": ("pandium", prefetch) for prefetch in ("4", "8", "12")},
    }
    found: dict[str, list[Any]] = {name: [] for name in walks}
    with serving(0.05, 5000) as url, serving(0, 1) as warm:
        for _ in range(rounds):
            for name, (client, prefetch) in walks.items():
                options = ("--page-size", "100", "--prefetch", prefetch)
                found[name].append(walk(5000, client, url, warm, *options))
    loop = found["httpx, pydantic"]
    print(f"{'client':>20} {'seconds':>8} {'times as fast':>14} {'requests':>9} {'ratio':>6}")
    for name, figures in found.items():
        row = f"{name:>20} {median(figures, 'seconds'):>8.2f}"
        row += f" {median_ratio(loop, figures, 'seconds'):>14.2f}"
        row += f" {median(figures, 'requests'):>9.0f}"
        print(f"{row} {median_ratio(figures, loop, 'requests'):>6.2f}")
    for name in list(found)[-3:]:
        speed = median_ratio(loop, found[name], "seconds")
        goal(f"{name}: times as fast as the loop over httpx", 5, speed, is_least=True)
        goal(f"{name}: times its requests", 1.1, median_ratio(found[name], loop, "requests"))


def decode(rounds: int) -> None:
    """Decode a page of 500 tenants into the objects that each client returns to its users."""
    readers: dict[str, Callable[[bytes], object]] = {
        "msgspec, dicts": msgspec.json.Decoder().decode,
        "msgspec, structs": peer_aiohttp.read,
        "pandium": peer_pandium.read,
        "pydantic": peer_httpx.read,
        "generated client": peer_generated.read,
    }
    print(f"{'date-times':>12} {'decoder':>18} {'µs a tenant':>12} {'ratio to dicts':>15}")
    pages = {
        "offset": (tenants(0, 500, "+00:00"), 1.5),
        "Z": (tenants(0, 500, "Z"), 1.5),
        "naive": (tenants(0, 500, ""), 2.5),
        # Nulls for fields with a documented default.
        "Z, nulls": (tenants(0, 500, "Z").replace(b'_configs":{}', b'_configs":null'), None),
    }
    for kind, (page, limit) in pages.items():
        found: dict[str, list[Any]] = {name: [] for name in readers}
        for _ in range(rounds * 5):
            for name, read in readers.items():
                found[name].append({"seconds": least_seconds(read, page)})
        dicts, ours = found["msgspec, dicts"], found["pandium"]
        for name, figures in found.items():
            microseconds = median(figures, "seconds") / 500 * 1e6
            ratio = median_ratio(figures, dicts, "seconds")
            print(f"{kind:>12} {name:>18} {microseconds:>12.2f} {ratio:>15.2f}")
        if limit is None:
            continue
        goal(f"{kind}: times the dicts", limit, median_ratio(ours, dicts, "seconds"))
        speed = median_ratio(found["generated client"], ours, "seconds")
        goal(f"{kind}: times as fast as the generated client", 8, speed, is_least=True)


def least_seconds(read: Callable[[bytes], object], page: bytes) -> float:
    """Return the lowest CPU time of five runs. Earlier runs warm up caches for later ones."""
    seconds = []
    for _ in range(5):
        began = time.process_time()
        result = read(page)
        seconds.append(time.process_time() - began)
        del result  # its deallocation is not measured
    return min(seconds)


def cpu(rounds: int) -> None:
    """Measure the CPU time of listing 100,000 tenants with 500 per page and no delay."""
    clients = ["aiohttp", "pandium", "httpx", "generated"]
    found: dict[str, list[Any]] = {name: [] for name in clients}
    with serving(0, 100_000) as url, serving(0, 1) as warm:
        for _ in range(rounds):
            for name in clients:
                found[name].append(walk(100_000, name, url, warm))
        print(f"{'client':>20} {'µs a tenant':>12} {'ratio':>6}")
        for name, figures in found.items():
            microseconds = median(figures, "cpu") / 100_000 * 1e6
            ratio = median_ratio(figures, found["aiohttp"], "cpu")
            print(f"{name:>20} {microseconds:>12.2f} {ratio:>6.2f}")
        goal("times the CPU of aiohttp", 2, median_ratio(found["pandium"], found["aiohttp"], "cpu"))
        sampled = [
            [walk(100_000, name, url, warm, "--sample") for _ in range(rounds)]
            for name in clients[:2]
        ]
    report_parts(*map(parts_of, sampled))


def parts_of(walks: list[Any]) -> Counter[str]:
    """Return the CPU time per module, in µs per tenant, from its share of the samples."""
    samples: Counter[str] = Counter()
    for figures in walks:
        samples.update(figures["samples"])
    scale = median(walks, "cpu") / 100_000 * 1e6 / samples.total()
    return Counter({name: count * scale for name, count in samples.items()})


def report_parts(floor: Counter[str], ours: Counter[str]) -> None:
    small = {name for name in floor | ours if max(floor[name], ours[name]) < ours.total() / 50}
    rows = {name: (floor[name], ours[name]) for name in (floor | ours).keys() - small}
    rows["the rest"] = (sum(floor[n] for n in small), sum(ours[n] for n in small))
    ordered = sorted(rows.items(), key=lambda row: row[1][0] - row[1][1])
    ordered.append(("in all", (floor.total(), ours.total())))
    print(f"{'µs a tenant in':>20} {'aiohttp':>8} {'pandium':>8} {'difference':>11}")
    for name, (theirs, mine) in ordered:
        print(f"{name:>20} {theirs:>8.2f} {mine:>8.2f} {mine - theirs:>11.2f}")


def memory(rounds: int) -> None:
    """Measure the peak memory of listing 10,000 and 1,000,000 tenants."""
    sizes = (10_000, 1_000_000)
    peaks = {}
    print(f"{'tenants':>20} {'peak MB':>8}")
    for size in sizes:
        with serving(0, size) as url, serving(0, 1) as warm:
            walks = [walk(size, "pandium", url, warm) for _ in range(rounds)]
        peaks[size] = max(figures["peak"] for figures in walks)
        print(f"{size:>20,} {peaks[size]:>8.1f}")
    goal("MB more for 1,000,000", 30, peaks[sizes[1]] - peaks[sizes[0]])


PARTS = {part.__name__: part for part in (latency, decode, cpu, memory)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; default: all"
    )
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(unknown)}")
    with peer_generated.generated() as place:
        sys.path.insert(0, place)
        # For the processes that walk.
        os.environ["PYTHONPATH"] = os.pathsep.join([place, os.environ.get("PYTHONPATH", "")])
        for name in options.parts or PARTS:
            print(f"{name}: {PARTS[name].__doc__}")
            PARTS[name](options.rounds)


if __name__ == "__main__":
    main()

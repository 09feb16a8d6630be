"""
Measure the data for the two plots in the documentation and draw them.

The data is stored in benchmarks/data and the plots in docs/images. With `--draw`, the stored data
is drawn without measuring it again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

import bench_waiting
from bench_listing import walk
from server import serving

HERE = Path(__file__).parent
DATA, IMAGES = HERE / "data", HERE.parent / "docs" / "images"
LATENCIES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
WALKS = {
    "one page at a time (httpx)": ("httpx", "0"),
    "pandium, prefetch=4": ("pandium", "4"),
    "pandium, prefetch=8": ("pandium", "8"),
}
PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0)


def measure_listing() -> dict[str, list[list[float]]]:
    points: dict[str, list[list[float]]] = {name: [] for name in WALKS}
    for latency in LATENCIES:
        with serving(latency, 5000) as url, serving(0, 1) as warm:
            for name, (client, prefetch) in WALKS.items():
                options = ("--page-size", "100", "--prefetch", prefetch)
                seconds = walk(5000, client, url, warm, *options)["seconds"]
                points[name].append([latency * 1000, seconds])
    return points


def measure_waiting() -> dict[str, Any]:
    ways = {f"every {pause:g} s": bench_waiting.by_loops(pause) for pause in PAUSES}
    return {
        name: asyncio.run(_figures(way))
        for name, way in {"pandium": bench_waiting.by_scheduler, **ways}.items()
    }


async def _figures(way: bench_waiting.Method) -> list[float]:
    server = await bench_waiting.measure(way, 300, math.inf, 0.5)
    polls, late, _ = bench_waiting.figures(server)
    return [polls, late]


def draw() -> None:
    mpl.use("svg")
    plt.rcParams.update({"svg.hashsalt": "pandium", "font.size": 11})
    listing, waiting = (
        json.loads((DATA / f"{n}.json").read_text()) for n in ("listing", "waiting")
    )

    figure, axes = plt.subplots(figsize=(7, 4))
    for name, points in listing.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.set(xlabel="latency of a request (ms)", ylabel="seconds to list 5,000 tenants")
    axes.legend()
    _save(figure, "listing-latency")

    figure, axes = plt.subplots(figsize=(7, 4))
    for name, (polls, late) in waiting.items():
        axes.scatter(polls, late * 100, s=90 if name == "pandium" else 45)
        axes.annotate(name, (polls, late * 100), xytext=(7, 5), textcoords="offset points")
    axes.set(xlabel="polls per run", ylabel="lateness, % of the runs' duration", xscale="log")
    axes.margins(0.15)
    _save(figure, "polling-lateness")


def _save(figure: Any, name: str) -> None:
    for axes in figure.axes:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    # The white background makes the plot readable on a dark page.
    figure.savefig(
        IMAGES / f"{name}.svg", bbox_inches="tight", facecolor="white", metadata={"Date": None}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draw", action="store_true", help="draw the stored data only")
    if not parser.parse_args().draw:
        DATA.mkdir(exist_ok=True)
        for name, measure in {"listing": measure_listing, "waiting": measure_waiting}.items():
            (DATA / f"{name}.json").write_text(json.dumps(measure(), indent=1) + "\n")
    draw()


if __name__ == "__main__":
    main()

"""
Compare the time that an import takes with that of httpx, each in a fresh interpreter.

The CPU time of the statement alone, without the interpreter's start and end; all in turn, in
rounds; the figures are ratios to httpx in the same round, the median over the rounds. What httpx,
httpcore2 and anyio use if they find it, such as rich and trio, is hidden from them, as it is where
pandium alone is installed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

STATEMENTS = {
    "httpx": "import httpx",
    "httpx2": "import httpx2",
    "aiohttp": "import aiohttp",
    "pandium": "from pandium import AsyncPandium",
    "  and a client": "from pandium import AsyncPandium; AsyncPandium('key')",
    "  and its pool": "from pandium import AsyncPandium; AsyncPandium('key')"
    "; import pandium._http.pool",
}
HIDDEN = ("brotli", "brotlicffi", "click", "h2", "rich", "sniffio", "trio", "zstandard")
CHILD = """
import sys, time
sys.modules.update(dict.fromkeys({hidden}))
began = time.process_time()
{statement}
print(time.process_time() - began)
"""


def measure(python: str, statement: str) -> float:
    """Give the CPU seconds of a statement in an interpreter of its own."""
    code = CHILD.format(hidden=HIDDEN, statement=statement)
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--python", default=sys.executable, help="the interpreter to measure in")
    options = parser.parse_args()
    found: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for number in range(options.rounds + 1):
        for name, statement in STATEMENTS.items():
            seconds = measure(options.python, statement)
            if number:  # the first round may have compiled what it imported
                found[name].append(seconds)
    print(f"{'':>16} {'CPU ms':>8} {'ratio':>8}")
    for name, times in found.items():
        pairs = zip(times, found["httpx"], strict=True)
        ratio = statistics.median(mine / base for mine, base in pairs)
        print(f"{name:<16} {statistics.median(times) * 1000:>8.1f} {ratio:>8.2f}")


if __name__ == "__main__":
    main()

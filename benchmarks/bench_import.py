"""
Compare the CPU time of imports with that of importing httpx, each in a new interpreter.

The time excludes interpreter startup and shutdown. Ratios to httpx are computed within a round, and
the median of all rounds is printed. Optional dependencies of httpx, httpcore2 and anyio, such as
rich and trio, are hidden, as if only pandium were installed.
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
    """Return the CPU time of a statement in a new interpreter, in seconds."""
    code = CHILD.format(hidden=HIDDEN, statement=statement)
    command = [python, "-I", "-c", code]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--python", default=sys.executable, help="the interpreter to measure")
    options = parser.parse_args()
    found: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for number in range(options.rounds + 1):
        for name, statement in STATEMENTS.items():
            seconds = measure(options.python, statement)
            if number:  # skip the first round, which may compile modules
                found[name].append(seconds)
    print(f"{'':>16} {'CPU ms':>8} {'ratio':>8}")
    for name, times in found.items():
        pairs = zip(times, found["httpx"], strict=True)
        ratio = statistics.median(mine / base for mine, base in pairs)
        print(f"{name:<16} {statistics.median(times) * 1000:>8.1f} {ratio:>8.2f}")


if __name__ == "__main__":
    main()
